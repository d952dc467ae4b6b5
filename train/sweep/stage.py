"""`wellread train sweep`: trials on the current examples, and the model of the best one.

Only stages read the settings tree. Known limit: a figure of the evaluation, such as `answer_f1`, costs an evaluation
for each trial.
"""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.artifacts import Version, Workspace
from configs.errors import ConfigError
from configs.schema import Config
from train.launch import planned
from train.registry import Registry
from train.stage import make_model, run_of
from train.sweep.study import MODEL, Measured, Swept, best_of, check_space, search, sweep_id

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]
SWEEPS, PICTURE = "sweeps", "trials.png"


def run_sweep(config: Config, progress: Progress) -> tuple[Swept, Version]:
    """Search for hyperparameters; the best trial's model becomes the newest one, and is registered.

    Raises:
        ArtifactError: there are no examples yet, or the same sweep is under way.
        ConfigError: the space holds what the settings don't allow, or a cluster would train later.
        ModelError: no trial was completed.
    """
    workspace = Workspace(config.root)
    examples = workspace.current("examples")
    _check_launcher(config)
    check_space(config)
    name = sweep_id(config, examples.id)
    there_before = {version.id for version in workspace.versions("models")}
    with _parent_run(config, name, examples) as parent:
        swept = search(config, config.root / SWEEPS / name, _trial(config, progress, parent), progress)
        _remove_losers(workspace, swept, keep=there_before | {swept.best.user_attrs[MODEL] if swept.best else None})
        best = best_of(swept)
        _draw(swept, config.sweep.figure)
        workspace.publish("models", best.user_attrs[MODEL])
        version = workspace.version("models", best.user_attrs[MODEL])
        Registry(config.root).register(version)
        _record_best(config.root, parent, swept.folder, best)
    return swept, version


def _check_launcher(config: Config) -> None:
    folder, spec = run_of(config)
    if planned(spec, folder).submits:
        raise ConfigError(
            f"train.launcher = {config.train.launcher!r} hands jobs over and does not wait for them, as a sweep must",
            "Take another launcher, or start the sweep inside a job",
        )


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


@contextmanager
def _parent_run(config: Config, name: str, examples: Version) -> Iterator[str | None]:
    """Id of the sweep's MLflow run, which ends as the body does; None where MLflow fails."""
    from train.track import TrainingRun, about

    parent = None
    try:
        settings: dict[str, Any] = {"sweep": config.sweep.model_dump(mode="json")}
        parent = TrainingRun(config.root, f"sweep-{name}", settings, about({"examples": examples.id})).id
    # The search is worth more than its record.
    except Exception as error:  # noqa: BLE001
        log.warning("the sweep is not recorded in MLflow: %s", error)
    status = "FAILED"
    try:
        yield parent
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        if parent:
            _noted(lambda client: client.set_terminated(parent, status=status), config.root)


def _record_best(root: Path, parent: str | None, folder: Path, best: "FrozenTrial") -> None:
    if parent is None or best.value is None:
        return
    value = best.value

    def note(client: "MlflowClient") -> None:
        client.log_metric(parent, "best_value", value)
        for name, chosen in best.params.items():
            client.set_tag(parent, f"best.{name}", str(chosen))
        client.log_artifact(parent, str(folder / PICTURE))

    _noted(note, root)


def _noted(note: "Callable[[MlflowClient], None]", root: Path) -> None:
    from train.track import open_client

    try:
        note(open_client(root))
    # The best model is finished and registered whatever becomes of the record.
    except Exception as error:  # noqa: BLE001
        log.warning("the sweep is not recorded in MLflow: %s", error)
