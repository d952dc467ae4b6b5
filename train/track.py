"""MLflow, on a SQLite file below the workspace's root: training runs as they go, and what they ended with.

In: what a run is about, its rows as they are written, its plots. Out: a run in `<root>/mlflow.db`; look at it with
`mlflow server --backend-store-uri sqlite:///<root>/mlflow.db`. Nothing is sent anywhere.

A run is found again by its model version, so that a training run that was killed goes on in the same MLflow run, and a
finished one is never recorded twice. `train/follow.py` feeds it while training goes on.

Known limits: use of CPU, memory and GPUs is that of the machine on which `wellread train` was typed, and of everything
that runs on it; GPUs need the package nvidia-ml-py.
"""

import json
import logging
import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Read when mlflow is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from configs.artifacts import Version, code_revision

EXPERIMENT = "wellread"
VERSION_TAG, PARENT_TAG = "wellread.model", "mlflow.parentRunId"
BATCH = 1000  # what one call may hold
SAMPLE_S = 10.0  # between two looks at the machine's load
Row = Mapping[str, Any]


def open_client(root: Path) -> MlflowClient:
    """A client of `<root>/mlflow.db`, which is made when it is not there (four seconds)."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=address(root), registry_uri=address(root))


def address(root: Path) -> str:
    """Where MLflow finds the database of a workspace."""
    return f"sqlite:///{(root / 'mlflow.db').resolve()}"


class TrainingRun:
    """The MLflow run of one model version.

    Args:
        version: id that the model has or will have.
        params: settings, as a tree.
        tags: lineage and environment.
        parent: id of the run that this one belongs to, such as a sweep's.
    """

    def __init__(
        self, root: Path, version: str, params: Row, tags: Mapping[str, str], parent: str | None = None
    ) -> None:
        self.root, self.client = root, open_client(root)
        found = find_run(self.client, root, version)
        self.id = found.info.run_id if found else self._create(version, params, tags, parent)
        self.finished = found is not None and found.info.status == "FINISHED"
        # A run that goes on after a kill has its first steps already: last step by name of the value.
        self.logged = {point.key: point.step for point in found.data._metric_objs} if found else {}

    def log(self, rows: Sequence[Row]) -> None:
        """Add the numbers of rows whose step is not there yet; a row has a `step`, and a `time` in unix seconds."""
        points = [
            Metric(name, float(value), int(row.get("time", time.time()) * 1000), int(row["step"]))
            for row in rows
            for name, value in row.items()
            if name not in ("step", "of", "time") and isinstance(value, int | float)
        ]
        # Measurements on the way come later than the values of their step.
        self._send([point for point in points if point.step > self.logged.get(point.key, 0)])
        for point in points:
            self.logged[point.key] = max(self.logged.get(point.key, 0), point.step)

    def watch_machine(self) -> Any:
        """Start to record the machine's load; call `finish` on what is returned."""
        self.client.update_run(self.id, status="RUNNING")
        monitor: Any = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
            self.id, sampling_interval=SAMPLE_S, resume_logging=bool(self.logged), tracking_uri=address(self.root)
        )
        monitor.start()
        return monitor

    def close(self, status: str, figures: Mapping[str, float] = {}, files: Sequence[Path] = ()) -> None:
        """End the run as FINISHED, FAILED or KILLED, with its final figures and plots."""
        now = int(time.time() * 1000)
        self._send([Metric(f"final_{name}", float(value), now, 0) for name, value in figures.items()])
        for file in files:
            self.client.log_artifact(self.id, str(file))
        self.client.set_terminated(self.id, status=status)
        self.finished = status == "FINISHED"

    def _send(self, points: Sequence[Metric]) -> None:
        for at in range(0, len(points), BATCH):
            self.client.log_batch(self.id, metrics=points[at : at + BATCH])

    def _create(self, version: str, params: Row, tags: Mapping[str, str], parent: str | None) -> str:
        family = {PARENT_TAG: parent} if parent else {}
        run = self.client.create_run(experiment(self.client, self.root), run_name=version)
        shown = [Param(name, value) for name, value in flat("", params).items()]
        told = {VERSION_TAG: version, **tags, **family}
        self.client.log_batch(run.info.run_id, params=shown, tags=[RunTag(*item) for item in told.items()])
        return str(run.info.run_id)


def track_training(
    root: Path, version: Version, curve: Sequence[Row], files: Sequence[Path] = (), parent: str | None = None
) -> str:
    """Complete the record of a finished model version, and return its run's id; a second call adds nothing.

    Args:
        curve: rows with `step`, and values by name.
        files: plots and the like, kept beside the run.
        parent: id of the run that this one belongs to.
    """
    manifest = version.manifest
    packages = {f"package.{name}": number for name, number in manifest.packages.items()}
    run = TrainingRun(root, version.id, manifest.settings, about(manifest.inputs) | packages, parent)
    if not run.finished:
        run.log(curve)
        run.close("FINISHED", {**manifest.figures, **manifest.counts}, files)
    return run.id


def about(inputs: Mapping[str, str]) -> dict[str, str]:
    """Tags that say what a run was made from: versions of its inputs, code, and environment."""
    made_of = {f"input.{name}": version for name, version in inputs.items()}
    machine = {"python": platform.python_version(), "system": platform.platform(terse=True)}
    return {"code_revision": code_revision(), **made_of, **machine}


def find_run(client: MlflowClient, root: Path, version: str) -> Run | None:
    """The run of a model version; None where there is none."""
    query = f"tags.`{VERSION_TAG}` = '{version}'"
    found = client.search_runs([experiment(client, root)], query, max_results=1)
    return found[0] if found else None


def experiment(client: MlflowClient, root: Path) -> str:
    """Id of the experiment that holds all runs of a workspace; makes it when it is not there."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found:
        return str(found.experiment_id)
    return str(client.create_experiment(EXPERIMENT, artifact_location=(root / "mlflow-artifacts").resolve().as_uri()))


def flat(prefix: str, tree: Row) -> dict[str, str]:
    """A tree of settings as dotted names and texts."""
    leaves: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= flat(f"{prefix}{name}.", value)
        else:
            leaves[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value)
    return leaves
