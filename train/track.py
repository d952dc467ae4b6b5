"""MLflow, on a SQLite file below the workspace's root: training runs, and the mirror of the model registry.

In: a finished `models` version and its loss curve, or the registry's state. Out: rows in `<root>/mlflow.db`; look at
them with `mlflow server --backend-store-uri sqlite:///<root>/mlflow.db`. Nothing is sent anywhere.

Known limit: a run is recorded when it is finished; while it trains, `progress.jsonl` is what there is to see.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Read when mlflow is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from configs.artifacts import Version

EXPERIMENT = MODEL = "wellread"
VERSION_TAG = "wellread.model"
BATCH = 1000  # what one call may hold


def open_client(root: Path) -> MlflowClient:
    """A client of `<root>/mlflow.db`, which is made when it is not there (four seconds)."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    address = f"sqlite:///{(root / 'mlflow.db').resolve()}"
    return MlflowClient(tracking_uri=address, registry_uri=address)


def track_training(root: Path, version: Version, curve: Sequence[Mapping[str, float]]) -> str:
    """Record a training run: settings, figures, one point per step. Returns the run's id; a second call adds nothing.

    Args:
        curve: rows with `step`, and values by name.
    """
    client = open_client(root)
    experiment = _experiment(client, root)
    found = client.search_runs([experiment], f"tags.`{VERSION_TAG}` = '{version.id}'", max_results=1)
    if found and found[0].info.status == "FINISHED":
        return str(found[0].info.run_id)
    manifest = version.manifest
    start = int(manifest.created.timestamp() * 1000)
    run = client.create_run(experiment, start_time=start - int(manifest.seconds * 1000), run_name=version.id)
    points = [
        Metric(name, float(row[name]), start, int(row["step"]))
        for row in curve
        for name in ("loss", "learning_rate", "tokens", "seconds")
    ]
    points += [Metric(name, float(value), start, 0) for name, value in _finals(version).items()]
    tags = {VERSION_TAG: version.id, "code_revision": manifest.code_revision, **_prefixed("input", manifest.inputs)}
    tags |= _prefixed("package", manifest.packages)
    for at in range(0, len(points), BATCH):
        client.log_batch(run.info.run_id, metrics=points[at : at + BATCH])
    params = [Param(name, value) for name, value in _flat("", manifest.settings).items()]
    client.log_batch(run.info.run_id, params=params, tags=[RunTag(*item) for item in tags.items()])
    client.set_terminated(run.info.run_id, end_time=start)
    return str(run.info.run_id)


def mirror_registry(root: Path, versions: Sequence[Version], aliases: Mapping[str, str]) -> None:
    """Make the MLflow registry say what the workspace says: the same versions, the same aliases."""
    client = open_client(root)
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(MODEL)
    numbers = {
        entry.tags[VERSION_TAG]: entry.version
        for entry in client.search_model_versions(f"name = '{MODEL}'")
        if VERSION_TAG in entry.tags
    }
    for version in versions:
        if version.id not in numbers:
            tags = {VERSION_TAG: version.id, **{name: f"{value:g}" for name, value in version.manifest.figures.items()}}
            run = _run_of(client, root, version)
            made = client.create_model_version(MODEL, source=str(version.path.resolve()), run_id=run, tags=tags)
            numbers[version.id] = made.version
    present = dict(client.get_registered_model(MODEL).aliases)
    for alias in present.keys() - aliases.keys():
        client.delete_registered_model_alias(MODEL, alias)
    for alias, version_id in aliases.items():
        if version_id in numbers and str(present.get(alias)) != str(numbers[version_id]):
            client.set_registered_model_alias(MODEL, alias, numbers[version_id])


def _run_of(client: MlflowClient, root: Path, version: Version) -> str | None:
    query = f"tags.`{VERSION_TAG}` = '{version.id}'"
    found = client.search_runs([_experiment(client, root)], query, max_results=1)
    return str(found[0].info.run_id) if found else None


def _experiment(client: MlflowClient, root: Path) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found:
        return str(found.experiment_id)
    return str(client.create_experiment(EXPERIMENT, artifact_location=(root / "mlflow-artifacts").resolve().as_uri()))


def _finals(version: Version) -> dict[str, float]:
    return {f"final_{name}": value for name, value in (version.manifest.figures | version.manifest.counts).items()}


def _prefixed(prefix: str, values: Mapping[str, str]) -> dict[str, str]:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def _flat(prefix: str, tree: Mapping[str, Any]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(f"{prefix}{name}.", value)
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value)
    return flat
