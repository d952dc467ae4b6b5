"""Text that a reader does not see and a model does: zero-width characters, tags, bidi controls, variation selectors.

Text in, spans over the characters that have no business there out; redacting them leaves what a reader sees. What
scripts and emoji need stays: joiners in emoji, in Indic scripts and in Arabic script, direction marks and balanced
isolates beside right-to-left letters, flags of regions made of tags, one variation selector after a character that
takes one, soft hyphens inside words.

Sources: Unicode Standard 17 chapter 23 (special areas and format characters), UTS 51 (emoji), UTS 37 (ideographic
variation), UAX 9 (bidi), CVE-2021-42574 (source code that reads other than it runs).

Known limits: white text on white, tiny print and CSS are the extractor's; so are runs of ordinary spaces that carry a
message. A soft hyphen in a plausible place stays, and single joiners between letters of scripts that use them can
carry a bit each. Characters for private use count from four in a row on; fewer are icons.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from guards.base import NO_CONTEXT, Action, Context, Span, Verdict

VERSION = "1"

_SUSPECTS = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
    "|[\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd]{4,}"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]+")
_RTL = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
# Arabic, Syriac, Thaana, N'Ko, Mandaic; Devanagari to Sinhala; Tibetan, Myanmar, Khmer, Mongolian and the Brahmic rest.
_JOINING = re.compile(
    "[\u0600-\u08ff\ufb50-\ufdff\ufe70-\ufefc\u0900-\u0dff\u0f00-\u109f\u1700-\u18af\u1a20-\u1cff\ua800-\uabff"
    "\U00010a00-\U00010aff\U00011000-\U00011fff\U0001e900-\U0001e95f]"
)
# Scripts that write no spaces: a zero-width one may stand between their words.
_SPACELESS = re.compile("[\u0e00-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u3040-\u30ff\u3400-\u9fff\ua9e0-\uaa7f]")
_IDEOGRAPH = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_PICTURE = re.compile("[\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001faff]")
_MODIFIER = re.compile("[\u20e3\ufe0f\U0001f3fb-\U0001f3ff\U000e007f]")
# A black flag with the letters of a region of CLDR, such as gbsct, and the tag that ends them.
_REGION = re.compile("[\U000e0061-\U000e007a]{2}[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,4}\U000e007f")
_KEYCAP = frozenset("0123456789#*")
_OPENING, _ISOLATES, _POP = frozenset("\u202a\u202b"), frozenset("\u2066\u2067\u2068"), {"\u202c": 0, "\u2069": 1}
# Characters within which letters written from right to left make a direction control plausible.
_NEAR = 64

# How surely each kind is there to hide something, 0 to 1.
CERTAINTY = {
    "hidden_tags": 1.0,
    "hidden_selectors": 1.0,
    "bidi_override": 1.0,
    "bidi_control": 0.9,
    "zero_width": 0.7,
    "control": 0.7,
    "private_use": 0.6,
    "filler": 0.6,
    "soft_hyphen": 0.5,
    "direction_mark": 0.5,
}


class InvisibleGuard:
    """Finds invisible text; allows, or answers with `action` and the spans, which are replaced by nothing.

    Args:
        action: what is done when there is some.
        threshold: certainty from which a kind counts, see `CERTAINTY`; 0.9 leaves stray characters in.
    """

    name = "invisible"

    def __init__(self, *, action: Action = Action.REDACT, threshold: float = 0.5) -> None:
        self._action = action
        self._threshold = threshold

    def check(self, text: str, context: Context = NO_CONTEXT) -> Verdict:
        spans = tuple(span for span in find_invisible(text, context) if CERTAINTY[span.category] >= self._threshold)
        kinds = sorted({span.category.replace("_", " ") for span in spans})
        return Verdict(
            action=self._action if spans else Action.ALLOW,
            category="invisible",
            score=max((CERTAINTY[span.category] for span in spans), default=0.0),
            threshold=self._threshold,
            reason=f"It contains characters that cannot be seen ({', '.join(kinds)})." if spans else "Nothing hidden.",
            detector="invisible-characters",
            version=VERSION,
            spans=spans,
        )


def find_invisible(text: str, context: Context = NO_CONTEXT) -> Iterator[Span]:
    """Spans in order; neighbours of one kind are one span."""
    pattern = _CONTROLS if text.isascii() else _SUSPECTS
    paired = _balanced(text, context)
    for number, run in enumerate(pattern.finditer(text)):
        if number % 4096 == 0:
            context.check_deadline()
        yield from _merged(_in_run(text, run.start(), run.end(), paired, context))


def _merged(places: Iterator[tuple[int, str]]) -> Iterator[Span]:
    start = end = -1
    category = ""
    for place, kind in places:
        if place == end and kind == category:
            end += 1
            continue
        if category:
            yield Span(start, end, category, "")
        start, end, category = place, place + 1, kind
    if category:
        yield Span(start, end, category, "")


def _in_run(text: str, start: int, end: int, paired: frozenset[int], context: Context) -> Iterator[tuple[int, str]]:
    """Places and kinds of what does not belong in a run of suspects."""
    place = start
    while place < end:
        flag = _REGION.match(text, place, end) if place and text[place - 1] == "\U0001f3f4" else None
        if flag:
            place = flag.end()
            continue
        if place % 4096 == 0:
            context.check_deadline()
        kind = _kind(text, place, start, end, paired)
        if kind:
            yield place, kind
        place += 1


def _kind(text: str, place: int, start: int, end: int, paired: frozenset[int]) -> str | None:  # noqa: C901  a table
    """What the character hides as; None where it belongs."""
    char = text[place]
    before = text[place - 1] if place else ""
    after = text[place + 1 : place + 2]
    first, last = text[start - 1] if start else "", text[end : end + 1]
    alone = end - start == 1
    match char:
        case "\u202d" | "\u202e":
            return "bidi_override"
        case "\u202a" | "\u202b" | "\u202c" | "\u2066" | "\u2067" | "\u2068" | "\u2069":
            return None if place in paired and _rtl_near(text, place) else "bidi_control"
        case "\u200e" | "\u200f" | "\u061c":
            return None if before != char and _rtl_near(text, place) else "direction_mark"
        case "\u200c" | "\u200d":
            return None if _joins(char, before, after, alone) else "zero_width"
        case "\u200b":
            return None if alone and _SPACELESS.match(before) and _SPACELESS.match(after) else "zero_width"
        case "\ufeff":
            return None if place == 0 else "zero_width"
        case "\u00ad":
            return None if alone and _hyphenates(text, place) else "soft_hyphen"
        case "\u034f":
            return None if alone and (_is_mark(before) or _is_mark(after)) else "zero_width"
        case "\u115f" | "\u1160":
            return None if "\u1100" <= (first or " ") <= "\u11ff" or "\u1100" <= (last or " ") <= "\u11ff" else "filler"
        case "\u3164" | "\uffa0":
            return "filler"
        case "\u2800":
            return None if "\u2800" <= (first or " ") <= "\u28ff" or "\u2800" <= (last or " ") <= "\u28ff" else "filler"
        case "\u17b4" | "\u17b5":
            return None if "\u1780" <= before <= "\u17d3" else "zero_width"
    return _kind_by_block(char, before, after)


def _kind_by_block(char: str, before: str, after: str) -> str | None:
    if char < " " or char == "\x7f":
        return "control"
    if "\u180b" <= char <= "\u180f":
        return None if "\u1820" <= before <= "\u18aa" or "\u1820" <= after <= "\u18aa" else "hidden_selectors"
    if "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef":
        return None if _takes_selector(char, before) else "hidden_selectors"
    if "\U0001d173" <= char <= "\U0001d17a" and "\U0001d100" <= (before or after) <= "\U0001d1ff":
        return None
    if "\U000e0000" <= char <= "\U000e0fff":
        return "hidden_tags"
    return "private_use" if unicodedata.category(char) == "Co" else "zero_width"


def _joins(char: str, before: str, after: str, alone: bool) -> bool:
    """Whether a joiner stands where emoji or a script have one."""
    if char == "\u200d" and (_PICTURE.match(before) or _MODIFIER.match(before)) and _PICTURE.match(after):
        return True
    return alone and bool(_JOINING.match(before) or (_JOINING.match(after) and not before.isalnum()))


def _takes_selector(char: str, before: str) -> bool:
    if not before:
        return False
    if char in "\ufe0e\ufe0f":
        return bool(_PICTURE.match(before)) or before in _KEYCAP or unicodedata.category(before) in ("So", "Sm", "Po")
    if char >= "\U000e0100":
        return bool(_IDEOGRAPH.match(before))
    # Mathematical, ideographic and Brahmic variants: the standard lists which; none is a Latin letter.
    return bool(_IDEOGRAPH.match(before) or _JOINING.match(before)) or unicodedata.category(before) in (
        "Sm",
        "So",
        "Ps",
    )


def _hyphenates(text: str, place: int) -> bool:
    """Whether a soft hyphen stands where one may break a word: two letters or more each side, or at a line's end."""
    behind, ahead = text[max(0, place - 2) : place], text[place + 1 : place + 3]
    ends = not ahead or ahead[0].isspace() or (len(ahead) == 2 and _in_word(ahead))
    return ends and len(behind) == 2 and _in_word(behind)


def _in_word(part: str) -> bool:
    return all(char.isalpha() or _is_mark(char) for char in part)


def _is_mark(char: str) -> bool:
    return bool(char) and unicodedata.category(char).startswith("M")


def _rtl_near(text: str, place: int) -> bool:
    block = place // _NEAR
    return _has_rtl(text[max(0, (block - 1) * _NEAR) : (block + 2) * _NEAR])


@lru_cache(maxsize=64)
def _has_rtl(piece: str) -> bool:
    return bool(_RTL.search(piece))


_BIDI = re.compile("[\u202a-\u202c\u2066-\u2069\n\r\u2029]")


def _balanced(text: str, context: Context) -> frozenset[int]:
    """Places of embeddings and isolates that are closed in their paragraph, and of what closes them."""
    if text.isascii():
        return frozenset()
    paired: set[int] = set()
    open_: tuple[list[int], list[int]] = ([], [])
    for number, match in enumerate(_BIDI.finditer(text)):
        if number % 4096 == 0:
            context.check_deadline()
        char, place = match.group(), match.start()
        if char in _OPENING or char in _ISOLATES:
            open_[char in _ISOLATES].append(place)
        elif char in _POP:
            if open_[_POP[char]]:
                paired |= {open_[_POP[char]].pop(), place}
        else:
            open_ = ([], [])
    return frozenset(paired)
