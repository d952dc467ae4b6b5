"""The guard for personal data.

Text in, verdict out, with the spans and what replaces them. Two modes: `patterns` finds what has a form (e-mail, phone,
card, IBAN, national numbers and the like; see `pii_patterns`) at some ten megabytes a second; `full` also finds names,
places, organisations, addresses, dates, ages and so on by a model of our own, run by Presidio (`pii_presidio`), at some
hundreds of short texts a second.

Known limits: English, and names in Latin script. `full` takes seconds to load, at the first check or by `warm_up`.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from configs.errors import ConfigError
from guards.base import NO_CONTEXT, Action, Context, Span, Verdict
from guards.detectors.pii_forms import host
from guards.detectors.pii_model import WEIGHTS, Tagger
from guards.detectors.pii_national import DIGITS, LETTERS
from guards.detectors.pii_patterns import THRESHOLD, Find, candidates, chosen
from guards.replacements import RedactAs, replace_spans
from guards.spans import windows

if TYPE_CHECKING:
    from guards.detectors.pii_presidio import Analyzer

Mode = Literal["full", "patterns"]
VERSION = "2"

CATEGORIES = frozenset(
    {
        *"email phone credit_card iban crypto ip_address".split(),
        *(kind.name for kind in (*DIGITS, *LETTERS)),
        # Of the mode `full` alone.
        *"person location organization nrp address zip_code title job date age url handle date_of_birth".split(),
        *"in_gstin kr_rrn medical_license sg_nric_fin th_tnin us_mbi".split(),
    }
)

_Name = TypeVar("_Name", bound=str)

# Characters that are analysed at once, and how many twice, so that nothing is cut in two.
_WINDOW, _OVERLAP = 4000, 400
# spaCy and the tokenizer take UTF-8 only; the replacement keeps every offset.
_SURROGATE = re.compile("[\ud800-\udfff]")


class PiiGuard:
    """Finds personal data; allows, or answers with `action` and the spans.

    Args:
        action: what to do with a text that holds personal data; `allow` only reports.
        threshold: confidence from which a find counts, 0 to 1.
        mode: `patterns` or `full`.
        redact_as: what replaces a find; see `guards.replacements`.
        entities: categories to look for, such as `email` or `person`, in any case; None: all.
        allow: what is never personal, in any case: a value (`support@example.org`, `Ada Lovelace`), or a domain, which
            stands for its e-mail and web addresses and those of its subdomains.
        spacy_model: package of a spaCy model that gives a second opinion on people's names.
        weights: prefix of the files of the model of names.

    Raises:
        ConfigError: an unknown mode, way to redact or category, or a threshold outside of 0 to 1.
    """

    name = "pii"

    def __init__(
        self,
        *,
        action: Action = Action.REDACT,
        threshold: float = THRESHOLD,
        mode: Mode = "patterns",
        redact_as: RedactAs = "tag",
        entities: Sequence[str] | None = None,
        allow: Sequence[str] = (),
        spacy_model: str | None = None,
        weights: Path = WEIGHTS,
    ) -> None:
        self._action = action
        self._threshold = _checked(threshold)
        self._mode = _one_of("mode", mode, get_args(Mode))
        self.redact_as: RedactAs = _one_of("redact_as", redact_as, get_args(RedactAs))
        self._entities = None if entities is None else _known(entities)
        self._allow = frozenset(value.casefold() for value in allow)
        self._spacy_model = spacy_model
        self._weights = weights
        self._lock = threading.Lock()
        self._analyzer: Analyzer | None = None

    def warm_up(self) -> None:
        """Load what `full` needs now rather than at the first check."""
        if self._mode == "full":
            self._loaded()

    def check(self, text: str, context: Context = NO_CONTEXT) -> Verdict:
        """Find personal data.

        Raises:
            TimeoutError: the context's deadline has passed.
            ModelError: the model of names, or the spaCy model, can't be loaded.
        """
        finds = self.find(text, context)
        spans = tuple(Span(find.start, find.end, find.category) for find in finds)
        kinds = sorted({span.category.replace("_", " ") for span in spans})
        return Verdict(
            action=self._action if spans else Action.ALLOW,
            category="pii",
            score=max((find.score for find in finds), default=0.0),
            threshold=self._threshold,
            reason=f"It contains personal data ({', '.join(kinds)})." if spans else "No personal data found.",
            detector=f"pii-{self._mode}",
            version=VERSION,
            spans=replace_spans(text, spans, self.redact_as, context),
        )

    def find(self, text: str, context: Context = NO_CONTEXT) -> list[Find]:
        """The finds that count, with their scores; in order, not overlapping."""
        every = candidates(text, context) if self._mode == "patterns" else self._analyzed(text, context)
        return chosen((find for find in every if self._wanted(text, find)), self._threshold)

    def _wanted(self, text: str, find: Find) -> bool:
        if self._entities is not None and find.category not in self._entities:
            return False
        if not self._allow:
            return True
        value = text[find.start : find.end].casefold()
        return value not in self._allow and not (
            find.category in ("email", "url") and any(_is_within(host(value), domain) for domain in self._allow)
        )

    def _analyzed(self, text: str, context: Context) -> Iterator[Find]:
        analyzer = self._loaded()
        for offset, piece in windows(_SURROGATE.sub("\ufffd", text), _WINDOW, _OVERLAP, context):
            first = offset + _OVERLAP // 2 if offset else 0
            last = offset + len(piece) == len(text)
            stop = len(text) if last else offset + len(piece) - _OVERLAP // 2
            for find in analyzer.find(piece):
                # In what two windows share, the one that has more of the surroundings counts.
                if first <= offset + find.start < stop:
                    yield find._replace(start=offset + find.start, end=offset + find.end)

    def _loaded(self) -> "Analyzer":
        if self._analyzer is None:
            with self._lock:
                if self._analyzer is None:
                    # Imported here: seconds that a process without this mode should not pay.
                    from guards.detectors.pii_presidio import Analyzer

                    tagger = Tagger(self._weights)
                    tagger.warm_up()
                    self._analyzer = Analyzer(tagger, self._spacy_model)
        return self._analyzer


def _is_within(name: str, domain: str) -> bool:
    return "." in domain and (name == domain or name.endswith("." + domain.removeprefix("@")))


def _checked(threshold: float) -> float:
    if not 0.0 <= threshold <= 1.0:
        raise ConfigError(f"threshold = {threshold} is no confidence", "Write a figure from 0 to 1")
    return threshold


def _one_of(setting: str, given: _Name, known: Sequence[_Name]) -> _Name:
    if given not in known:
        raise ConfigError(f"{setting} = {given!r} is unknown", f"Write one of {', '.join(known)}")
    return given


def _known(entities: Sequence[str]) -> frozenset[str]:
    wanted = frozenset(entity.lower() for entity in entities)
    if unknown := sorted(wanted - CATEGORIES):
        raise ConfigError(f"entities = {unknown} are unknown", f"Write some of {', '.join(sorted(CATEGORIES))}")
    return wanted
