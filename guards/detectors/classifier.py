"""Guards by models of the user's choice: a Hugging Face sequence classifier, or the toxicity measurement of `evaluate`.

Text in, the probability of the unwanted labels out, the highest over windows of a long text.

Known limits: both cost tens of milliseconds a text, since they run in PyTorch. Nothing is fetched unless `download` is
set. A classifier is data only (safetensors, no remote code); a measurement is a Python script that runs with this
process's rights, so load one from the hub only if you trust who wrote it.
"""

import threading
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from configs.errors import ConfigError, ModelError
from guards.base import NO_CONTEXT, Action, Context, Span, Verdict
from guards.encoder import well_formed
from guards.spans import windows, without_overlaps

# Three characters or more to a token of English: most windows fit 512 tokens, and what does not is cut.
WINDOW, OVERLAP = 1500, 150
HARMLESS = frozenset("neutral nontoxic nottoxic nothate nonhate noabuse safe benign normal clean ok none other".split())

Scorer = Callable[[str], float]


class ClassifierGuard:
    """Answers with `action` when the probability of the unwanted labels reaches the threshold.

    Args:
        model: hub name or local folder of a sequence classifier with safetensors weights.
        labels: names of the unwanted labels; None: all but those with a harmless name, such as `neutral` or `safe`.
        category: the category of the verdict.
        download: whether a named model may be fetched from the hub; otherwise it has to be on disk.

    Raises:
        ModelError: at the first check, if the model cannot be had.
        ConfigError: at the first check, if the model has no such label, or none is harmless by name.
    """

    name = "classifier"

    def __init__(
        self,
        *,
        model: str,
        action: Action = Action.BLOCK,
        threshold: float = 0.5,
        labels: Sequence[str] | None = None,
        category: str = "toxicity",
        download: bool = False,
    ) -> None:
        self._verdict = _Windowed(action, threshold, category, model)
        self._lazy = _Lazy(lambda: _load_classifier(model, labels, download=download))

    def warm_up(self) -> None:
        """Load the model now rather than at the first check."""
        self._lazy.get()

    def check(self, text: str, context: Context = NO_CONTEXT) -> Verdict:
        return self._verdict.check(text, context, self._lazy.get(), metadata.version("transformers"))


class MeasurementGuard:
    """Answers with `action` when the `evaluate` measurement gives a score that reaches the threshold.

    Args:
        module: `toxicity` for the one on the hub, or the path of a measurement script with the same interface.
        model: the classifier that the measurement uses, a hub name or local folder; None: the script's own default.
        toxic_label: the label of that classifier whose probability counts; None: the script's own default.
        download: whether script and model may be fetched from the hub; otherwise they have to be on disk.

    Raises:
        ModelError: at the first check, if the script or its model cannot be loaded.
    """

    name = "measurement"

    def __init__(
        self,
        *,
        module: str = "toxicity",
        model: str | None = None,
        action: Action = Action.BLOCK,
        threshold: float = 0.5,
        toxic_label: str | None = None,
        download: bool = False,
    ) -> None:
        self._verdict = _Windowed(action, threshold, "toxicity", f"evaluate:{Path(module).stem}")
        self._lazy = _Lazy(lambda: _load_measurement(module, model, toxic_label, download=download))

    def warm_up(self) -> None:
        """Load script and model now rather than at the first check."""
        self._lazy.get()

    def check(self, text: str, context: Context = NO_CONTEXT) -> Verdict:
        return self._verdict.check(text, context, self._lazy.get(), metadata.version("evaluate"))


class _Lazy:
    """A scorer that is made once, at its first use; one that could not be made is tried again the next time."""

    def __init__(self, make: Callable[[], Scorer]) -> None:
        self._make = make
        self._scorer: Scorer | None = None
        self._lock = threading.Lock()

    def get(self) -> Scorer:
        with self._lock:
            if self._scorer is None:
                self._scorer = self._make()
            return self._scorer


class _Windowed:
    """The verdict over the windows of a text."""

    def __init__(self, action: Action, threshold: float, category: str, detector: str) -> None:
        self._action = action
        self._threshold = threshold
        self._category = category
        self._detector = detector

    def check(self, text: str, context: Context, score: Scorer, version: str) -> Verdict:
        best, spans = 0.0, []
        for start, window in windows(well_formed(text), WINDOW, OVERLAP, context):
            found = score(window)
            best = max(best, found)
            if found >= self._threshold and window:
                spans.append(Span(start, start + len(window), self._category))
        hit = best >= self._threshold
        return Verdict(
            action=self._action if hit else Action.ALLOW,
            category=self._category,
            score=best,
            threshold=self._threshold,
            reason=f"It was classified as {self._category}." if hit else "Nothing found.",
            detector=self._detector,
            version=version,
            spans=without_overlaps(spans),
        )


def _load_classifier(model: str, labels: Sequence[str] | None, *, download: bool) -> Scorer:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    offline = Path(model).is_dir() or not download
    options: dict[str, Any] = {"local_files_only": offline, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, **options)
        network = AutoModelForSequenceClassification.from_pretrained(model, use_safetensors=True, **options).eval()
    except Exception as error:
        # The library raises everything from OSError to KeyError for an unusable model; all mean the same to the user.
        raise _unusable("classifier", model, error) from error
    names = {int(place): str(name) for place, name in network.config.id2label.items()}
    wanted = _unwanted(names, labels, model)
    longest = min(int(tokenizer.model_max_length), int(getattr(network.config, "max_position_embeddings", 512)), 512)
    several = network.config.problem_type == "multi_label_classification" or len(names) == 1

    def score(text: str) -> float:
        inputs = tokenizer(text, truncation=True, max_length=longest, return_tensors="pt")
        if not inputs["input_ids"].numel():
            return 0.0
        with torch.inference_mode():
            logits = network(**inputs).logits[0].float()
        if several:
            return float(logits.sigmoid()[wanted].max())
        return min(1.0, float(logits.softmax(-1)[wanted].sum()))

    return score


def _unwanted(names: dict[int, str], labels: Sequence[str] | None, model: str) -> list[int]:
    if labels is not None:
        unknown = sorted(set(labels) - set(names.values()))
        if unknown or not labels:
            raise ConfigError(f"{model} has no label {unknown}", f"It has {sorted(names.values())}")
        return [place for place, name in names.items() if name in labels]
    bad = [place for place, name in names.items() if "".join(filter(str.isalnum, name.lower())) not in HARMLESS]
    if not bad or (len(bad) == len(names) > 1):
        raise ConfigError(
            f"the labels of {model} do not tell which are unwanted: {sorted(names.values())}", "Name them in `labels`"
        )
    return bad


def _load_measurement(module: str, model: str | None, toxic_label: str | None, *, download: bool) -> Scorer:
    if not download and not Path(module).exists():
        raise ModelError(f"there is no measurement script {module}", "Give the path of one, or set download")
    import evaluate

    try:
        measure = evaluate.load(module, model or "default", module_type="measurement", keep_in_memory=True)
    except Exception as error:
        # As above: the libraries below raise everything, and all of it means that there is no measurement.
        raise _unusable("measurement", module, error) from error
    options = {} if toxic_label is None else {"toxic_label": toxic_label}
    # A measurement collects its inputs in its own state between add and compute.
    lock = threading.Lock()

    def score(text: str) -> float:
        with lock:
            return float(measure.compute(predictions=[text], **options)["toxicity"][0])

    return score


def _unusable(kind: str, name: str, error: Exception) -> ModelError:
    first = (str(error).strip().splitlines() or [""])[0][:200]
    return ModelError(
        f"cannot load the {kind} {name!r}: {type(error).__name__}: {first}",
        "Give a local folder with safetensors weights, or set download where the hub can be reached",
    )
