"""The stage that trains: examples -> models, the adapter (or weights), its spec, its figures; recorded in MLflow.

Only stages read the settings tree; what they call takes plain values.
"""

import json
import logging
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.artifacts import Made, Version, Workspace, key_of
from configs.errors import ArtifactError, ModelError
from configs.schema import Config
from train.follow import followed
from train.launch import NewLines, launch
from train.launchers import CLUSTERS
from train.preflight.check import checked
from train.preflight.remaining import Remaining
from train.registry import Registry
from train.settings import deciding, training_settings
from train.spec import CHECKPOINTS, FIGURES, PROGRESS, SAMPLES, Spec, read_measured, read_progress
from train.unfinished import check_unfinished, nothing_left_of_refused, warn_of_alike
from train.which import find_model

# Imported where they are used: torch, transformers and datasets take ten seconds that finding that nothing has to run
# need not pay.
if TYPE_CHECKING:
    from train.chat import Encoded
    from train.model import LoadedModel

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]
Measured = Callable[[int, float], None]
EXAMPLES = "examples.parquet"
WEIGHTS = ("model", "adapter")


def run_train(config: Config, progress: Progress, *, resume: bool = False) -> Version:
    """Fine-tune the configured model on the current examples; continues a run that was killed.

    Args:
        resume: refuse to begin a new run.

    Raises:
        ArtifactError: there are no examples yet, no model as `train.start` names, or nothing to resume.
        ModelError: the model cannot be loaded or trained.
    """
    version = make_model(config, progress, resume=resume)
    Workspace(config.root).publish("models", version.id)
    Registry(config.root).register(version)
    _tell_who_trained(version, config)
    return version


def _tell_who_trained(version: Version, config: Config) -> None:
    """Where nothing had to be trained: who did it before, if that was not who is asked now."""
    before, now = version.manifest.settings.get("train", {}), config.train
    launcher, processes = before.get("launcher"), before.get("processes")
    if version.reused and launcher is not None and (launcher, processes) != (now.launcher, now.processes):
        named = f"{launcher} with {processes} {'process' if processes == 1 else 'processes'}"
        log.info("trained before, by %s; %s was not started", named, now.launcher)


def make_model(
    config: Config,
    progress: Progress,
    *,
    resume: bool = False,
    measured: Measured | None = None,
    parent: str | None = None,
) -> Version:
    """`run_train` without making the model the newest one.

    Args:
        measured: told each held-out loss that is measured on the way; what it raises ends the training.
        parent: id of the MLflow run that this one belongs to.
    """
    workspace = Workspace(config.root)
    examples = workspace.current("examples")
    start = _start(config)
    inputs, settings, recorded = _inputs(examples, start), deciding(config), training_settings(config)
    if resume:
        check_unfinished(workspace, key_of("models", inputs, settings), config)

    def make(folder: Path) -> Made:
        spec = _spec(examples, start, config)
        spec.write(folder)
        if not (folder / FIGURES).exists():
            progress("check", 0, None)
            # Before anything is recorded: what is refused here was no run.
            with nothing_left_of_refused(folder):
                checked(folder)
            warn_of_alike(folder, spec)
        if config.train.launcher in CLUSTERS and not (folder / FIGURES).exists():
            # Not followed from here; it is recorded when the job is over and this is run again.
            _by_the_cluster(folder, progress)
        with followed(
            config.root,
            folder.name.removeprefix(".partial-"),
            recorded,
            inputs,
            NewLines(folder / PROGRESS).read,
            parent,
        ):
            return _fill_model(folder, spec, start, _telling(progress, folder, measured) if measured else progress)

    version = workspace.build(
        "models", make, inputs=inputs, settings=settings, recorded=recorded, resumable=True, publish=False
    )
    progress("record", 0, None)
    _record(config.root, version, parent)
    return version


def _by_the_cluster(folder: Path, progress: Progress) -> None:
    """Have a cluster's job train.

    Raises:
        ArtifactError: the job is waiting or running.
    """
    if state := launch(folder, progress):
        raise ArtifactError(f"{state}; it trains in {folder}", "Run the same command again when the job is over")


def run_of(config: Config) -> tuple[Path, Spec]:
    """The folder in which `run_train` would train, and what the training processes would be told; writes nothing.

    Raises:
        ArtifactError: as `run_train`.
        ModelError: as `run_train`.
    """
    workspace = Workspace(config.root)
    examples, start = workspace.current("examples"), _start(config)
    key = key_of("models", _inputs(examples, start), deciding(config))
    return workspace.partial("models", key), _spec(examples, start, config)


def _inputs(examples: Version, start: Version | None) -> dict[str, str]:
    return {"examples": examples.id} | ({"models": start.id} if start else {})


def _start(config: Config) -> Version | None:
    """The trained model that training goes on from; None for the base model.

    Raises:
        ModelError: it was trained from another base model than is configured.
    """
    if not config.train.start:
        return None
    version = find_model(config, config.train.start)
    if version and version.manifest.settings["model"] != config.model.name:
        raise ModelError(
            f"train.start is {version.id}, which was trained from {version.manifest.settings['model']!r}, but "
            f"model.name is {config.model.name!r}",
            f"Set model.name to {version.manifest.settings['model']}, or train.start to another model",
        )
    return version


def _fill_model(folder: Path, spec: Spec, start: Version | None, progress: Progress) -> Made:
    # A run that was killed after training, while its figures were taken, is not trained again.
    if not (folder / FIGURES).exists():
        launch(folder, Remaining(folder, progress))
    counts: dict[str, int] = json.loads((folder / FIGURES).read_text())
    curve = read_progress(folder / PROGRESS)
    figures = _curve_figures(curve) | _holdout_loss(folder, spec, start, progress)
    if measured := [row["holdout_loss"] for row in read_measured(folder / PROGRESS)]:
        figures["holdout_loss_best"] = round(min(measured), 6)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return Made(counts={"steps": len(curve), **counts}, figures=figures)


def _spec(examples: Version, start: Version | None, config: Config) -> Spec:
    weights = next((start.path / name for name in WEIGHTS if (start.path / name).is_dir()), None) if start else None
    return Spec(
        examples=(examples.path / EXAMPLES).resolve(),
        model=config.model,
        train=config.train,
        start=weights.resolve() if weights else None,
        seed=config.seed,
    )


def _curve_figures(curve: list[dict[str, Any]]) -> dict[str, float]:
    losses = [row["loss"] for row in curve if math.isfinite(row["loss"])] or [math.nan]
    seconds = sum(row["seconds"] for row in curve)
    return {
        "loss_first": losses[0],
        "loss_last": losses[-1],
        "tokens_per_second": round(sum(row["tokens"] for row in curve) / seconds, 2),
        "training_seconds": round(seconds, 2),
    }


def _holdout_loss(folder: Path, spec: Spec, start: Version | None, progress: Progress) -> dict[str, float]:
    """Loss of a few held-out answers before and after; empty, with the reason in the log, when none fit."""
    from train.model import load_model, load_trained
    from train.rows import example_rows

    progress("held-out loss", 0, 2)
    device, dtype = spec.model.device, spec.model.dtype
    trained = load_trained(folder, device, dtype)
    limit = min(spec.train.max_tokens, spec.model.max_context, trained.max_context)
    most = spec.train.watch.eval_examples
    try:
        found = example_rows(spec.examples, trained, limit, spec.model.spotlight, split="holdout", most=most)
    except ModelError as error:
        log.warning("the held-out loss is left out: %s", error.problem)
        return {}
    rows = [row.encoded for row in found.rows]
    after = _loss(trained, rows)
    progress("held-out loss", 1, 2)
    model: Any = trained.model
    if start:
        before = _loss(load_trained(start.path, device, dtype), rows)
    elif hasattr(model, "disable_adapter"):
        with model.disable_adapter():
            before = _loss(trained, rows)
    else:
        before = _loss(load_model(spec.model.name, device, dtype), rows)
    progress("held-out loss", 2, 2)
    return {"holdout_loss_before": before, "holdout_loss_after": after}


def _loss(loaded: "LoadedModel", rows: "list[Encoded]") -> float:
    from train.evaluation.answers import answer_loss

    return round(answer_loss(loaded, rows, 2), 6)


def _telling(progress: Progress, folder: Path, measured: Measured) -> Progress:
    """Progress that tells of each held-out loss once."""
    lines, told = NewLines(folder / PROGRESS), set[int]()

    def tell(what: str, done: int, total: int | None) -> None:
        progress(what, done, total)
        for row in lines.read():
            if "holdout_loss" in row and int(row["step"]) not in told:
                told.add(int(row["step"]))
                measured(int(row["step"]), float(row["holdout_loss"]))

    return tell


def _record(root: Path, version: Version, parent: str | None) -> None:
    # Imported here: six seconds that evaluating and promoting need not pay.
    from train.plots import CURVES, draw_curves
    from train.track import track_training

    try:
        curve, measured = read_progress(version.path / PROGRESS), read_measured(version.path / PROGRESS)
        plot = version.path / CURVES
        draw_curves(curve, measured, plot)
        track_training(root, version, [*curve, *measured], [plot, *version.path.glob(SAMPLES)], parent)
    # The model is finished and usable whatever becomes of its record.
    except Exception as error:  # noqa: BLE001
        log.warning("the run was not recorded in MLflow: %s", error)
