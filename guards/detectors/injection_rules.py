"""What gives an injection away by its form: role markers, stock phrases, hidden text, encodings that hide a command.

In: a text and whose it is. Out: `Found`s in characters of that text, each with a weight between 0 and 1. The patterns
use bounded runs only, so the time grows with the length of the text.

Known limits: the stock phrases are English, and they quote badly: a page that explains injections sets them off when it
shows one in full.
"""

import base64
import binascii
import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from guards.base import NO_CONTEXT, Context
from guards.normalise import Folded
from guards.spans import windows

SURE, LIKELY = 0.99, 0.9
WINDOW, OVERLAP = 20_000, 500
# Shorter hidden text is a formula or an emoji; commands need more.
SHORTEST_HIDDEN = 12


@dataclass(frozen=True)
class Found:
    """Characters `start` to `end` and, in plain words, what they are."""

    start: int
    end: int
    kind: str
    score: float


# Control tokens of chat templates. Manuals of templates show them too, but in quotes or code.
_TOKENS = re.compile(
    r"""(?<!["'`])(?:
    <\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id|end_header_id|begin_of_text)\|>
    | \[/?INST\] | <</?SYS>> | </?(?:system|assistant)(?:_prompt|_message)?> | <(?:start|end)_of_turn>
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_ROLE_LINE = re.compile(
    r"""(?m)^[ \t>\#*]{0,8}(?:system|assistant|developer|new\ system)(?:\ prompt|\ message|\ instructions?)?
    [ *]{0,3}:[ *]{0,3}(?=\S)""",
    re.IGNORECASE | re.VERBOSE,
)
_TO_YOU = re.compile(
    r"\b(?:you|your|ignore|disregard|forget|must|do not|don't|never|always|the user|reply|respond)\b", re.IGNORECASE
)

_DROP = """(?:ignore|disregard|forget|override|bypass|discard|neglect|do\\ not\\ follow|don't\\ follow|stop\\ following
    |pay\\ no\\ attention\\ to|set\\ aside)"""
_WHICH = """(?:all|any|every|each|of|the|your|my|these|those|this|that|what|previous|prior|above|preceding|earlier
    |former|foregoing|existing|current|original|initial|given|other|system|safety|content|user'?s?|and)"""
_OLD = "(?:previous|prior|above|preceding|earlier|former|foregoing|your|system|safety|original|initial|all)"
_RULES = "(?:instructions?|prompts?|directions?|guidelines|directives?|programming|orders|constraints|context|rules)"
_PAST = "(?:that|which|was|is|has|been|written|said|you|were|have|told|i|we)"
_FORGET = re.compile(
    rf"""\b{_DROP}\s(?:{_WHICH}\s){{0,5}}{_OLD}\s(?:{_WHICH}\s){{0,3}}{_RULES}\b
    | \b{_DROP}\s(?:all\s)?(?:of\s)?(?:the\s)?{_RULES}\s(?:above|before|given\ to\ you
        |you\ (?:were|have\ been)\ given|up\ to\ now)\b
    | \b{_DROP}\s(?:everything|all|anything|whatever)\s(?:{_PAST}\s){{0,5}}
        (?:above|before|told|prior|previously|so\ far)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_REVEAL = re.compile(
    r"""\b(?:reveal|print|repeat|show|output|display|leak|recite|tell\ me|give\ me|write\ out|disclose|dump)\s
    (?:me\s)?(?:all\s)?(?:of\s)?(?:your|the)\s
    (?:(?:full|entire|hidden|secret|original|initial|exact|confidential|own|whole|complete)\s){0,3}
    (?:system\ (?:prompt|message|instructions) | (?:initial|hidden|original)\ (?:prompt|instructions|rules)
    | secret\ (?:prompt|instructions) | (?:prompt|instructions)\ verbatim)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_FREED = re.compile(
    r"""\bdo\ anything\ now\b
    | \byou\ are\ (?:now\ )?(?:dan\b|jailbroken|unrestricted|unfiltered|uncensored
        |free\ (?:from|of)\ (?:all|any|your)\ )
    | \b(?:developer|god|dan|jailbreak|sudo|unrestricted|unfiltered)\ mode
        \ (?:is\ )?(?:now\ )?(?:on\b|enabled|activated|engaged)
    | \bwithout\ (?:any\ )?(?:restrictions?|filters?|censorship),?\ (?:or\ |and\ )?(?:any\ )?
        (?:ethical|moral|legal|rules|guidelines)
    | \b(?:you|it)\ (?:have|has)\ no\ (?:ethical|moral|content)\ (?:guidelines|restrictions|limits|filters|or\ )
    | \bnot\ bound\ by\ (?:any\ |the\ |your\ )?(?:ethical|moral|legal|rules|restrictions|openai|content|usual)""",
    re.IGNORECASE | re.VERBOSE,
)
_TO_THE_AI = re.compile(
    r"""\b(?:if\ you\ are|to|attention|dear|note\ to|hey|hello|for)[ ,:]{1,3}(?:(?:an|any|all|the|every|this|my)\s)?
    (?:ai|llms?|large\ language\ models?|language\ models?|ai\ assistants?|ai\ models?|ai\ agents?|chatbots?|gpt)\b
    (?=[^.\n]{0,60}(?:\b(?:must|should|ignore|say|tell|please|reply|respond|never|rate|recommend)\b))""",
    re.IGNORECASE | re.VERBOSE,
)
_PICTURE = re.compile(
    r"""!\[[^\]\n]{0,200}\]\(https?://[^)\s?]{1,500}\?[^)\s]{0,200}[\w.-]{1,40}=
    (?:\{|\[|<|%7b|secret|data|chat|history|prompt|message)""",
    re.IGNORECASE | re.VERBOSE,
)
_PHRASES: tuple[tuple[re.Pattern[str], str, float], ...] = (
    (_FORGET, "it says to ignore instructions", SURE),
    (_REVEAL, "it asks for the hidden instructions", SURE),
    (_FREED, "it lifts the assistant's rules", SURE),
    (_PICTURE, "it has a picture address with a place for data", SURE),
)

_COMMENT = re.compile(r"<!--((?:[^<-]|<(?!!--)|-(?!->)){12,5000})-->")
_UNSEEN = re.compile(
    r"""<(\w{1,10})\b[^<>]{0,300}(?:display\s{0,3}:\s{0,3}none|visibility\s{0,3}:\s{0,3}hidden|font-size\s{0,3}:\s{0,3}0
    |opacity\s{0,3}:\s{0,3}0(?![.\d])|color\s{0,3}:\s{0,3}(?:white|\#fff(?:fff)?)\b|\bhidden\b)[^<>]{0,300}>([^<]{12,3000})""",
    re.IGNORECASE | re.VERBOSE,
)
_TAG_RUN = re.compile("[\U000e0020-\U000e007e]{12,5000}")
_BITS = re.compile("[\u200b\u200c\u200d\u2060\ufeff]{64,20000}")
_BASE64 = re.compile(
    r"(?<![A-Za-z0-9+/_=-])(?:[A-Za-z0-9+/_-]{4}[ \n]?){6,2000}[A-Za-z0-9+/_-]{0,3}={0,2}(?![A-Za-z0-9+/_=-])"
)
_HEX = re.compile(r"(?<![0-9A-Fa-f])(?:(?:\\x|0x)?[0-9A-Fa-f]{2}[ ,:]?){16,4000}(?![0-9A-Fa-f])")
_ROT = re.compile(
    r"\b(?:vtaber|qvfertneq|sbetrg|bireevqr|vafgehpgvbaf?|cebzcg|flfgrz|erfcbafr|nafjre|ercyl)\b", re.IGNORECASE
)
_COMMAND = re.compile(
    r"""\b(?:ignore|disregard|forget|override|reveal|print|say|tell|reply|respond|answer|write|send|include|add|repeat|output
    |translate|act|pretend|execute|run|instructions?|prompt|system)\b""",
    re.IGNORECASE | re.VERBOSE,
)


def structural(text: str, source: str, context: Context = NO_CONTEXT) -> list[Found]:
    """What the form of the text gives away, the surest first; `source` is `user` or `passage`.

    Raises:
        TimeoutError: the context's deadline has passed.
    """
    found: dict[tuple[int, int], Found] = {}
    for start, window in windows(text, WINDOW, OVERLAP, context):
        for one in _in_window(window, source):
            place = (start + one.start, start + one.end)
            found.setdefault(place, Found(*place, one.kind, one.score))
    return sorted(found.values(), key=lambda one: (-one.score, one.start))


def _in_window(text: str, source: str) -> Iterator[Found]:
    folded = Folded(text)
    yield from _phrases(folded, source)
    yield from _roles(text)
    yield from _hidden(text)
    yield from _encoded(text)


def commands(text: str) -> bool:
    """Whether a text that was hidden or encoded says something to an assistant."""
    words = text.split()
    if len(words) < 3:
        return False
    plain = Folded(text).text
    if any(pattern.search(plain) for pattern, _, _ in _PHRASES):
        return True
    return bool(_COMMAND.search(plain) and _TO_YOU.search(plain))


def _phrases(folded: Folded, source: str) -> Iterator[Found]:
    for pattern, kind, score in _PHRASES:
        for match in pattern.finditer(folded.text):
            yield Found(*folded.original(*match.span()), kind, score)
    if source == "passage":
        for match in _TO_THE_AI.finditer(folded.text):
            yield Found(*folded.original(*match.span()), "it addresses the assistant", SURE)


def _roles(text: str) -> Iterator[Found]:
    tokens = [match.span() for match in _TOKENS.finditer(text)]
    # One alone may be quoted; a conversation takes two, or one with something that commands.
    for start, end in tokens:
        follows = text[end : end + 300]
        sure = len(tokens) > 1 or bool(_TO_YOU.search(follows))
        yield Found(start, end, "it imitates the markers between chat messages", SURE if sure else LIKELY)
    for match in _ROLE_LINE.finditer(text):
        line = text[match.end() : match.end() + 200].partition("\n")[0]
        if _TO_YOU.search(line) and commands(f"{line} "):
            yield Found(match.start(), match.end() + len(line), "it imitates a system message", SURE)


def _hidden(text: str) -> Iterator[Found]:
    for pattern, group, kind in ((_COMMENT, 1, "in a comment"), (_UNSEEN, 2, "in text that is not shown")):
        for match in pattern.finditer(text):
            if commands(match[group]):
                yield Found(*match.span(), f"instructions {kind}", SURE)
    for match in _TAG_RUN.finditer(text):
        if commands("".join(chr(ord(char) - 0xE0000) for char in match.group())):
            yield Found(*match.span(), "instructions in invisible characters", SURE)
    for match in _BITS.finditer(text):
        if any(map(commands, _from_bits(match.group()))):
            yield Found(*match.span(), "instructions in invisible characters", SURE)


def _from_bits(run: str) -> Iterator[str]:
    """Readings of zero-width characters as bits, most significant first."""
    kinds = sorted(set(run))
    if len(kinds) < 2:
        return
    for one, zero in ((kinds[0], kinds[1]), (kinds[1], kinds[0])):
        bits = "".join("1" if char == one else "0" for char in run if char in (one, zero))
        codes = [int(bits[place : place + 8], 2) for place in range(0, len(bits) - 7, 8)]
        yield "".join(map(chr, codes))


def _encoded(text: str) -> Iterator[Found]:
    for pattern, decode, kind in ((_HEX, _from_hex, "hexadecimal"), (_BASE64, _from_base64, "Base64")):
        for match in pattern.finditer(text):
            if commands(decode(match.group())):
                yield Found(*match.span(), f"instructions in {kind}", SURE)
    # A line with one of these words in ROT13 is worth turning as a whole.
    done = -1
    for match in _ROT.finditer(text):
        start, end = _line(text, match.start())
        if start > done and commands(codecs.decode(text[start:end], "rot13")):
            done = end
            yield Found(start, end, "instructions in ROT13", SURE)


def _line(text: str, place: int, most: int = 500) -> tuple[int, int]:
    start = max(text.rfind("\n", 0, place) + 1, place - most)
    end = text.find("\n", place, place + most)
    return start, end if end >= 0 else min(len(text), place + most)


def _from_base64(run: str) -> str:
    compact = re.sub(r"\s", "", run).rstrip("=")
    try:
        return _readable(
            base64.b64decode(compact + "=" * (-len(compact) % 4), altchars=b"-_" if "-" in run or "_" in run else None)
        )
    except (binascii.Error, ValueError):
        return ""


def _from_hex(run: str) -> str:
    digits = re.sub(r"\\x|0x|[^0-9A-Fa-f]", "", run)
    return _readable(bytes.fromhex(digits[: len(digits) // 2 * 2]))


def _readable(raw: bytes) -> str:
    """The text, empty if it is none."""
    text = raw.decode("utf-8", "ignore")
    shown = sum(char.isprintable() or char.isspace() for char in text)
    return text if len(text) >= SHORTEST_HIDDEN and shown >= 0.95 * len(text) and len(text) > 0.8 * len(raw) else ""


def surest(found: Iterable[Found]) -> float:
    """The highest score, 0 where nothing was found."""
    return max((one.score for one in found), default=0.0)
