"""Models side by side: figures with their intervals, paired differences, slices; and the report of all that.

In: names of models, which are measured first where they are not yet. Out: a `Comparison`, and a folder with
`report.md`, `report.html` and the plots. Everything is worked out from the rows of the evaluations.

Known limit: models are compared over the questions that both were asked; one whose context is shorter may lack some.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from configs.artifacts import Version
from configs.errors import ArtifactError
from configs.schema import Config
from ingest.records import Progress
from ingest.relevance.metrics import Difference
from train.evaluation.figures import Estimate, differences, estimates_of
from train.evaluation.gate import Check
from train.evaluation.jsonl import Rows
from train.evaluation.slices import Slice, slices_of
from train.evaluation.stage import rows_of, run_eval
from train.promotion import check_evaluations
from train.registry import CHAMPION, Registry
from train.which import BASE, LATEST, find_model

REPORTS = "reports"


@dataclass(frozen=True)
class Compared:
    """One model of a comparison.

    Attributes:
        name: by which it was asked for; several, where they stand for the same evaluation.
        model: id of its version; empty for the base model.
        evaluation: id of its evaluation.
        rows: by set.
    """

    name: str
    model: str
    evaluation: str
    figures: Mapping[str, Estimate]
    rows: Mapping[str, Rows]


@dataclass(frozen=True)
class Gain:
    """What a model has over another: paired differences by figure, and what the gate says.

    Attributes:
        ours, theirs: names of the two.
    """

    ours: str
    theirs: str
    differences: Mapping[str, Difference]
    checks: Sequence[Check]


@dataclass(frozen=True)
class Comparison:
    """Models side by side.

    Attributes:
        models: those that the others are compared with first.
        confidence: width of all intervals.
    """

    models: Sequence[Compared]
    gains: Sequence[Gain]
    slices: Sequence[Slice]
    examples: str
    confidence: float

    def as_json(self) -> dict[str, Any]:
        """All of it but the rows."""
        models = [
            {
                "name": one.name,
                "model": one.model,
                "evaluation": one.evaluation,
                "figures": {name: asdict(figure) for name, figure in one.figures.items()},
            }
            for one in self.models
        ]
        slices = [{**asdict(one), "small": one.small} for one in self.slices]
        gains = [
            {
                "model": one.ours,
                "against": one.theirs,
                "differences": {name: asdict(apart) for name, apart in one.differences.items()},
                "gate": [asdict(check) for check in one.checks],
            }
            for one in self.gains
        ]
        return {
            "examples": self.examples,
            "confidence": self.confidence,
            "models": models,
            "gains": gains,
            "slices": slices,
        }


def run_comparison(
    config: Config, names: Sequence[str], against: Sequence[str], progress: Progress
) -> tuple[Comparison, Path]:
    """Measure models, compare them, and write the report. Returns the comparison and the report's folder.

    Args:
        names: models, as `run_eval` takes them; none means `latest`.
        against: models that these are compared with; none means the base model, and the champion where there is one.

    Raises:
        ArtifactError: there are no held-out examples, or no such model.
        ModelError: a model cannot be loaded.
    """
    from train.evaluation.report import write_report

    asked = list(names) or [LATEST]
    others = list(against) or _standard(config)
    # A name that stands for nothing is told before minutes of answering.
    for name in (*others, *asked):
        find_model(config, name)
    found = {name: run_eval(config, name, _named(name, progress)) for name in dict.fromkeys((*others, *asked))}
    comparison = compare(config, found, asked, others)
    digest = hashlib.sha256(repr((comparison.as_json(),)).encode()).hexdigest()[:12]
    folder = config.root / REPORTS / f"models-{digest}"
    write_report(folder, comparison)
    return comparison, folder


def compare(
    config: Config, evaluations: Mapping[str, Version], names: Sequence[str], against: Sequence[str]
) -> Comparison:
    """Evaluations side by side.

    Args:
        evaluations: by the name of the model.
        names: of the models that are compared.
        against: of those that they are compared with.

    Raises:
        ArtifactError: they are of different examples.
    """
    tasks = {version.manifest.inputs["examples"] for version in evaluations.values()}
    if len(tasks) > 1:
        raise ArtifactError("the models were measured on different examples", "Run `wellread eval model` again")
    settings = config.evaluate
    # Two names may stand for one evaluation.
    called: dict[str, list[str]] = {}
    for name, version in evaluations.items():
        called.setdefault(version.id, []).append(name)
    by_id = {version.id: version for version in evaluations.values()}
    models = {key: _compared(config, " = ".join(called[key]), version) for key, version in by_id.items()}
    pairs = dict.fromkeys((evaluations[ours].id, evaluations[theirs].id) for ours in names for theirs in against)
    gains = [
        Gain(
            models[ours].name,
            models[theirs].name,
            differences(_flat(models[ours]), _flat(models[theirs]), settings.confidence, settings.resamples),
            check_evaluations(config, by_id[ours], by_id[theirs]),
        )
        for ours, theirs in pairs
        if ours != theirs
    ]
    slices = slices_of({one.name: one.rows for one in models.values()})
    return Comparison(list(models.values()), gains, slices, tasks.pop(), settings.confidence)


def _named(name: str, progress: Progress) -> Progress:
    return lambda what, done, total: progress(f"{name}: {what}", done, total)


def _standard(config: Config) -> list[str]:
    return [BASE, *([CHAMPION] if Registry(config.root).resolve(CHAMPION) else [])]


def _compared(config: Config, name: str, version: Version) -> Compared:
    rows = rows_of(version)
    every = [row for of in rows.values() for row in of]
    figures = estimates_of(every, config.evaluate.confidence, config.evaluate.resamples)
    return Compared(name, version.manifest.inputs.get("models", ""), version.id, figures, rows)


def _flat(one: Compared) -> list[Mapping[str, Any]]:
    return [row for rows in one.rows.values() for row in rows]
