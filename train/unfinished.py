"""Runs that were begun and are not finished: which folders count, and what is said about those of other settings.

In: the folders of a workspace's models. Out: an error, a warning, or nothing. A run has begun once it has steps or
checkpoints, or once a cluster has its job; a folder with only a spec, which a check refused, is no run.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.artifacts import Workspace
from configs.errors import ArtifactError, ModelError
from configs.schema import Config
from train.launchers import k8s, slurm
from train.settings import deciding
from train.spec import CHECKPOINTS, FIGURES, PROGRESS, SPEC, Spec

log = logging.getLogger(__name__)

# Written when a job is handed over, so the last two stand for it.
_TRACES = (PROGRESS, FIGURES, slurm.SCRIPT, k8s.FILE)


def begun(folder: Path) -> bool:
    """Whether the run in `folder` has got anywhere."""
    return any((folder / name).exists() for name in _TRACES) or any((folder / CHECKPOINTS).glob("*"))


@contextmanager
def nothing_left_of_refused(folder: Path) -> Iterator[None]:
    """Where the body fails and nothing was trained, `folder` is taken away."""
    try:
        yield
    except BaseException:
        if not begun(folder):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def check_unfinished(workspace: Workspace, key: str, config: Config) -> None:
    """Whether there is a run to resume; one that has finished since will do.

    Raises:
        ArtifactError: there is none with these settings; it says how they differ from those of one that there is.
    """
    home = workspace.root / "models"
    if begun(workspace.partial("models", key)) or (home / key / "manifest.json").exists():
        return
    hint = ""
    if others := _others(home):
        earlier = config.model_copy(update={"train": Spec.read(others[-1] / SPEC).train})
        then, now = deciding(earlier)["train"], deciding(config)["train"]
        names = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
        differ = ", ".join("rows per step" if name == "rows_per_step" else f"train.{name}" for name in names)
        hint = f"; the last one that is unfinished has other {differ or 'examples, or another model or seed'}"
    raise ArtifactError(
        f"no unfinished training with these settings in {workspace.root}{hint}",
        "Run `wellread train` without --resume to begin one",
    )


def warn_of_alike(folder: Path, spec: Spec) -> None:
    """Where the run in `folder` is about to begin: name the last unfinished one that has the same settings."""
    if begun(folder):
        return
    alike = [other for other in _others(folder.parent) if other != folder and _settings(other) == _plain(spec)]
    if alike:
        log.warning(
            "%s holds an unfinished training with the same settings; it is not continued, since its examples, files or "
            "code were others",
            alike[-1],
        )


def _others(home: Path) -> list[Path]:
    """The folders of unfinished runs, the newest last."""
    specs = sorted(home.glob(f".partial-*/{SPEC}"), key=lambda file: file.stat().st_mtime)
    return [file.parent for file in specs if begun(file.parent)]


def _plain(spec: Spec) -> Spec:
    """Without the paths that follow from the inputs."""
    return spec.model_copy(update={"examples": Path(), "start": None})


def _settings(folder: Path) -> Spec | None:
    try:
        return _plain(Spec.read(folder / SPEC))
    # Of an older release.
    except ModelError:
        return None
