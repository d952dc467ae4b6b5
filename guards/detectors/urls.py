"""Links that lead elsewhere than to the sources: only hosts that are cited or allowed may become links.

Text in (Markdown, HTML or plain), spans out. A Markdown link keeps its text and loses its address; an image with its
address becomes its description; a bare address becomes `<LINK>`. An image, or anything else that loads by itself, tells
its host whatever its address holds as soon as it is shown, so those weigh more.

Addresses are read the way browsers read them (WHATWG URL Standard, sections 3.5 and 4.4: tabs and line breaks dropped,
backslashes as slashes, any number of slashes, what is before the last `@` no part of the host, hosts unquoted, mapped
by UTS 46 and lower-cased, numbers of any base as IPv4), after Markdown's and HTML's own escapes are undone; so
`https://good.org\\@bad.net` and `//bad.net` are what they are for the reader's browser.

Known limits: an allowed host that forwards to any address is trusted as it is; ports do not count. Bare names without
`http`, `www.` or a path (`example.com`) stay, since few renderers make links of them. Links without a host stay. Code
is not exempt: an address in a code block that is not allowed goes, too.
"""

import html
import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

import idna

from configs.errors import ConfigError
from guards.base import NO_CONTEXT, Action, Context, Span, Verdict
from guards.spans import without_overlaps

VERSION = "1"

# What each kind weighs, 0 to 1.
WEIGHTS = {"script": 1.0, "deceptive": 0.9, "image": 0.8, "link": 0.6}
REASONS = {
    "script": "an address that runs or carries content of its own",
    "deceptive": "an address that is not what it looks like",
    "image": "something that would be loaded from a host outside the sources",
    "link": "a link to a host outside the sources",
}
# Schemes that lead to a page, and that need the host to be allowed.
_WEB = frozenset("http https ftp ftps ws wss".split())
_HARMLESS = frozenset("tel sms cid mid urn doi isbn news".split())
_RUNS = frozenset("javascript vbscript livescript data blob file filesystem view-source intent jar smb about".split())
_INERT_DATA = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]*$", re.IGNORECASE)

# What one address in a text consists of; brackets and quotes end it.
_REST = r"""[^\s<>"'`\[\]{}|^]*+"""
# Renderers undo escapes and entities before they look for links.
_COLON, _SLASH = r"(?:\\?:|&colon;|&\#0{0,5}58;|&\#x0{0,5}3a;)", r"(?:[/\\]|&sol;|&\#0{0,5}47;|&\#x0{0,5}2f;)"
_TOKENS = re.compile(
    rf"""(?P<open>!?\[)
    | \]\(\s{{0,80}}+(?P<target><[^<>\n]*+>|(?:[^\s()<>]++|\([^\s()]*+\))*+)
      (?:\s{{1,80}}+(?:"[^"]*+"|'[^']*+'|\([^()]*+\)))?+\s{{0,80}}+\)
    | \]:\s{{0,8}}+(?P<defined><[^<>\n]*+>|[^\s<>]++)
    | (?P<close>\])
    | \b(?P<attribute>href|src|srcset|action|formaction|poster|background|data|ping|xlink:href)\s{{0,8}}+=\s{{0,8}}+
      (?:"(?P<double>[^"]*+)"|'(?P<single>[^']*+)'|(?P<naked>[^\s"'<>]++))
    | \b(?:(?:javascript|vbscript|livescript)\s{{0,4}}:(?=\S)|data:[a-z]{{1,20}}/[\w.+-]{{1,60}}[;,])
      (?P<code>[^\s<>"']*+)
    | (?<![A-Za-z0-9+.-])(?P<bare>(?:https?|ftps?|wss?){_COLON}{_SLASH}{{1,8}}(?:\[[0-9a-f:.]{{2,45}}\])?{_REST})
    | (?<![\w/@.:\\-])(?P<loose>
        (?:www\.|[/\\]{{2}}(?=[\w%-]{{1,63}}(?:\.[\w%-]{{1,63}}){{1,8}}(?:[/?\#\s:]|$))){_REST}
      | (?:[a-z0-9-]{{1,63}}+\.){{1,6}}
        (?:com|net|org|info|biz|io|co|xyz|top|site|online|ru|cn|de|uk|app|dev|ai|me)(?::\d{{2,5}})?[/?]{_REST})
    """,
    re.VERBOSE | re.IGNORECASE,
)
_WORTH_READING = re.compile(r"[\[:=]|//|\\\\|www\.|\.[a-z]{2,6}[/?]", re.IGNORECASE)
# What browsers drop around an address: control characters and spaces.
_BLANKS = "".join(map(chr, range(33)))
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):(.*)", re.DOTALL)
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_PUNCTUATION = frozenset("?!.,:;*_~'\u3002\uff0c")
_HOST_END = re.compile(r"[/?#\\]")
_PORT = re.compile(r":\d{0,5}$")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


@dataclass(frozen=True)
class Target:
    """Where an address leads in a browser.

    Attributes:
        scheme: lower case; `https` where the address takes that of the page.
        host: in ASCII, lower case, without a final dot; IPv6 without brackets; empty where there is none.
        deceptive: programs may disagree on the host, since there is a user name, a backslash or no valid host.
        disguised: a person may take the host for another: a bare number, quoted characters, or letters beyond ASCII.
    """

    scheme: str
    host: str
    deceptive: bool = False
    disguised: bool = False


class UrlGuard:
    """Finds links to hosts that are neither allowed here nor by the context; allows, or answers with `action`.

    Args:
        action: what is done when there is one; `Action.REDACT` leaves the text of the link.
        threshold: weight from which a link counts, see `WEIGHTS`; 0.7 lets plain links pass.
        hosts: hosts that may be linked: `example.org` itself, `*.example.org` what is under it.

    Raises:
        ConfigError: a host is none.
    """

    name = "urls"

    def __init__(self, *, action: Action = Action.REDACT, threshold: float = 0.5, hosts: tuple[str, ...] = ()) -> None:
        self._action = action
        self._threshold = threshold
        self._hosts = _normalised(hosts)

    def check(self, text: str, context: Context = NO_CONTEXT) -> Verdict:
        allowed = self._hosts | {host for host in map(_canonical, context.allowed_hosts) if host}
        found = [span for span in find_links(text, allowed, context) if WEIGHTS[span.category] >= self._threshold]
        spans = without_overlaps(found)
        worst = max((span.category for span in spans), key=WEIGHTS.__getitem__, default="")
        return Verdict(
            action=self._action if spans else Action.ALLOW,
            category="url",
            score=WEIGHTS.get(worst, 0.0),
            threshold=self._threshold,
            reason=f"It contains {REASONS[worst]}." if worst else "No links to other hosts.",
            detector="url-hosts",
            version=VERSION,
            spans=spans,
        )


def find_links(text: str, allowed: Iterable[str], context: Context = NO_CONTEXT) -> Iterator[Span]:
    """Spans of links whose host is not allowed; the category is a key of `WEIGHTS`.

    Args:
        allowed: hosts in the form of `Target.host`; `*.` in front allows what is under them.
    """
    if not _WORTH_READING.search(text):
        return
    hosts = frozenset(allowed)
    opened: list[re.Match[str]] = []
    for number, token in enumerate(_TOKENS.finditer(text)):
        if number % 2048 == 0:
            context.check_deadline()
        if token["open"]:
            opened.append(token)
        elif token[0][0] == "]":
            opening = opened.pop() if opened else None
            if token["target"] is not None:
                yield from _markdown(token, opening, hosts)
            elif token["defined"]:
                yield from _definition(token, opening, hosts)
        else:
            yield from _other(token, hosts)


def _markdown(token: re.Match[str], opening: re.Match[str] | None, hosts: frozenset[str]) -> Iterator[Span]:
    """A link's brackets and address, so that its text, and what was found in that, stays."""
    kind = judge(_unescaped(token["target"].strip("<>")), hosts, loads=opening is not None and opening[0] == "![")
    if kind is None:
        return
    if opening is None or opening.end() == token.start():
        yield Span((opening or token).start(), token.end(), kind, "<LINK>")
        return
    yield Span(*opening.span(), kind, "")
    yield Span(*token.span(), kind, "")


def _definition(token: re.Match[str], opening: re.Match[str] | None, hosts: frozenset[str]) -> Iterator[Span]:
    """`[name]: address` at the start of a line; images may refer to it, too."""
    line = token.string[max(0, opening.start() - 200) : opening.start()].rpartition("\n")[2] if opening else "x"
    address = _unescaped(token["defined"].strip("<>")) or "#"
    # Elsewhere it is code or prose, in which a colon makes no scheme.
    if line.strip(" >") and (address[0] in "/\\" or parse(address).scheme not in _WEB | _RUNS):
        return
    kind = judge(address, hosts, loads=True)
    if kind:
        yield Span(*token.span("defined"), kind, "#")


def _other(token: re.Match[str], hosts: frozenset[str]) -> Iterator[Span]:
    name = token.lastgroup or ""
    if name == "code":
        if not _INERT_DATA.match(token[0]):
            yield Span(*token.span(), "script", "<LINK>")
    elif token["attribute"]:
        yield from _attribute(token, name, hosts)
    else:
        yield from _bare(token, name, hosts)


def _attribute(token: re.Match[str], name: str, hosts: frozenset[str]) -> Iterator[Span]:
    loads = token["attribute"].lower() in ("src", "srcset", "poster", "background", "data")
    address = html.unescape(token[name])
    # srcset lists several addresses, each with a width.
    several = [part.split()[0] for part in address.split(",") if part.strip()]
    listed = several if token["attribute"].lower() == "srcset" else [address]
    kinds = (judge(part, hosts, loads=loads) for part in listed if name != "naked" or _is_address_at_sight(part))
    kind = next(filter(None, kinds), None)
    if kind:
        yield Span(*token.span(name), kind, "#")


def _bare(token: re.Match[str], name: str, hosts: frozenset[str]) -> Iterator[Span]:
    written = _trimmed(token[name])
    address = html.unescape(written).replace("\\:", ":")
    target = address if name == "bare" else "//" + address.lstrip("/\\")
    kind = judge(target, hosts, loads=False)
    # `http://` alone, as in prose about it, is no link.
    if kind and (target[-1] not in "/\\:" or parse(target).host):
        yield Span(token.start(name), token.start(name) + len(written), kind, "<LINK>")


def _is_address_at_sight(written: str) -> bool:
    """Whether it has slashes for a host or a scheme that runs, so that it is an address even amid code."""
    scheme = parse(written).scheme
    return scheme in _WEB or scheme in _RUNS or "//" in written


def _trimmed(address: str) -> str:
    """Without the punctuation of the sentence around it (GitHub Flavored Markdown, section 6.9)."""
    spare, end = address.count(")") - address.count("("), len(address)
    while end and (address[end - 1] in _PUNCTUATION or (address[end - 1] == ")" and spare > 0)):
        end -= 1
        spare -= address[end] == ")"
    return address[:end]


def _unescaped(target: str) -> str:
    """A Markdown link's address as a browser gets it (CommonMark, section 2.4 and 2.5)."""
    return html.unescape(_ESCAPED.sub(r"\1", target))


def judge(address: str, hosts: frozenset[str], *, loads: bool) -> str | None:
    """The kind of what is wrong with an address, a key of `WEIGHTS`; None where nothing is.

    Args:
        loads: it is fetched without a click.
    """
    target = parse(address)
    if target.scheme not in _WEB and target.scheme != "mailto":
        if not target.scheme or target.scheme in _HARMLESS or (loads and _INERT_DATA.match(address.strip())):
            return None
        return "script" if target.scheme in _RUNS else "link"
    if _is_allowed(target.host, hosts) and not target.deceptive:
        return None
    if target.deceptive or target.disguised:
        return "deceptive"
    return "image" if loads else "link"


def parse(address: str) -> Target:
    """Where a browser would go from a page on another host."""
    address = re.sub(r"[\t\r\n]", "", address.strip(_BLANKS))
    match = _SCHEME.match(address)
    scheme, rest = (match[1].lower(), match[2]) if match else ("", address)
    if scheme == "mailto":
        mailbox, _, query = unquote(rest).partition("?")
        return Target(scheme, _canonical(mailbox.rpartition("@")[2]), "," in mailbox or "cc=" in query.lower())
    slashes = len(rest) - len(rest.lstrip("/\\"))
    if scheme not in _WEB and (scheme or slashes < 2):
        return Target(scheme, "")
    return _with_host(scheme or "https", rest[:slashes], rest[slashes:])


def _with_host(scheme: str, slashes: str, rest: str) -> Target:
    authority = _HOST_END.split(rest, maxsplit=1)[0]
    backslash = "\\" in slashes or rest[len(authority) : len(authority) + 1] == "\\"
    _, at, name = authority.rpartition("@")
    written = name[1:].partition("]")[0] if name.startswith("[") else _PORT.sub("", name)
    host = _canonical(written)
    disguised = "%" in written or not written.isascii() or "xn--" in host or (bool(_address(host)) and host != written)
    return Target(scheme, host, bool(at) or backslash or not host, disguised)


def _canonical(host: str) -> str:
    """The host as a browser resolves it; empty where it is none."""
    if len(host) > 1000:
        return ""
    wild = host.startswith("*.")
    name = unquote(host[2:] if wild else host)
    if name.count(":") == 1:
        name = _PORT.sub("", name)
    if not name.isascii() or "xn--" in name.lower():
        try:
            # Transitional processing is off, as it is in browsers; what IDNA 2008 refuses, they may show all the same.
            name = idna.encode(name, uts46=True, std3_rules=False, transitional=False).decode()
        except (idna.IDNAError, UnicodeError):
            return ""
    name = name.lower().rstrip(".")
    name = _address(name) or name
    if ":" in name:
        return _address(name)
    return ("*." if wild else "") + name if all(map(_LABEL.fullmatch, name.split("."))) else ""


def _address(name: str) -> str:
    """An IP address in its usual form; empty where it is none. IPv4 may have one to four parts in any base."""
    if ":" in name:
        try:
            return str(ipaddress.IPv6Address(name.partition("%")[0]))
        except ValueError:
            return ""
    parts = name.split(".")
    if len(parts) > 4 or not re.fullmatch(r"\d{1,12}|0x[0-9a-f]{0,9}", parts[-1]):
        return ""
    try:
        numbers = [_number(part) for part in parts]
        whole = numbers[-1] + sum(number << 8 * (3 - place) for place, number in enumerate(numbers[:-1]))
        return str(ipaddress.IPv4Address(whole)) if all(number < 256 for number in numbers[:-1]) else ""
    except ValueError:
        return ""


def _number(part: str) -> int:
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8) if part.startswith("0") and len(part) > 1 else int(part)


def _is_allowed(host: str, hosts: frozenset[str]) -> bool:
    if not host:
        return False
    labels = host.split(".")
    return host in hosts or any("*." + ".".join(labels[place:]) in hosts for place in range(1, len(labels)))


def _normalised(hosts: tuple[str, ...]) -> frozenset[str]:
    canonical = {host: _canonical(host.strip("[]")) for host in hosts}
    for host, form in canonical.items():
        if not form or any(char in host for char in "/@?#"):
            raise ConfigError(f"{host!r} is no host", "Write example.org, or *.example.org for all that is under it")
    return frozenset(canonical.values())
