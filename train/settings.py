"""Which settings decide what a stage of this room makes; they become part of its version's name."""

from pathlib import Path
from typing import Any

from configs.artifacts import fingerprint_of
from configs.errors import ArtifactError
from configs.schema import Config

SHIPPED = Path(__file__).parent / "evaluation"


def model_settings(config: Config) -> dict[str, Any]:
    return config.model.model_dump(mode="json", include={"dtype", "max_context", "spotlight"}) | {
        "model": config.model.name
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
