"""Reads a text for comparison: sentences with their places, and in each its words, numbers, names and polarity.

Text in, `Sentence` records out, whose offsets refer to the text as it was given. Every pattern has bounded repeats on
disjoint classes, and no sentence is longer than `LONGEST`, so the time grows with the length of the text.

Known limits: the word lists are English; sentences and words of scripts without spaces are told apart only by their
punctuation. A name at the start of a sentence looks like any other word, unless its spelling gives it away.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from guards.base import NO_CONTEXT, Context

# Characters; longer ones (tables, minified code) are cut, since nothing is to be compared with a page at once.
LONGEST = 1000

# `[1]`, `[1, 2]`, but not the index in `list[1]`.
MARKER = re.compile(r"(?<!\w)\[\d{1,3}(?:\s?[,;]\s?\d{1,3}){0,8}\]")
_LAST_MARKER = re.compile(r"(?<!\w)\[\d{1,3}(?:\s?[,;]\s?\d{1,3}){0,8}\]$")
# The end of a sentence with its closing quotes and markers; or a blank line, or a line that starts a list item, a
# heading or a row. Other line ends are the wrapping of a paragraph. A run of stops is tried from its start only.
_BORDER = re.compile(
    r"(?<![.!?])[.!?]++[\"'\u201d\u2019)\]*`]{0,3}(?:\s?\[\d{1,3}(?:\s?[,;]\s?\d{1,3}){0,8}\]){0,8}(?=\s|$)"
    r"|[\u3002\uff01\uff1f]++"
    r"|\n++(?=[ \t\r]{0,40}(?:\n|[-*+\u2022>|#]|\d{1,3}[.)]\s|```))"
    r"|(?<=\n)\n++"
)
_ABBREVIATED = re.compile(
    r"(?:^|[\s(])(?:(?:e\.g|i\.e|vs|cf|al|approx|dr|mr|mrs|prof|resp)|(figs?|eq|no|vol|pp?))$", re.I
)
_SENTENCES_AT_ONCE = 256
_WORD = re.compile(r"[^\W_]{1,64}(?:['\u2019](?:[a-z]{1,3})(?![^\W_]))?")
_TOKEN = re.compile(r"[^\W_]{1,64}(?:[-_./][^\W_]{1,64}){0,8}")
_NUMBER = re.compile(
    r"(?<![^\W_])(?<![^\W_][-_/.])\d{1,15}(?:,\d{3}(?!\d)){0,5}(?:\.\d{1,10})?"
    r"(?:\s?(%|[^\W\d_]{1,12}))?(?![^\W_])"
)
_ISO_DATE = re.compile(r"(?<!\d)(\d{4})-(\d{2})-(\d{2})(?!\d)")
_MONTHS = "january february march april may june july august september october november december".split()
_WORDED = dict(
    zip(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand".split(),
        [*range(21), 30, 40, 50, 60, 70, 80, 90, 100, 1000],
        strict=True,
    )
)
_UNITS = {
    "%": "%", "percent": "%", "per": "%", "pct": "%",
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s", "ms": "ms", "millisecond": "ms",
    "milliseconds": "ms", "min": "min", "mins": "min", "minute": "min", "minutes": "min", "h": "h", "hr": "h",
    "hrs": "h", "hour": "h", "hours": "h", "day": "d", "days": "d", "week": "week", "weeks": "week",
    "month": "month", "months": "month", "year": "y", "years": "y", "yr": "y", "yrs": "y",
    "kb": "kb", "mb": "mb", "gb": "gb", "tb": "tb", "kib": "kib", "mib": "mib", "gib": "gib", "bytes": "b", "byte": "b",
    "g": "g", "gram": "g", "grams": "g", "mg": "mg", "kg": "kg", "\u00b5g": "ug", "ug": "ug", "ng": "ng",
    "m": "m", "meter": "m", "metre": "m", "meters": "m", "metres": "m", "cm": "cm", "mm": "mm", "km": "km", "nm": "nm",
    "ml": "ml", "l": "l", "hz": "hz", "khz": "khz", "mhz": "mhz", "ghz": "ghz", "usd": "$", "dollars": "$",
}  # fmt: skip
_STOP = frozenset(
    "a about all also an and any are as at be been being but by can could did do does each for from had has have he "
    "her his how however i if in into is it its itself just may me might more most much my no nor not of on one only "
    "or other our out over own same she should so some such than that the their them then there these they this those "
    "through thus to too under up upon us use used uses using very via was we were what when where which while who why "
    "will with within would you your s t".split()
)
NEGATORS = frozenset(
    "not no never cannot neither nor none nobody nothing without lack lacks lacked lacking fail fails failed unable "
    "isn't aren't wasn't weren't don't doesn't didn't can't couldn't won't wouldn't shouldn't hasn't haven't hadn't "
    "hardly barely rarely unlikely".split()
)
_SUFFIXES = (
    "ization", "isation", "ational", "ations", "ation", "ingly", "ments", "ment", "ities", "ously", "ively", "ness",
    "able", "ible", "ions", "ally", "ance", "ence", "ing", "ied", "ies", "ity", "ion", "ive", "ous", "ers", "ors",
    "al", "ed", "er", "or", "es", "ly", "ic", "s", "e", "y",
)  # fmt: skip


@dataclass(frozen=True)
class Sentence:
    """One sentence: its place in the text it came from, and what is compared, computed when first asked for."""

    start: int
    end: int
    text: str

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All words in lower case, in order, markers left out."""
        return tuple(_WORD.findall(self._plain.replace("\u2019", "'").lower()))

    @cached_property
    def stems(self) -> tuple[str, ...]:
        """Stems of the content words, in order."""
        return tuple(
            stem(word) for word in self.words if word not in _STOP and word not in NEGATORS and not word.isdigit()
        )

    @cached_property
    def numbers(self) -> tuple[tuple[float, str], ...]:
        """Value and unit of each number, `""` without a unit; the parts of names such as `py3` are none."""
        found = []
        for match in _NUMBER.finditer(_ISO_DATE.sub(r"\1 \2 \3", self._plain)):
            digits = re.match(r"[\d,.]+", match.group())
            value = float(digits.group().rstrip(",.").replace(",", "")) if digits else 0.0
            found.append((value, _UNITS.get((match.group(1) or "").lower(), "")))
        for place, word in enumerate(self.words):
            if word in _WORDED:
                after = self.words[place + 1] if place + 1 < len(self.words) else ""
                found.append((float(_WORDED[word]), _UNITS.get(after, "")))
        return tuple(found)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What is written like a name, in lower case: capitals inside a sentence or a word, digits inside a word."""
        found = dict.fromkeys(_MONTHS[int(m) - 1] for _, m, _ in _ISO_DATE.findall(self._plain) if 0 < int(m) < 13)
        tokens = list(_TOKEN.finditer(self._plain))
        titled = sum(token.group()[0].isupper() for token in tokens) > 0.6 * len(tokens)
        for place, token in enumerate(tokens):
            for part in re.split(r"[./]", token.group()):
                if part and _is_name(part, first=place == 0 or titled):
                    found[part.lower()] = None
        return tuple(found)

    @cached_property
    def _plain(self) -> str:
        return MARKER.sub(" ", self.text)


def _is_name(token: str, *, first: bool) -> bool:
    if token.isdigit() or token.lower() in _STOP:
        return False
    letters = [char for char in token if char.isalpha()]
    if any(char.isdigit() for char in token) and letters:
        return not re.fullmatch(r"\d+(?:\.\d+)?[a-z%\u00b5]{1,3}|\d+(?:st|nd|rd|th)", token)
    inner = any(char.isupper() for char in token[1:])
    return len(letters) > 1 and (inner or (token[0].isupper() and not first))


def sentences(text: str, context: Context = NO_CONTEXT) -> Iterator[Sentence]:
    """The sentences of a text in order, white space and markers around them left out.

    Raises:
        TimeoutError: the context's deadline has passed.
    """
    start = 0
    for count, match in enumerate(_BORDER.finditer(text)):
        if count % _SENTENCES_AT_ONCE == 0:
            context.check_deadline()
        if match.end() > start and not _is_abbreviation(text, match):
            yield from _cut(text, start, match.end(), context)
            start = match.end()
    yield from _cut(text, start, len(text), context)


def _is_abbreviation(text: str, stop: re.Match[str]) -> bool:
    if stop.group() != ".":
        return False
    found = _ABBREVIATED.search(text, max(0, stop.start() - 7), stop.start())
    # "No. 5", but "the answer is no."
    return found is not None and (not found.group(1) or text[stop.end() : stop.end() + 2].strip().isdigit())


def _cut(text: str, start: int, end: int, context: Context) -> Iterator[Sentence]:
    for low in range(start, end, LONGEST):
        context.check_deadline()
        high = min(low + LONGEST, end)
        # Markers and white space around a sentence are none of it.
        while low < high and ((marker := MARKER.match(text, low, high)) or text[low].isspace()):
            low = marker.end() if marker else low + 1
        part = text[low:high].rstrip()
        while marker := _LAST_MARKER.search(part, max(0, len(part) - 48)):
            part = part[: marker.start()].rstrip()
        if part:
            yield Sentence(low, low + len(part), part)


@cache
def _endings() -> dict[int, frozenset[str]]:
    return {size: frozenset(s for s in _SUFFIXES if len(s) == size) for size in range(7, 0, -1)}


def stem(word: str) -> str:
    """The word without one common ending of inflection or derivation, at least four characters long if it was."""
    if word.endswith("'s"):
        word = word[:-2]
    for size, endings in _endings().items():
        if len(word) - size >= 4 and word[-size:] in endings:
            return word[:-size]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


@cache
def opposites() -> dict[str, tuple[tuple[str, int], ...]]:
    """Stem to the axes it lies on, with its side: `grounding_opposites.txt` has one pair of sides a line."""
    found: dict[str, list[tuple[str, int]]] = {}
    path = Path(__file__).with_name("grounding_opposites.txt")
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            axis, up, down = (part.strip() for part in line.split("|"))
            for side, words in ((1, up), (-1, down)):
                for word in words.split():
                    if (axis, side) not in found.setdefault(stem(word), []):
                        found[stem(word)].append((axis, side))
    return {word: tuple(axes) for word, axes in found.items()}
