"""Promotion: a model becomes the champion, if the gate has nothing against it."""

import logging
from collections.abc import Callable, Sequence

from configs.artifacts import Version, Workspace
from configs.errors import ArtifactError, GateRefused
from configs.schema import Config
from train.evaluation.gate import Check, Gate, Measured, failures, refuse
from train.evaluation.stage import rows_of
from train.registry import CHAMPION, Registered, Registry
from train.which import LATEST, find_model

log = logging.getLogger(__name__)


def run_promote(
    config: Config,
    which: str = LATEST,
    *,
    force: bool = False,
    note: str = "",
    judged: Callable[[Sequence[Check]], None] = lambda _checks: None,
) -> Registered:
    """Make a model the champion, if its evaluation is not worse than that of the champion (or of the base model).

    Args:
        note: why, as it is kept with the model.
        judged: told what the gate has checked, before anything is promoted or refused.

    Raises:
        GateRefused: it is worse, or has not been evaluated on the same examples; not with `force`, which is logged.
        ArtifactError: there is no such model.
    """
    candidate = find_model(config, which)
    if candidate is None:
        raise ArtifactError("the base model is not a trained one", "Promote a trained one: `wellread models`")
    registry = Registry(config.root)
    try:
        _pass_gate(config, candidate, registry.resolve(CHAMPION), judged)
    except GateRefused as refusal:
        if not force:
            raise
        forced = f"forced: {refusal.problem}"
        note = f"{forced} ({note})" if note else forced
        log.warning("%s: %s", candidate.id, forced)
    return registry.promote(candidate.id, note)


def _pass_gate(
    config: Config, candidate: Version, champion: Registered | None, judged: Callable[[Sequence[Check]], None]
) -> None:
    ours = _evaluations(config, candidate)
    theirs = _evaluations(config, champion.version if champion else None)
    against = champion.id if champion else "the base model"
    for measured in reversed(ours):
        for other in reversed(theirs):
            if _same_task(measured, other):
                checks = check_evaluations(config, measured, other)
                judged(checks)
                refuse(candidate.id, failures(checks))
                return
    raise GateRefused(
        f"model {candidate.id} and {against} have not been evaluated on the same examples",
        f"Run `wellread eval --model {candidate.id}` and `wellread eval --model reference`, or promote with --force",
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


def _same_task(one: Version, other: Version) -> bool:
    same_examples = one.manifest.inputs["examples"] == other.manifest.inputs["examples"]
    return same_examples and one.manifest.settings["evaluate"] == other.manifest.settings["evaluate"]
