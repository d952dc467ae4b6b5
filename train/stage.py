"""The stage that trains: examples -> models, the adapter (or weights), its spec, its figures; recorded in MLflow.

Only stages read the settings tree; what they call takes plain values.
"""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.artifacts import Made, Version, Workspace
from configs.schema import Config
from train.launch import launch
from train.registry import Registry
from train.settings import model_settings
from train.spec import CHECKPOINTS, FIGURES, PROGRESS, Spec, read_progress

# Imported where they are used: torch, transformers and datasets take ten seconds that finding that nothing has to run
# need not pay.
if TYPE_CHECKING:
    from train.chat import Encoded
    from train.model import LoadedModel

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]
EXAMPLES = "examples.parquet"
# Held-out loss is measured before and after training on this many examples: seconds on a CPU, enough to see a trend.
HOLDOUT_SAMPLE = 8


def run_train(config: Config, progress: Progress) -> Version:
    """Fine-tune the configured model on the current examples; continues a run that was killed.

    Raises:
        ArtifactError: there are no examples yet.
        ModelError: the model cannot be loaded or trained.
    """
    workspace = Workspace(config.root)
    examples = workspace.current("examples")
    version = workspace.build(
        "models",
        lambda folder: _fill_model(folder, examples, config, progress),
        inputs={"examples": examples.id},
        settings=model_settings(config) | {"train": config.train.model_dump(mode="json"), "seed": config.seed},
        resumable=True,
    )
    progress("record", 0, None)
    _record(config.root, version)
    Registry(config.root).register(version)
    return version


def _fill_model(folder: Path, examples: Version, config: Config, progress: Progress) -> Made:
    Spec(examples=(examples.path / EXAMPLES).resolve(), model=config.model, train=config.train, seed=config.seed).write(
        folder
    )
    # A run that was killed after training, while its figures were taken, is not trained again.
    if not (folder / FIGURES).exists():
        launch(folder, progress)
    curve = read_progress(folder / PROGRESS)
    counts: dict[str, int] = json.loads((folder / FIGURES).read_text())
    figures = {
        "loss_first": curve[0]["loss"],
        "loss_last": curve[-1]["loss"],
        "tokens_per_second": round(sum(row["tokens"] for row in curve) / sum(row["seconds"] for row in curve), 2),
        "training_seconds": round(sum(row["seconds"] for row in curve), 2),
        **_holdout_loss(folder, examples, config, progress),
    }
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return Made(counts={"steps": len(curve), **counts}, figures=figures)


def _holdout_loss(folder: Path, examples: Version, config: Config, progress: Progress) -> dict[str, float]:
    """Loss on a few held-out examples before and after; empty when there are none that fit."""
    from train.evaluation.stage import held_out_rows
    from train.model import load_model, load_trained

    progress("held-out loss", 0, 2)
    trained = load_trained(folder, config.model.device, config.model.dtype)
    limit = min(config.train.max_tokens, trained.max_context)
    held_out, _ = held_out_rows(examples, trained, limit, HOLDOUT_SAMPLE, config.model.spotlight)
    if not held_out:
        return {}
    rows = [encoded for _, encoded in held_out]
    after = _loss(trained, rows)
    progress("held-out loss", 1, 2)
    model: Any = trained.model
    if hasattr(model, "disable_adapter"):
        with model.disable_adapter():
            before = _loss(trained, rows)
    else:
        before = _loss(load_model(config.model.name, config.model.device, config.model.dtype), rows)
    progress("held-out loss", 2, 2)
    return {"holdout_loss_before": before, "holdout_loss_after": after}


def _loss(loaded: "LoadedModel", rows: "list[Encoded]") -> float:
    from train.evaluation.answers import answer_loss

    return round(answer_loss(loaded, rows, 2), 6)


def _record(root: Path, version: Version) -> None:
    # Imported here: six seconds that evaluating and promoting need not pay.
    from train.track import track_training

    try:
        track_training(root, version, read_progress(version.path / PROGRESS))
    # The model is finished and usable whatever becomes of its record.
    except Exception as error:  # noqa: BLE001
        log.warning("the run was not recorded in MLflow: %s", error)
