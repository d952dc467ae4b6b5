"""The mirror of the model registry in MLflow: the same versions, aliases, tags and notes.

In: what the workspace says. Out: rows in `<root>/mlflow.db`. Known limit: what is changed in MLflow itself is
overwritten by the next change here.
"""

from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from configs.artifacts import Version
from train.registry import Registered
from train.track import VERSION_TAG, find_run, open_client

MODEL = "wellread"
TAGS = "tag."  # before the names of what people tag, beside the figures


def mirror_registry(root: Path, models: Sequence[Registered]) -> None:
    """Make the MLflow registry say what the workspace says."""
    client = open_client(root)
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(MODEL)
    known = {
        entry.tags[VERSION_TAG]: entry
        for entry in client.search_model_versions(f"name = '{MODEL}'")
        if VERSION_TAG in entry.tags
    }
    wanted: dict[str, str] = {}
    for model in models:
        entry = known.get(model.id) or _create(client, root, model.version)
        _note(client, entry, model)
        wanted |= dict.fromkeys(model.aliases, str(entry.version))
    present = {alias: str(number) for alias, number in client.get_registered_model(MODEL).aliases.items()}
    for alias in present.keys() - wanted.keys():
        client.delete_registered_model_alias(MODEL, alias)
    for alias, number in wanted.items():
        if present.get(alias) != number:
            client.set_registered_model_alias(MODEL, alias, number)


def _create(client: MlflowClient, root: Path, version: Version) -> ModelVersion:
    tags = {VERSION_TAG: version.id, **{name: f"{value:g}" for name, value in version.manifest.figures.items()}}
    run = find_run(client, root, version.id)
    run_id = str(run.info.run_id) if run else None
    return client.create_model_version(MODEL, source=str(version.path.resolve()), run_id=run_id, tags=tags)


def _note(client: MlflowClient, entry: ModelVersion, model: Registered) -> None:
    """Write what differs; each call costs a transaction."""
    wanted = {TAGS + name: value for name, value in model.tags.items()}
    present = {name: value for name, value in entry.tags.items() if name.startswith(TAGS)}
    for name in present.keys() - wanted.keys():
        client.delete_model_version_tag(MODEL, entry.version, name)
    for name, value in wanted.items():
        if present.get(name) != value:
            client.set_model_version_tag(MODEL, entry.version, name, value)
    if (entry.description or "") != model.note:
        client.update_model_version(MODEL, entry.version, description=model.note)
