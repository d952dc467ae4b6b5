"""Secrets: keys and tokens of known forms, private keys, passwords in URLs, and assignments of random-looking values.

Text in, spans over the secret values out. A form is a literal that makes it cheap to find (`AKIA`, `ghp_`) and a
pattern that must match around it; the forms are the vendors' own, as their documentation describes them. What has no
form counts only when a name says what it is (`password = ...`, `Authorization: Bearer ...`) and the value looks
random: Shannon entropy, and how often the kind of character changes. Nothing is sent anywhere to be verified.

Known limits: a random value without a name or a known form stays, since checksums, commit ids and inline images look
the same; so do passwords that are plain words, and what is split over lines (other than PEM blocks). Values that
documentation uses as stand-ins (`changeme`, `xxxx`, `EXAMPLE`) are no secrets, even where somebody really uses them.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from guards.base import NO_CONTEXT, Action, Context, Span, Verdict
from guards.spans import without_overlaps

VERSION = "1"

# Positions of a literal between two looks at the clock.
_CLOCK = 2048
# A PEM block of an RSA key with 16,384 bits has 12,800 characters.
_LONGEST_PEM = 20_000


@dataclass(frozen=True)
class Form:
    """Secrets that can be told by their form.

    Attributes:
        kind: what a person calls it.
        literals: one of these occurs in every secret of this form, `before` characters or fewer after its start.
        pattern: the whole secret; linear, and starting at most `before` characters ahead of the literal.
        tail: the secret from its literal on; it fails sooner than the pattern where that looks backwards.
    """

    kind: str
    literals: tuple[str, ...]
    pattern: re.Pattern[str]
    tail: re.Pattern[str]
    before: int = 0


# A secret starts where a word does, or after an escaped line break or an encoded character in a URL.
_EDGE = r"(?:(?<![A-Za-z0-9_-])|(?<=\\[nrt])|(?<=%[2-7][0-9A-F]))"


def _form(kind: str, literals: str, rest: str, before: str = "", reach: int = 0) -> Form:
    """A form whose pattern is `before`, one of the literals (separated by spaces), and `rest`."""
    words = tuple(literals.split())
    middle = "|".join(re.escape(word) for word in words)
    tail = f"(?:{middle}){rest}(?![A-Za-z0-9_-])"
    return Form(kind, words, re.compile(_EDGE + before + tail, re.ASCII), re.compile(tail, re.ASCII), reach)


# The sources are the vendors' pages on token formats, secret scanning or authentication.
FORMS = (
    _form("AWS access key", "AKIA ASIA ABIA", "[A-Z2-7]{16}"),  # AWS IAM, "Understanding unique ID prefixes"
    _form("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", "[A-Za-z0-9]{36,255}"),  # GitHub, "authentication token formats"
    _form("GitHub token", "github_pat_", "[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    _form("GitLab token", "glpat- gldt- glrt- glptt- glft- glsoat- glcbt- glimt- glagent-", "[\\w.-]{20,300}"),
    _form("Slack token", "xoxb- xoxp- xoxa- xoxr- xoxs- xoxe- xoxe. xapp-", "[A-Za-z0-9.-]{20,300}"),
    _form("Slack webhook", "https://hooks.slack.com/", "(?:services|workflows|triggers)/[A-Za-z0-9_/+-]{40,90}"),
    _form("Discord webhook", "discord.com/api/webhooks/ discordapp.com/api/webhooks/", "\\d{17,20}/[\\w-]{60,80}"),
    _form("Stripe key", "sk_live_ sk_test_ rk_live_ rk_test_", "[A-Za-z0-9]{16,247}"),  # Stripe, "API keys"
    _form("webhook secret", "whsec_", "[A-Za-z0-9+/]{24,120}={0,2}"),
    _form("Google API key", "AIza", "[\\w-]{35}"),  # Google Cloud, "API keys"
    _form("Google OAuth secret", "GOCSPX-", "[\\w-]{28}"),
    _form("Google OAuth token", "ya29.", "[\\w-]{60,1000}"),
    _form("Anthropic key", "sk-ant-", "[a-z]{3,8}\\d\\d-[\\w-]{80,120}"),
    _form("API key", "sk-", "(?:[a-z]{2,10}(?:-v\\d)?-)?[\\w-]{24,250}"),  # OpenAI, OpenRouter, DeepSeek and others
    _form("Hugging Face token", "hf_", "[A-Za-z0-9]{30,40}"),
    _form("npm token", "npm_", "[A-Za-z0-9]{36}"),
    _form("PyPI token", "pypi-AgEIcHlwaS5vcmc pypi-AgENdGVzdC5weXBpLm9yZw", "[\\w-]{50,1000}"),  # docs.pypi.org
    _form("RubyGems key", "rubygems_", "[0-9a-f]{48}"),
    _form("SendGrid key", "SG.", "[\\w-]{22}\\.[\\w-]{43}"),
    _form("Twilio key", "SK", "[0-9a-f]{32}"),
    _form("Mailchimp key", "-us", "\\d{1,2}", "[0-9a-f]{32}", 32),
    _form("Mailgun key", "key-", "[0-9a-f]{32}"),
    _form("Telegram bot token", ":AA", "[\\w-]{33}", "\\d{8,10}", 10),  # Telegram Bot API, "Authorizing your bot"
    _form("Square token", "sq0atp- sq0csp- EAAA", "[\\w-]{22,64}"),
    _form("Azure storage key", "AccountKey=", "[A-Za-z0-9+/]{86}=="),
    _form("Azure client secret", "8Q~ 7Q~", "[\\w.~-]{31,34}", "[\\w.~-]{3}", 3),
    _form("DigitalOcean token", "dop_v1_ doo_v1_ dor_v1_", "[0-9a-f]{64}"),
    _form("Shopify token", "shpat_ shpca_ shppa_ shpss_", "[0-9a-fA-F]{32}"),
    _form("Databricks token", "dapi", "[0-9a-f]{32}(?:-\\d)?"),
    _form("Docker token", "dckr_pat_ dckr_oat_", "[\\w-]{27,64}"),
    _form("Atlassian token", "ATATT3x ATCTT3x", "[\\w=-]{100,300}"),
    _form("Linear key", "lin_api_", "[A-Za-z0-9]{40}"),
    _form("Notion token", "ntn_", "[A-Za-z0-9]{40,50}"),
    _form("Vault token", "hvs. hvb.", "[\\w-]{24,300}"),
    _form("Terraform token", ".atlasv1.", "[\\w=-]{60,70}", "[A-Za-z0-9]{14}", 14),
    _form("Grafana token", "glsa_ glc_", "[\\w+/=-]{32,300}"),
    _form("New Relic key", "NRAK-", "[A-Z0-9]{27}"),
    _form("Sentry token", "sntrys_ sntryu_", "[\\w+/=-]{40,400}"),
    _form("Replicate token", "r8_", "[A-Za-z0-9]{37}"),
    _form("Groq key", "gsk_", "[A-Za-z0-9]{48,56}"),
    _form("Perplexity key", "pplx-", "[A-Za-z0-9]{40,56}"),
    _form("Postman key", "PMAK-", "[0-9a-f]{24}-[0-9a-f]{34}"),
    _form("Figma token", "figd_", "[\\w-]{40,50}"),
    _form("Doppler token", "dp.pt. dp.st.", "[\\w.]{40,50}"),
    _form("Pulumi token", "pul-", "[0-9a-f]{40}"),
    _form("PlanetScale token", "pscale_tkn_ pscale_pw_ pscale_oauth_", "[\\w.=-]{32,64}"),
    _form("Supabase token", "sbp_", "[0-9a-f]{40}"),
    _form("age key", "AGE-SECRET-KEY-1", "[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}"),  # C2SP age specification
    _form("JSON web token", "eyJ", "[\\w-]{10,4000}\\.eyJ[\\w-]{10,8000}\\.[\\w-]{16,2000}"),  # RFC 7519
    _form("Discord token", ".", "[\\w-]{6}\\.[\\w-]{27,38}", "[MNO][\\w-]{22,25}", 26),
)

# What fills the place of a secret in examples; short words would turn up in random characters, too.
_FILLED = re.compile(r"example|sample|placeholder|redacted|change.?me|your[-_]|x{5}|\*{3}|0{6}|1234567", re.IGNORECASE)
_STAND_INS = re.compile(
    r"example|sample|dummy|placeholder|redacted|change.?me|replace|insert|your|my.?(?:pass|secret|token|key|api)|here$"
    r"|x{4}|\*{3}|\.{3}|\u2026|0{6}|1234567|abcdef(?!\d)|qwerty|foo|bar(?:$|\d)|lorem|^(?:the|a|an|some|any)[-_]"
    r"|^(?:null|none|nil|undefined|true|false|string|value|test(?:ing)?\d*|todo|secret(?:s|sauce)?\d*|token\d*"
    r"|pass(?:w(?:or)?d|phrase)?\d{0,4}|pwd\d*|passw0rd|admin\d*|root\d*|user(?:name)?\d*|hunter2|s[e3]cr[e3]t|p[a4]ssw[o0]rd)$"
    r"|pass(?:word|phrase)|_token|token_|_secret|secret_|-token|token-|-secret|secret-|api.?key",
    re.IGNORECASE,
)
# What refers to a value instead of being one: variables, calls, templates, paths, types, links.
_REFERENCE = re.compile(
    r"[$<{(\[@&*%!#]|[\w.]{1,60}[(\[]|(?:https?|file|env|vault|ssm|arn|op):|~?/|\.{1,2}/|\\|[\w-]+\.(?:md|txt|ya?ml|json|"
    r"pem|key|crt|html?|py|js|ts|conf|cfg|ini|env|xml|php|rb|go|rs|com|org|net|io)\b|(?:os|process|config|settings|self|"
    r"this|request|options|args|params|env|app|ctx|user|data|response|res|req|secrets)\.",
    re.IGNORECASE,
)
# Identifiers: words with a short number at most, joined by dashes, dots or underscores.
_WORDS = re.compile(r"[A-Za-z]{1,40}\d{0,3}(?:[-_./:][A-Za-z]{0,40}\d{0,4}){1,12}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

# Names that say "password", for which a short value is enough; of the others only long ones count.
_PASSWORDS = (b"password", b"passwd", b"passphrase", b"pwd", b"_pass")
_NAMES = (
    *_PASSWORDS,
    *b"secret token api_key apikey api-key access_key accesskey access-key account_key accountkey auth_key".split(),
    *b"authkey private_key signing_key client_key encryption_key credential _pat _key".split(),
)
_NOT_A_VALUE = re.compile(
    r"hash|type|name|file|path|ur[il]|len|count|limit|size|expir|field|polic|min|max|version|algo|hint|label|prompt|"
    r"encryption|column|class|input|require|valid|ttl|endpoint|arn|digest|sha\d|md5",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(
    r"""(?P<rest>[\w-]{0,30}+)[\\"'\])}]{0,4}+
        (?:[ \t]{0,8}+(?::[ ]?[A-Za-z][\w.\[\]|]{0,20}[ ]?=|=>|:=|={1,3}|:(?!:)|>)[ \t]{0,8}+
         |(?P<said>[ ](?:is|was)[ ](?:now[ ])?)
         |(?P<spaced>[ \t]{1,4}+))
        (?:\\{0,2}(?P<quote>["'`])(?P<quoted>[^\s"'`\\]{4,200}+)\\{0,2}(?P=quote)
         |(?P<bare>(?:[^\s"'`,;<>()\[\]{}|&\\]|&(?!\w{1,30}=)){6,200}+))""",
    re.VERBOSE | re.ASCII,
)
_OPTION = re.compile(r"--?[\w-]{0,20}$", re.ASCII)
_USERINFO = re.compile(r"://([^\s/:@\"'<>?#]{0,80}+):([^\s/@\"'<>]{3,128}+)@(\[?[\w.:-]{1,253})")
_BEARER = re.compile(r"\s{1,4}([A-Za-z0-9._~+/=-]{16,4000}+)")
_PEM = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY = re.compile(r"(?:[A-Za-z0-9+/=]{4,200}|[A-Z][\w-]{2,20}: [^\r\n]{0,200}|\\n|[ \t\r\n])++")


class SecretsGuard:
    """Finds secrets; allows, or answers with `action` and their spans.

    Args:
        action: what is done when there is one.
        threshold: confidence from which a find counts, 0 to 1: a known form has 0.95 or more, a value that is only
            named as secret and looks random 0.5 to 0.9.
        allow: values that are no secrets, exactly as they are written.
    """

    name = "secrets"

    def __init__(self, *, action: Action = Action.REDACT, threshold: float = 0.5, allow: tuple[str, ...] = ()) -> None:
        self._action = action
        self._threshold = threshold
        self._allow = frozenset(allow)

    def check(self, text: str, context: Context = NO_CONTEXT) -> Verdict:
        found = [
            (score, span)
            for score, span in find_secrets(text, context)
            if score >= self._threshold and text[span.start : span.end] not in self._allow
        ]
        spans = without_overlaps([span for _, span in found])
        kinds = sorted({span.category.replace("_", " ") for span in spans})
        return Verdict(
            action=self._action if spans else Action.ALLOW,
            category="secret",
            score=max((score for score, _ in found), default=0.0),
            threshold=self._threshold,
            reason=f"It contains what looks like a secret ({', '.join(kinds)})." if spans else "No secrets found.",
            detector="secret-forms",
            version=VERSION,
            spans=spans,
        )


def find_secrets(text: str, context: Context = NO_CONTEXT) -> Iterator[tuple[float, Span]]:
    """Candidates with their confidence, 0 to 1; in no order, and possibly overlapping."""
    # One byte a character, so that positions agree: other characters become question marks.
    plain = text.encode("ascii", "replace")
    folded = plain.lower()
    yield from _private_keys(text, plain, context)
    yield from _by_form(text, plain, context)
    yield from _in_urls(text, plain, context)
    yield from _in_headers(text, folded, context)
    yield from _named(text, folded, context)


def _places(plain: bytes, literal: bytes, context: Context) -> Iterator[int]:
    """Where the literal starts, left to right."""
    place, looked = -1, 0
    context.check_deadline()
    while (place := plain.find(literal, place + 1)) >= 0:
        looked += 1
        if looked % _CLOCK == 0:
            context.check_deadline()
        yield place


def _by_form(text: str, plain: bytes, context: Context) -> Iterator[tuple[float, Span]]:
    for form in FORMS:
        category = form.kind.lower().replace(" ", "_")
        for literal in form.literals:
            done = 0
            for place in _places(plain, literal.encode(), context):
                if place < done:
                    continue
                match = _around(form, text, place)
                if match:
                    done = match.end()
                    if not _FILLED.search(match.group()) and not _is_series(match.group()):
                        yield 0.95, Span(match.start(), match.end(), category)


def _around(form: Form, text: str, place: int) -> re.Match[str] | None:
    if not form.before:
        return form.pattern.match(text, place)
    if not form.tail.match(text, place):
        return None
    return form.pattern.search(text, max(0, place - form.before), place + 400)


def _private_keys(text: str, plain: bytes, context: Context) -> Iterator[tuple[float, Span]]:
    """PEM blocks (RFC 7468), to the end of what looks like their body where the last line is missing.

    One that the text breaks off in counts however little of it is there: of an answer that is still being written,
    the rest comes later.
    """
    for place in _places(plain, b"-----BEGIN ", context):
        head = _PEM.match(text, place)
        if head is None:
            continue
        limit = head.end() + _LONGEST_PEM
        end = text.find("-----END ", head.end(), limit)
        if end >= 0:
            last = text.find("-----", end + 9, end + 80)
            end = last + 5 if last >= 0 else min(end + 80, len(text))
        else:
            body = _PEM_BODY.match(text, head.end(), limit)
            end = body.end() if body else head.end()
        if (end > head.end() + 64 or end == len(text)) and "..." not in text[head.end() : end]:
            yield 0.99, Span(place, end, "private_key")


def _in_urls(text: str, plain: bytes, context: Context) -> Iterator[tuple[float, Span]]:
    """Passwords in `scheme://user:password@host` (RFC 3986, section 3.2.1); those of example hosts are no secrets."""
    for place in _places(plain, b"://", context):
        match = _USERINFO.match(text, place)
        if match is None:
            continue
        user, password, host = match.groups()
        if password.lower() == user.lower() or host.lower().startswith(("example.", "host", "your")):
            continue
        score = 0.8 if len(password) >= 8 and not _WORDS.fullmatch(password) else 0.0
        if _is_value(password):
            yield max(score, _strength(password)), Span(*match.span(2), "password")


def _in_headers(text: str, folded: bytes, context: Context) -> Iterator[tuple[float, Span]]:
    """`Authorization: Bearer ...` and `Basic ...` (RFC 6750, RFC 7617)."""
    for scheme in (b"bearer", b"authorization: basic"):
        for place in _places(folded, scheme, context):
            match = _BEARER.match(text, place + len(scheme))
            if match and _is_value(match[1]) and _strength(match[1]) >= 0.5:
                yield 0.85, Span(*match.span(1), "authorization")


def _named(text: str, folded: bytes, context: Context) -> Iterator[tuple[float, Span]]:
    """Values that a name calls secret."""
    for name in _NAMES:
        short, done = name in _PASSWORDS, 0
        for place in _places(folded, name, context):
            match = _ASSIGNED.match(text, place + len(name)) if place >= done else None
            if match is None or _NOT_A_VALUE.search(match["rest"]):
                continue
            # `password x` is prose, unless it is quoted (SQL) or an option of a command.
            if match["spaced"] and not match["quoted"] and not _OPTION.search(text, max(0, place - 24), place):
                continue
            start, done = match.span("quoted" if match["quoted"] else "bare")
            value = text[start:done].rstrip(".:!?")
            score = _strength(value, short=short, loose=bool(match["quoted"]) or "=" in text[place:start])
            if score and _is_value(value):
                yield score, Span(start, start + len(value), "password" if short else "secret")


def _is_value(value: str) -> bool:
    """Whether it is itself the secret, and not a stand-in or the name of a place where the secret is."""
    return not (_stands_in(value) or _REFERENCE.match(value) or _UUID.fullmatch(value))


def _stands_in(value: str) -> bool:
    """Whether documentation writes such values in place of secrets: known words, or hardly any variety."""
    return bool(_STAND_INS.search(value)) or _is_series(value)


def _is_series(value: str) -> bool:
    """Whether most characters follow from the one before: abcdefgh, 12345678, aaaaaaaa."""
    steps = Counter(ord(after) - ord(before) for before, after in pairwise(value))
    return len(value) >= 8 and steps[0] + steps[1] + steps[-1] > len(value) / 2


def _strength(value: str, *, short: bool = True, loose: bool = True) -> float:
    """How much a value looks like a secret rather than a word, 0 to 0.9.

    Args:
        short: eight or so characters are enough, since the name says that it is a password.
        loose: the place is one of a value, such as quotes, rather than of a word in a sentence.
    """
    kinds = [_kind(char) for char in value]
    letters = any(kind in "aA" for kind in kinds)
    if not letters or len(set(kinds)) < 2 or "?" in kinds:
        return 0.0
    changes = sum(before != after for before, after in pairwise(kinds)) / (len(kinds) - 1)
    if _WORDS.fullmatch(value) and changes < 0.4:
        return 0.0
    if short:
        enough = len(value) >= (6 if loose else 7) and (_digits(kinds) or changes >= 0.25)
    else:
        enough = (
            len(value) >= 16
            and changes >= (0.22 if len(value) < 24 else 0.12)
            and entropy(value) >= 3.0
            and _digits(kinds)
        )
    return 0.5 + 0.4 * min(1.0, changes * 1.5) * min(1.0, len(value) / 20) if enough else 0.0


def _digits(kinds: Iterable[str]) -> bool:
    return "0" in kinds


def _kind(char: str) -> str:
    if char.isdigit():
        return "0"
    if char.isalpha():
        return "A" if char.isupper() else "a"
    return "-" if char.isprintable() else "?"


def entropy(value: str) -> float:
    """Shannon's entropy of the value's characters, in bits a character."""
    return -sum(count / len(value) * math.log2(count / len(value)) for count in Counter(value).values())
