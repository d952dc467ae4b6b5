"""Which settings decide what a stage of this room makes; they become part of its version's name."""

from pathlib import Path
from typing import Any

from configs.artifacts import fingerprint_of
from configs.errors import ArtifactError
from configs.schema import Config
from configs.training import TrainSettings
from train.launchers import CLUSTERS
from train.zero import uses_deepspeed

SHIPPED = Path(__file__).parent / "evaluation"
# Of the training settings: how, where and how carefully a model is trained. `train.start` is one of the inputs.
_NOT_DECIDING: Any = {
    "launcher": True,
    "processes": True,
    "cluster": True,
    "max_restarts": True,
    "batch_size": True,
    "accumulate": True,
    "save_steps": True,
    "max_left_out": True,
    "checkpointing": True,
    "start": True,
    "data": True,
    "preference": {"data"},
    "deepspeed": {"extra", "nvme"},
    "watch": {"stall_s", "max_bad_steps", "sample_answers"},
}


def model_settings(config: Config) -> dict[str, Any]:
    return config.model.model_dump(mode="json", include={"dtype", "max_context", "spotlight"}) | {
        "model": config.model.name
    }


def deciding(config: Config) -> dict[str, Any]:
    """What decides a trained model beside its inputs.

    How many rows a step has decides it, and not which processes they are divided among; files count by their content.
    What a cluster runs keeps a version of its own: its job may still be at work in that folder.
    """
    train, files = config.train, named_files(config.train)
    chosen = train.model_dump(mode="json", exclude=_NOT_DECIDING)
    chosen["rows_per_step"] = train.batch_size * train.accumulate * train.processes * train.cluster.nodes
    if not uses_deepspeed(train):
        del chosen["deepspeed"]
    if train.launcher in CLUSTERS:
        chosen |= {"launcher": train.launcher, "processes": train.processes, "nodes": train.cluster.nodes}
    return model_settings(config) | {"train": chosen, "seed": config.seed, "files": files}


def training_settings(config: Config) -> dict[str, Any]:
    """All settings of a training run, for its record, with the contents of the files that they name."""
    train = config.train.model_dump(mode="json")
    files = named_files(config.train)
    return model_settings(config) | {"train": train, "seed": config.seed} | ({"files": files} if files else {})


def named_files(train: TrainSettings) -> dict[str, str]:
    """The files that decide a model: hash of the content; the path where there is no such file."""
    named = {"data": train.data, "preference": train.preference.data, "deepspeed": train.deepspeed.extra}
    return {
        name: fingerprint_of(file) if file.is_file() else str(file) for name, file in named.items() if file is not None
    }


def evaluation_settings(config: Config) -> dict[str, Any]:
    """What decides the figures, the content of the sets of prompts included; the gate's own limits, the intervals and
    the batch size do not.

    Raises:
        ArtifactError: a file of prompts cannot be read.
    """
    chosen = config.evaluate
    settings = chosen.model_dump(mode="json", include={"max_examples", "max_new_tokens", "documents"})
    if chosen.documents:
        settings |= chosen.model_dump(mode="json", include={"document_tokens", "window", "stride"})
    files = {"probes": chosen.probe_file or SHIPPED / "probes.jsonl", "general": SHIPPED / "general.jsonl"}
    for name, file in files.items():
        most = getattr(chosen, name)
        settings[name] = [most, _content(file)] if most else [0]
    return settings


def _content(file: Path) -> str:
    try:
        return fingerprint_of(file)[:12]
    except OSError as error:
        raise ArtifactError(f"cannot read {file}: {error.strerror}", "Correct evaluate.probe_file") from None
