"""Text in, index terms out: what two texts must share for the lexical search to see it.

A word is a run of letters and digits, together with the characters that join them in identifiers (`pg_stat_activity`,
`v1.2.3`, `--dry-run`, `TCP/IP`). It gives its parts, split at those characters and where CamelCase turns, and, when
there are several, also the whole with the joints left out: `pg_stat_activity`, `PgStatActivity` and `pg stat activity`
find each other, and the exact spelling counts most. Letters are casefolded, Latin ones lose their accents, and words
without digits are cut to their stem by the language's Snowball stemmer (Porter 2001). Scripts without spaces between
words (Chinese, Japanese, Thai, ...) and Korean give pairs of neighbouring characters, as Lucene's CJKAnalyzer does.

Known limits: a compound (`Datenbankverbindung`) is one term; languages without a Snowball stemmer are not stemmed; of
a word without joints the first 100 characters count; a single Chinese character finds only itself standing alone.
"""

import re
import threading
import unicodedata
from collections.abc import Iterator
from functools import cached_property, lru_cache

# ISO 639-1 codes and Snowball's names of the languages.
STEMMERS = dict(
    pair.split("=")
    for pair in (
        "ar=arabic ca=catalan cs=czech da=danish de=german el=greek en=english es=spanish et=estonian eu=basque "
        "fa=persian fi=finnish fr=french ga=irish hi=hindi hu=hungarian hy=armenian id=indonesian it=italian "
        "lt=lithuanian nb=norwegian ne=nepali nl=dutch nn=norwegian no=norwegian pl=polish pt=portuguese ro=romanian "
        "ru=russian sr=serbian sv=swedish ta=tamil tr=turkish"
    ).split()
)
# The languages that bm25s has stop words for, and its name of the list.
_STOP = {code: STEMMERS[code].upper() for code in "da de es fr it nb nl no pt ru sv tr".split()} | {"en": "EN_PLUS"}
DEFAULT = "en"

# Marks of Hebrew, Arabic and the scripts of India, which are inside words, are no `\w`.
_LETTERS = r"[\w\u0300-\u036f\u0591-\u05c7\u0610-\u065f\u0900-\u0963\u0966-\u0eff\u0f18-\u0fbc\u102b-\u109f]+"
_ANY = r"[A-Za-z](?:\+\+|\#)(?!\w)|{0}(?:[-./:@']{0})*"
_WORD = re.compile(_ANY.format(_LETTERS))
_ASCII = re.compile(_ANY.format(r"\w+"), re.ASCII)
_UNSPACED = re.compile(
    r"([\u0e00-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    r"\U00020000-\U0003134f]+)"
)
# `HTTPServer` is HTTP and Server; `DNAs` is one word.
_TURN = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
_JOINT = re.compile(r"[-_./:@]+")
# What English hangs on and what French and Italian put before; an apostrophe elsewhere is left out.
_APOSTROPHE = re.compile(r"'(?:s|t|d|m|ll|re|ve)$|^(?:[cdjlmnst]|qu|dell|all|nell|sull|un)'|'", re.IGNORECASE)
_VERSION = re.compile(r"^v(?=\d+\.\d)", re.IGNORECASE)
_MARKS = re.compile(r"(?<=[A-Za-z])[\u0300-\u036f]+")
# The apostrophe that word processors set, and Latin letters that Unicode does not take apart.
_LATIN = str.maketrans(dict(zip("\u2019øØłŁđĐð\u0131æÆœŒ", "' o O l L d D d i ae AE oe OE".split(), strict=True)))
_LONGEST, _LONGEST_WHOLE, _REMEMBERED = 100, 64, 200_000


class Analyser:
    """Terms of texts in one language. Safe to use from several threads.

    Args:
        language: ISO 639-1 code; empty takes `DEFAULT`, and one without a stemmer leaves words as they are.
    """

    def __init__(self, language: str = DEFAULT) -> None:
        import Stemmer

        self.language = language or DEFAULT
        name = STEMMERS.get(self.language)
        self._stemmer = Stemmer.Stemmer(name, 0) if name else None
        # A stemmer is for one thread at a time.
        self._stemming = threading.Lock()
        self._known: dict[str, tuple[str, ...]] = {}

    def terms(self, text: str) -> list[str]:
        """All terms of a text, in order; one that comes twice is there twice."""
        found: list[str] = []
        known = self._known
        folded = fold(text)
        for word in (_ASCII if folded.isascii() else _WORD).findall(folded):
            terms = known.get(word)
            found += self._learn(word) if terms is None else terms
        return found

    @cached_property
    def stop_words(self) -> frozenset[str]:
        """Terms that tell nothing of what a text is about, such as `the`; empty for a language without a list."""
        if self.language not in _STOP:
            return frozenset()
        # Imported here: it takes a while, and an index in a language without a list never needs it.
        from bm25s import stopwords

        words = getattr(stopwords, f"STOPWORDS_{_STOP[self.language]}")
        return frozenset(term for word in words for term in self.terms(word))

    def _learn(self, word: str) -> tuple[str, ...]:
        terms = tuple(self._terms_of(word))
        if len(word) <= _LONGEST:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[word] = terms
        return terms

    def _terms_of(self, word: str) -> Iterator[str]:
        if word[-1] in "+#":
            yield word.casefold()
            return
        for number, run in enumerate(_UNSPACED.split(word)):
            if number % 2:
                yield from (run[at : at + 2] for at in range(max(len(run) - 1, 1)))
            elif run:
                yield from self._spaced(run)

    def _spaced(self, word: str) -> Iterator[str]:
        pieces = _JOINT.split(_VERSION.sub("", _APOSTROPHE.sub("", word)))
        parts = [part.casefold()[:_LONGEST] for piece in pieces for part in _TURN.split(piece) if part]
        if not parts:
            return
        if len(parts) == 1:
            yield self._stem(parts[0])
            return
        # A letter by itself (`e-mail`, `I/O`) would find all others.
        yield from (self._stem(part) for part in parts if len(part) > 1 or part.isdigit())
        whole = ("." if all(map(str.isdigit, parts)) else "").join(parts)
        if len(whole) <= _LONGEST_WHOLE:
            yield self._stem(whole)

    def _stem(self, word: str) -> str:
        if self._stemmer is None or not word.isalpha():
            return word
        with self._stemming:
            return str(self._stemmer.stemWord(word))


def fold(text: str) -> str:
    """A text with compatible characters made the same (full-width, ligatures) and Latin letters without accents."""
    if text.isascii():
        return text
    apart = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).translate(_LATIN))
    return unicodedata.normalize("NFC", _MARKS.sub("", apart))


@lru_cache(maxsize=64)
def analyser(language: str = DEFAULT) -> Analyser:
    """The analyser of a language, made once."""
    return Analyser(language)
