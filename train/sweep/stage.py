"""`wellread train sweep`: trials on the current examples, and the model of the best one.

Only stages read the settings tree. Known limit: a figure of the evaluation, such as `answer_f1`, costs an evaluation
for each trial.
"""

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from configs.artifacts import Version, Workspace
from configs.schema import Config
from train.registry import Registry
from train.stage import make_model
from train.sweep.study import MODEL, Measured, Swept, search, sweep_id

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]
SWEEPS, PICTURE = "sweeps", "trials.png"


def run_sweep(config: Config, progress: Progress) -> tuple[Swept, Version | None]:
    """Search for hyperparameters; the best trial's model becomes the newest one, and is registered.

    Raises:
        ArtifactError: there are no examples yet, or the same sweep is under way.
        ConfigError: the space holds what the settings don't allow.
        ModelError: no trial was completed.
    """
    workspace = Workspace(config.root)
    examples = workspace.current("examples")
    name = sweep_id(config, examples.id)
    folder = config.root / SWEEPS / name
    there_before = {version.id for version in workspace.versions("models")}
    parent = _parent_run(config, name, examples)
    swept = search(config, folder, _trial(config, progress, parent), progress)
    _draw(swept, config.sweep.figure)
    best = swept.best.user_attrs[MODEL] if swept.best else None
    _remove_losers(workspace, swept, keep=there_before | {best})
    if best is None:
        return swept, None
    workspace.publish("models", best)
    Registry(config.root).register(workspace.version("models", best))
    _close_parent(config.root, parent, swept)
    return swept, workspace.version("models", best)


def _trial(
    config: Config, progress: Progress, parent: str | None
) -> Callable[[Config, Measured], tuple[str, Mapping[str, float]]]:
    def train(settings: Config, measured: Measured) -> tuple[str, Mapping[str, float]]:
        version = make_model(settings, progress, measured=measured, parent=parent)
        figures = version.manifest.figures
        if config.sweep.figure not in figures:
            from train.evaluation.stage import run_eval

            figures = {**figures, **run_eval(settings, version.id, progress).manifest.figures}
        return version.id, figures

    return train


def _remove_losers(workspace: Workspace, swept: Swept, keep: set[Any]) -> None:
    for trial in swept.trials:
        model = trial.user_attrs.get(MODEL)
        if model and model not in keep:
            shutil.rmtree(workspace.root / "models" / model, ignore_errors=True)


def _draw(swept: Swept, figure: str) -> None:
    # Imported here: a second that a sweep which has nothing to do need not pay.
    from train.plots import draw_trials

    points = [(trial.number, trial.value) for trial in swept.trials if trial.value is not None]
    if points and swept.best:
        draw_trials(points, swept.best.number, figure, swept.folder / PICTURE)


def _parent_run(config: Config, name: str, examples: Version) -> str | None:
    from train.track import TrainingRun, about

    try:
        settings: dict[str, Any] = {"sweep": config.sweep.model_dump(mode="json")}
        return TrainingRun(config.root, f"sweep-{name}", settings, about({"examples": examples.id})).id
    # The search is worth more than its record.
    except Exception as error:  # noqa: BLE001
        log.warning("the sweep is not recorded in MLflow: %s", error)
        return None


def _close_parent(root: Path, parent: str | None, swept: Swept) -> None:
    if parent is None or swept.best is None or swept.best.value is None:
        return
    from train.track import open_client

    client = open_client(root)
    client.log_metric(parent, "best_value", swept.best.value)
    for name, value in swept.best.params.items():
        client.set_tag(parent, f"best.{name}", str(value))
    client.log_artifact(parent, str(swept.folder / PICTURE))
    client.set_terminated(parent, status="FINISHED")
