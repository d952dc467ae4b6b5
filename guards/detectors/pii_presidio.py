"""Microsoft's Presidio around our recognisers: it runs them beside some of its own, and weighs words that stand nearby.

In: a text of some thousand characters. Out: `Find`s. What it is given: the patterns (`pii_patterns`, `pii_forms`), the
model of names (`pii_model`), those of Presidio's recognisers that check a checksum of a number which ours don't know,
and, where asked for, the names that a spaCy model finds, as a second opinion on people.

Nothing here opens a connection: Presidio's recognisers of e-mail and web addresses, which would fetch the list of
public suffixes, are left out, and a spaCy model is loaded from its package or not at all. Nothing is logged of the
text: the trace of decisions stays off.

Known limits: English. Importing Presidio takes seconds and brings torch along, so it happens at the first check.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import spacy
from presidio_analyzer import AnalyzerEngine, EntityRecognizer, RecognizerRegistry, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts, SpacyNlpEngine
from presidio_analyzer.predefined_recognizers import (
    InGstinRecognizer,
    KrRrnRecognizer,
    MedicalLicenseRecognizer,
    SgFinRecognizer,
    ThTninRecognizer,
    UsMbiRecognizer,
)
from spacy.language import Language
from spacy.tokens import Doc

from configs.errors import ModelError
from guards.detectors.pii_forms import loose
from guards.detectors.pii_model import Tagger
from guards.detectors.pii_names import found_names
from guards.detectors.pii_patterns import Find, candidates

THEIRS = (
    InGstinRecognizer,
    KrRrnRecognizer,
    MedicalLicenseRecognizer,
    SgFinRecognizer,
    ThTninRecognizer,
    UsMbiRecognizer,
)
# Only these parts of a spaCy model are needed; the others take most of its time.
_PARTS = ("tok2vec", "ner")


class _Spacy(SpacyNlpEngine):
    """Presidio's spaCy engine over a pipeline that is already there: it never downloads, and never takes the GPU."""

    def __init__(self, pipeline: Language) -> None:
        super().__init__(models=[{"lang_code": "en", "model_name": "given"}])
        # Presidio declares it as None and sets it on loading.
        self.nlp = {"en": pipeline}  # type: ignore[assignment]


class _Forms(EntityRecognizer):
    """Our patterns."""

    def __init__(self) -> None:
        super().__init__(supported_entities=["PII"], name="forms")

    def load(self) -> None:
        pass

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts) -> list[RecognizerResult]:  # noqa: ARG002
        return [_result(find) for find in (*candidates(text), *loose(text))]


class _Names(EntityRecognizer):
    """Our model, with spaCy's opinion on people where there is one."""

    def __init__(self, tagger: Tagger, *, seconded: bool) -> None:
        super().__init__(supported_entities=["PII"], name="names")
        self._tagger = tagger
        self._seconded = seconded

    def load(self) -> None:
        pass

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts) -> list[RecognizerResult]:  # noqa: ARG002
        people: set[int] | None = None
        if self._seconded:
            ents = (ent for ent in nlp_artifacts.entities if ent.label_ == "PERSON")
            people = {place for ent in ents for place in range(ent.start_char, ent.end_char)}
        return [_result(find) for find in found_names(text, self._tagger.words(text), self._tagger.labels, people)]


def _result(find: Find) -> RecognizerResult:
    return RecognizerResult(find.category, find.start, find.end, find.score)


class Analyzer:
    """Presidio with our recognisers; build it once, use it from several threads.

    Args:
        tagger: the model of names.
        spacy_model: package of a spaCy model for a second opinion on people; None: none.

    Raises:
        ModelError: the package is not installed or is no spaCy model.
    """

    def __init__(self, tagger: Tagger, spacy_model: str | None = None) -> None:
        pipeline = spacy.blank("en") if spacy_model is None else _load(spacy_model)
        pipeline.add_pipe("wellread_lower")
        ours = [_Forms(), _Names(tagger, seconded=spacy_model is not None)]
        theirs = [kind(supported_language="en") for kind in THEIRS]
        registry = RecognizerRegistry(recognizers=[*ours, *theirs], supported_languages=["en"])
        self._engine = AnalyzerEngine(registry=registry, nlp_engine=_Spacy(pipeline), supported_languages=["en"])

    def find(self, text: str) -> Iterator[Find]:
        """What was found, overlaps included; offsets refer to `text`, which must have no lone surrogates."""
        for result in self._engine.analyze(text, language="en"):
            yield Find(result.start, result.end, result.entity_type.lower(), result.score)


@Language.component("wellread_lower")
def _lower(doc: Doc) -> Doc:
    # Presidio compares lemmas with the words that it expects nearby; a pipeline without a lemmatiser has none.
    for token in doc:
        token.lemma_ = token.lower_
    return doc


def _load(package: str) -> Language:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModelError(f"the spaCy model {package} is not installed", "Install its package, or name another")
    folder = Path(spec.origin).parent
    # The package's own folder holds a version's folder, or, in one that was repackaged, `_model`.
    configs = [*folder.glob("config.cfg"), *folder.glob("*/config.cfg")]
    try:
        loaded = spacy.load(configs[0].parent)
    except (OSError, ValueError, IndexError) as error:
        raise ModelError(f"{package} is no spaCy model", "Name a package that holds one") from error
    for part in [name for name in loaded.pipe_names if name not in _PARTS]:
        loaded.remove_pipe(part)
    return loaded
