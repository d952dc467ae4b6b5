"""Undoes the usual ways of hiding words from a filter, and remembers where every character came from.

Text in; out a text for detectors to read: HTML entities decoded, compatibility forms and look-alikes in plain Latin,
invisible characters and stacked accents removed, digits and signs inside words read as letters (`h4te`), words spelled
with gaps joined (`h a t e`, `h.a.t.e`), long runs of a letter shortened, starred-out swear words filled in.

Known limits: it helps to recognise and is not for show: it also changes innocent text (`W3C` becomes `WeC`). The
look-alikes are the common Cyrillic, Greek and letter-like ones. Missing spaces and swapped letters stay.
"""

import html
import re
import unicodedata
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Edit = tuple[int, int, str]

# Most English text needs none of this, and is told apart in one pass.
_PLAIN = re.compile(r"[\t\n\r\x20-\x7e]*\Z")

# By eye, and the Unicode Consortium's confusables (UTS 39) for the common cases.
_LOOKALIKE = str.maketrans(
    "аеорсухіјѕһԁԛԝкмтвнАВЕКМНОРСТУХІЈЅԀԚԜαβγεικνορτυχωΑΒΕΖΗΙΚΜΝΟΡΤΥΧıɑɡɩʟɴʀᴀʙᴄᴅᴇғɢʜɪᴊᴋᴍᴏᴘꜱᴛᴜᴠᴡʏᴢøØłŁđĐɛɔℓ",
    "aeopcyxijshdqwkmtbhABEKMHOPCTYXIJSDQWabyeiknoptuxwABEZHIKMNOPTYXiagilnrabcdefghijkmopstuvwyzoOlLdDecl",
)
_FOREIGN_WORD = re.compile(r"[^\W\d_]*[^\x00-\x7f\W\d_][^\W\d_]*")
# Negative circled and squared capitals, and regional indicators: emoji that spell.
_SIGN_ALPHABETS = (0x1F150, 0x1F170, 0x1F1E6)

_LEET = str.maketrans("0134579@$!", "oieastgasi")
_LEET_WORD = re.compile(r"(?<![A-Za-z0-9@$!])[A-Za-z0-9@$!]{2,40}(?![A-Za-z0-9@$!])")
# Inside a word; `$` also at its ends, `@` before an s only, for handles begin so. Elsewhere they are punctuation and
# counts.
_LEET_PLACE = re.compile(r"(?<=[A-Za-z])[0134579@$!]{1,3}(?=[A-Za-z])|^[$](?=[A-Za-z])|^@(?=s)|(?<=[A-Za-z])[$]{1,3}$")

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8});")
_SPELLED = re.compile(r"(?<![^\W_])[^\W\d_](?:([ .\-_*·])[^\W\d_])(?:\1[^\W\d_]){1,30}(?![^\W_])")
_STRETCHED = re.compile(r"([A-Za-z])\1{2,}")
_DOUBLED = frozenset("elosgELOSG")

_STARRED = re.compile(r"(?<![\w*])[A-Za-z]{1,5}[*#%]{1,4}[A-Za-z]{0,8}(?![\w*])")
_SWEAR = (
    "ass asshole asses bastard bitch bitches bullshit cock cunt cunts dick dicks fag faggot faggots fuck fucked fucker"
    " fuckers fucking fucks goddamn hoe hoes motherfucker nigga niggas nigger niggers piss pissed pussy shit shits"
    " shitty slut sluts twat whore whores"
).split()


class Folded:
    """A text in its folded form.

    Attributes:
        text: the folded text.
        changed: whether it differs from the original.
    """

    def __init__(self, original: str) -> None:
        self.text = original
        self._length = len(original)
        # Offsets in the original at which each character begins and ends; None: as they are.
        self._starts: npt.NDArray[np.int64] | None = None
        self._ends: npt.NDArray[np.int64] | None = None
        if "&" in original:
            self._apply(_entities(self.text))
        if not _PLAIN.match(self.text):
            self._apply(_to_latin(self.text))
            self._apply(_lookalikes(self.text))
        for find in (_spelled, _starred, _leet, _stretched):
            self._apply(find(self.text))
        self.changed = self.text != original

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Where characters `start` to `end` of the folded text lie in the original."""
        if self._starts is None or self._ends is None:
            return start, end
        first = int(self._starts[start]) if start < len(self._starts) else self._length
        return first, max(first, int(self._ends[end - 1])) if end > start else first

    def _apply(self, edits: Iterable[Edit]) -> None:
        """Replace parts of the text: in order, not overlapping. Parts of equal length map character by character."""
        parts: list[str] = []
        starts: list[npt.NDArray[np.int64]] = []
        ends: list[npt.NDArray[np.int64]] = []
        old_starts, old_ends = self._offsets()
        done = 0
        for start, end, new in edits:
            parts += [self.text[done:start], new]
            starts.append(old_starts[done:start])
            ends.append(old_ends[done:start])
            alike = len(new) == end - start
            starts.append(old_starts[start:end] if alike else np.full(len(new), old_starts[start]))
            ends.append(old_ends[start:end] if alike else np.full(len(new), old_ends[end - 1]))
            done = end
        if not parts:
            return
        self.text = "".join([*parts, self.text[done:]])
        self._starts = np.concatenate([*starts, old_starts[done:]])
        self._ends = np.concatenate([*ends, old_ends[done:]])

    def _offsets(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        if self._starts is None or self._ends is None:
            places = np.arange(self._length + 1, dtype=np.int64)
            return places[:-1], places[1:]
        return self._starts, self._ends


def _entities(text: str) -> Iterable[Edit]:
    for match in _ENTITY.finditer(text):
        # A few, such as `&#0;`, stand for nothing.
        new = html.unescape(match.group())
        if new != match.group():
            yield match.start(), match.end(), new


def _to_latin(text: str) -> Iterable[Edit]:
    """Compatibility forms in plain, invisible characters out, accents on Latin letters out."""
    latin = False
    for place, char in enumerate(text):
        if char < "\x80":
            latin = char.isalpha()
            continue
        new = _plain(char, after_latin=latin)
        if new != char:
            yield place, place + 1, new
        if new and not unicodedata.combining(char):
            latin = new[-1] < "\u0250" and new[-1].isalpha()


def _plain(char: str, *, after_latin: bool) -> str:
    kind = unicodedata.category(char)
    if kind == "Cf" or "\ufe00" <= char <= "\ufe0f":
        return ""
    if kind in ("Mn", "Me"):
        return "" if after_latin else char
    for first in _SIGN_ALPHABETS:
        if first <= ord(char) < first + 26:
            return chr(ord(char) - first + ord("A"))
    parts = unicodedata.normalize("NFKD", char)
    if parts[0] < "\u0250":
        return "".join(part for part in parts if not unicodedata.combining(part))
    return unicodedata.normalize("NFKC", char)


def _lookalikes(text: str) -> Iterable[Edit]:
    """Letters that look Latin, in words that have a Latin letter too or no letter that does not look so."""
    for match in _FOREIGN_WORD.finditer(text):
        word = match.group()
        new = word.translate(_LOOKALIKE)
        if new != word and (new.isascii() or any(char < "\x80" for char in word)):
            yield match.start(), match.end(), new


def _spelled(text: str) -> Iterable[Edit]:
    for match in _SPELLED.finditer(text):
        run = match.group()
        letters = run[::2]
        # "I h a t e": the pronoun is a word of its own.
        apart = run.startswith("I ") and letters[1:].islower()
        yield match.start(), match.end(), f"I {letters[1:]}" if apart else letters


def _leet(text: str) -> Iterable[Edit]:
    for match in _LEET_WORD.finditer(text):
        word = match.group()
        new = _LEET_PLACE.sub(_as_letters, word)
        # More figures than letters is a code, an amount or a hash.
        if new != word and sum(map(str.isdigit, word)) <= sum(map(str.isalpha, word)):
            yield match.start(), match.end(), new


def _as_letters(match: re.Match[str]) -> str:
    return match.group().translate(_LEET)


def _stretched(text: str) -> Iterable[Edit]:
    for match in _STRETCHED.finditer(text):
        letter = match.group(1)
        yield match.start(), match.end(), letter * 2 if letter in _DOUBLED else letter


def _starred(text: str) -> Iterable[Edit]:
    for match in _STARRED.finditer(text):
        shape = re.compile(re.sub("[*#%]", "[a-z]", match.group().lower()))
        word = next(filter(shape.fullmatch, _SWEAR), None)
        if word is not None:
            yield match.start(), match.end(), word
