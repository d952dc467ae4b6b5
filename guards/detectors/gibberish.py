"""Gibberish: random characters, keyboard mash, broken encodings and endless repetition.

Text in, the likelihood that a piece of it is noise out, and spans over such pieces. Four measures, of which the
strongest decides:

- letters that follow each other as in none of some seventy languages: a model of letter triples for Latin, Cyrillic,
  Greek and Hebrew script, against random letters and keys that lie side by side;
- signs, figures and letters that alternate more often than in code;
- characters that arise when UTF-8 is read as a Western encoding;
- words that compress to next to nothing, since they are the same over and over.

Known limits: short texts (`ok`, `asdf`) are not judged, nor are letters of other scripts; words with figures in them
are left out, so that checksums, keys and encoded data pass. What can be pronounced passes, too. Judged in pieces of a
thousand characters: a mashed word within a sentence goes unnoticed. A language in Latin script that is unlike all that
the model has seen can be taken for noise; `guards/weights/gibberish.json` has the rates.
"""

import math
import re
import string
import threading
import unicodedata
import zlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from guards.base import NO_CONTEXT, Action, Context, Span, Verdict
from guards.spans import windows

VERSION = "1"
WEIGHTS = Path(__file__).parents[1] / "weights" / "gibberish.safetensors"

Table = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

# What the model knows of each script: lower case, without marks. The first character stands for a word's border.
ALPHABETS = {
    "latin": " abcdefghijklmnopqrstuvwxyz",
    "cyrillic": " абвгдежзийклмнопрстуфхцчшщъыьэюяєіїђјљњћџґқңөүұһәғ",
    "greek": " αβγδεζηθικλμνξοπρσςτυφχψω",
    "hebrew": " אבגדהוזחטיכךלמםנןסעפףצץקרשת",
}
_WINDOW, _OVERLAP = 1000, 100
# Judged letters below which a piece says nothing, and the part of its characters that they must be.
_ENOUGH, _PART = 12, 0.3
# Nats that noise must be more likely by: in all, and a letter. Found on languages that the model had not seen.
_BIAS, _MARGIN = 5.0, 0.4
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
# Letters whose marks Unicode does not take off.
_PLAIN = str.maketrans("ıøđłßæœðþħŋəɛɔɓɗƙ", "iodlsaodthneeobdk")
# Beside these, letters are no words: code, paths, addresses, encoded data.
_SIGNS = r"[\w=+@#$%^&~<>\\/]"
_WORDS = {
    script: re.compile(f"(?<!{_SIGNS})[{letters[1:]}]{{2,}}+(?!{_SIGNS})") for script, letters in ALPHABETS.items()
}
# What the bytes 80 to BF are read as.
_CONTINUES = "\x80-\xbf" + bytes(set(range(0x80, 0xA0)) - {0x81, 0x8D, 0x8F, 0x90, 0x9D}).decode("cp1252")
_MISREAD = re.compile(
    f"[Â-ß][{_CONTINUES}]|[à-ï][{_CONTINUES}]{{2}}|[ð-ô][{_CONTINUES}]{{3}}|\ufffd+|[\x80-\x9f]+|[?]{{4,}}"
)
# Kinds of characters: small and capital letters, figures; every sign is a kind of its own.
_ASCII_KINDS = bytes.maketrans(
    (string.ascii_letters + string.digits + string.whitespace).encode(), b"a" * 26 + b"A" * 26 + b"0" * 10 + b" " * 6
)
_MARKS = re.compile("[\u0300-\u036f\u0483-\u0487\u0591-\u05c7]+")
_NO_WORDS = re.compile(r"[\W_]+")
_loading = threading.Lock()


class GibberishGuard:
    """Tells noise from text; allows, or answers with `action` and spans over the noisy pieces.

    Args:
        action: what is done with noise.
        threshold: likelihood of noise from which a piece counts, 0 to 1.
    """

    name = "gibberish"

    def __init__(self, *, action: Action = Action.FLAG, threshold: float = 0.5) -> None:
        self._action = action
        self._threshold = threshold

    def warm_up(self) -> None:
        """Load the model."""
        _tables()

    def check(self, text: str, context: Context = NO_CONTEXT) -> Verdict:
        pieces = [
            (start, start + len(piece), *noise(piece)) for start, piece in windows(text, _WINDOW, _OVERLAP, context)
        ]
        score, measure = max((likelihood, measure) for _, _, likelihood, measure in pieces)
        spans = _apart([Span(start, end, "gibberish") for start, end, found, _ in pieces if found >= self._threshold])
        return Verdict(
            action=self._action if spans else Action.ALLOW,
            category="gibberish",
            score=score,
            threshold=self._threshold,
            reason=f"Part of it cannot be read: it looks like {measure}." if spans else "It reads like text.",
            detector="gibberish-ngrams",
            version=VERSION,
            spans=spans,
        )


def _apart(spans: list[Span]) -> tuple[Span, ...]:
    """Neighbouring pieces share some characters: each span ends where the next begins."""
    following = [*(span.start for span in spans[1:]), math.inf][: len(spans)]
    return tuple(replace(span, end=int(min(span.end, start))) for span, start in zip(spans, following, strict=True))


def noise(piece: str) -> tuple[float, str]:
    """The likelihood that a piece of text is noise, 0 to 1, and what it looks like."""
    return max(
        (_sigmoid(random_letters(piece) / 3.0), "random letters"),
        (_sigmoid(40.0 * alternation(piece)), "random characters"),
        (misread(piece), "a broken encoding"),
        (repetition(piece), "the same words over and over"),
    )


def random_letters(piece: str, tables: Mapping[str, Table] | None = None) -> float:
    """By how many nats random or mashed letters explain the words better than language does, less the margins.

    Args:
        tables: log-probabilities of a letter after two others by script; the shipped ones if left out.
    """
    tables = _tables() if tables is None else tables
    gain, letters = 0.0, 0
    for script, (first, second, third) in triples(piece).items():
        at_random = np.where(third == 0, math.log(0.15), math.log(0.85 / (len(ALPHABETS[script]) - 1))).sum()
        mashed = _mashed()[second, third].sum() if script == "latin" else -math.inf
        gain += float(max(at_random, mashed) - tables[script][first, second, third].sum())
        letters += int(np.count_nonzero(third))
    if letters < _ENOUGH or letters < _PART * len("".join(piece.split())):
        return -_BIAS
    return gain - _MARGIN * letters - _BIAS


def triples(piece: str) -> dict[str, tuple[Numbers, Numbers, Numbers]]:
    """Letters of words with the two before each, by script, as places in `ALPHABETS`; borders before and after words.

    Words with figures, signs or letters of several scripts in them are left out.
    """
    folded = _folded(piece)
    found = {}
    for script, pattern in _WORDS.items():
        # Two borders between words, so that no letter is taken to follow those of the word before.
        words = "  ".join(["", *pattern.findall(folded), ""])[:-1]
        places = _places(script)[np.frombuffer(words.encode("utf-32-le"), dtype=np.uint32)]
        first, second, third = places[:-2], places[1:-1], places[2:]
        kept = (second > 0) | (third > 0)
        if kept.any():
            found[script] = first[kept], second[kept], third[kept]
    return found


def alternation(piece: str) -> float:
    """By how much more often than in code the kinds of ASCII characters alternate; at most 0 where it does not.

    Measured: random printable characters differ in kind, or in sign, from the one before in 0.73 to 0.84 of the cases;
    of 200 characters of Python or Perl, 99 in 100 stay below 0.63.
    """
    if not piece.isascii():
        return -1.0
    kinds = np.frombuffer(piece.encode().translate(_ASCII_KINDS), dtype=np.uint8)
    within = (kinds[:-1] != ord(" ")) & (kinds[1:] != ord(" "))
    pairs = int(np.count_nonzero(within))
    changes = int(np.count_nonzero((kinds[:-1] != kinds[1:]) & within))
    return changes / pairs - 0.75 - 0.5 / math.sqrt(pairs) if pairs >= 30 else -1.0


def misread(piece: str) -> float:
    """How much is UTF-8 that was read as ISO 8859-1 or Windows-1252, or was lost; 1 from each fifth word on."""
    if piece.isascii() and "????" not in piece:
        return 0.0
    found = len(_MISREAD.findall(piece))
    return min(1.0, 5.0 * found / (1 + len(piece.split()))) if found >= 2 else 0.0


def repetition(piece: str) -> float:
    """How surely a piece says the words of its first third three times; 0 for less than fifty letters.

    Measured by what the rest adds to the compressed first third: a few bytes where it repeats that, and a tenth of its
    own length or more in manuals, tables and code.
    """
    words = _NO_WORDS.sub(" ", piece).strip().lower()
    if sum(map(str.isalpha, words)) < max(50, len(piece) / 2):
        return 0.0
    raw = words.encode("utf-8", "ignore")
    added = len(zlib.compress(raw, 6)) - len(zlib.compress(raw[: len(raw) // 3], 6))
    return _sigmoid((7 + 0.01 * len(raw) - added) / 2.0)


def _folded(text: str) -> str:
    """Lower case, without marks."""
    if text.isascii():
        return text.lower()
    parts = unicodedata.normalize("NFD", text.lower().translate(_PLAIN))
    return _MARKS.sub("", parts)


@cache
def _places(script: str) -> Numbers:
    """Place in the alphabet by code point; 0 for the rest."""
    letters = ALPHABETS[script]
    places = np.zeros(max(map(ord, letters)) + 1, dtype=np.int64)
    places[[ord(letter) for letter in letters[1:]]] = np.arange(1, len(letters))
    return places


@cache
def _mashed() -> Table:
    """Log-probability of a Latin letter after another where keys are hit by fingers that hardly move (QWERTY)."""
    letters = ALPHABETS["latin"]
    spot = {key: (row, place + row / 2) for row, keys in enumerate(_KEYS) for place, key in enumerate(keys)}
    near = np.array([[math.exp(-math.dist(spot[a], spot[b]) / 1.2) + 0.003 for b in letters[1:]] for a in letters[1:]])
    home = np.array([3.0 if key in _KEYS[1] else 1.0 for key in letters[1:]])
    table = np.full((len(letters), len(letters)), 0.15)
    table[1:, 1:] = 0.85 * near / near.sum(axis=1, keepdims=True)
    table[0, 1:] = home / home.sum()
    mashed: Table = np.log(table).astype(np.float32)
    return mashed


def _tables() -> Mapping[str, Table]:
    with _loading:
        return _load()


@cache
def _load() -> Mapping[str, Table]:
    from safetensors.numpy import load_file

    return {script: table.astype(np.float32) for script, table in load_file(WEIGHTS).items()}


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, value))))
