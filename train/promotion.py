"""Promotion: a model becomes the champion, if the gate has nothing against it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from configs.artifacts import Version, Workspace
from configs.errors import ArtifactError, GateRefused
from configs.schema import Config
from train.evaluation.gate import Check, Gate, Measured, failures, refuse
from train.evaluation.stage import rows_of
from train.registry import CHAMPION, Registered, Registry
from train.settings import evaluation_settings, model_settings
from train.which import LATEST, find_model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """What the gate has checked.

    Attributes:
        examples: held-out examples that were answered; None where the evaluation does not say.
        ours, theirs: ids of the two evaluations.
    """

    checks: Sequence[Check]
    examples: int | None
    ours: str
    theirs: str

    def __str__(self) -> str:
        number = "an unknown number of" if self.examples is None else f"{self.examples:,}"
        return f"{number} example{'' if self.examples == 1 else 's'}, evaluations {self.ours} and {self.theirs}"


def run_promote(
    config: Config,
    which: str = LATEST,
    *,
    force: bool = False,
    note: str = "",
    judged: Callable[[Judged], None] = lambda _judged: None,
) -> Registered:
    """Make a model the champion, if its evaluation is not worse than that of the champion (or of the base model).

    The champion itself stays what it is: nothing is checked or written.

    Args:
        note: why, as it is kept with the model.
        judged: told what the gate has checked, before anything is promoted or refused.

    Raises:
        GateRefused: it is worse, or has not been evaluated on the same examples with the settings in force; not with
            `force`, which is logged.
        ArtifactError: there is no such model.
    """
    candidate = find_model(config, which)
    if candidate is None:
        raise ArtifactError("the base model is not a trained one", "Promote a trained one: `wellread models`")
    registry = Registry(config.root)
    champion = registry.resolve(CHAMPION)
    if champion and champion.id == candidate.id:
        return champion
    try:
        _pass_gate(config, candidate, champion, judged)
    except GateRefused as refusal:
        if not force:
            raise
        forced = f"forced: {refusal.problem}"
        note = f"{forced} ({note})" if note else forced
        log.warning("%s: %s", candidate.id, forced)
    return registry.promote(candidate.id, note)


def _pass_gate(
    config: Config, candidate: Version, champion: Registered | None, judged: Callable[[Judged], None]
) -> None:
    ours = _evaluations(config, candidate)
    theirs = _evaluations(config, champion.version if champion else None)
    wanted = _task(model_settings(config) | {"evaluate": evaluation_settings(config)})
    for measured in reversed(ours):
        for other in reversed(theirs):
            if _same_examples(measured, other) and all(_task_of(one) == wanted for one in (measured, other)):
                checks = check_evaluations(config, measured, other)
                verdict = Judged(checks, measured.manifest.counts.get("examples"), measured.id, other.id)
                judged(verdict)
                refuse(candidate.id, failures(checks), str(verdict))
                return
    against = champion.id if champion else "the base model"
    raise GateRefused(
        f"model {candidate.id} and {against} have not been evaluated on the same examples with the settings in force"
        + (_other_settings(wanted, ours) or _other_settings(wanted, theirs)),
        f"Run `wellread eval --model {candidate.id}` and `wellread eval --model reference` with these settings, or "
        "promote with --force",
    )


def check_evaluations(config: Config, ours: Version, theirs: Version) -> list[Check]:
    """What the configured gate says of one evaluation beside another.

    Raises:
        ArtifactError: their rows are damaged.
    """
    settings = config.evaluate
    gate = Gate(settings.gate, settings.confidence, settings.resamples)
    return gate.check(*(_measured(version, with_rows=gate.needs_rows) for version in (ours, theirs)))


def _measured(evaluation: Version, *, with_rows: bool) -> Measured:
    rows = [row for rows in rows_of(evaluation).values() for row in rows] if with_rows else []
    return Measured(evaluation.manifest.figures, rows)


def _evaluations(config: Config, model: Version | None) -> list[Version]:
    """Evaluations of a model (None: of the base that is configured), oldest first."""
    wanted = model.id if model else None
    return [
        found
        for found in Workspace(config.root).versions("evaluations")
        if found.manifest.inputs.get("models") == wanted
        and (model or found.manifest.settings.get("model") == config.model.name)
    ]


def _same_examples(one: Version, other: Version) -> bool:
    return one.manifest.inputs["examples"] == other.manifest.inputs["examples"]


def _task_of(evaluation: Version) -> dict[str, Any]:
    return _task(evaluation.manifest.settings)


def _task(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What decides an evaluation's figures beside the examples and the model, by the names of the settings."""
    others = {f"model.{name}": value for name, value in settings.items() if name not in ("model", "evaluate")}
    return others | {f"evaluate.{name}": value for name, value in settings.get("evaluate", {}).items()}


def _other_settings(wanted: Mapping[str, Any], evaluations: Sequence[Version]) -> str:
    """The setting in which a model's newest evaluation is not as those in force; empty where some evaluation is."""
    if not evaluations or any(_task_of(one) == wanted for one in evaluations):
        return ""
    task = _task_of(evaluations[-1])
    name = next((one for one in wanted if task.get(one) != wanted[one]), "")
    return f" (evaluation {evaluations[-1].id} has {name} {_shown(task.get(name))}, not {_shown(wanted[name])})"


def _shown(value: Any) -> str:
    # Sets of prompts: how many, and a hash of the file.
    return " of ".join(str(one) for one in value) if isinstance(value, list) else str(value)
