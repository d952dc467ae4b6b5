"""What one training run is told: `spec.json` in the run's folder, which is also where all of its output goes.

spec.json       this record
progress.jsonl  one line per optimizer step
checkpoints/    checkpoint-<step>/, each with a `complete` mark once every process has written its part
adapter/ or model/, figures.json     the result
train.log, error.json                what the processes printed, and why they stopped
"""

import json
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from configs.artifacts import write_text_atomic
from configs.errors import ModelError
from configs.section import Section
from configs.training import ModelSettings, TrainSettings

SPEC, PROGRESS, FIGURES, ERROR, LOG = "spec.json", "progress.jsonl", "figures.json", "error.json", "train.log"
CHECKPOINTS, COMPLETE = "checkpoints", "complete"


class Spec(Section):
    """A training run."""

    examples: Path
    """`examples.parquet`; rows of the split `train` are learnt."""
    model: ModelSettings
    """The base model."""
    train: TrainSettings
    """Method, launcher and hyperparameters."""
    seed: int
    """Seed of the adapter's first weights, the order of examples and dropout."""

    def write(self, folder: Path) -> None:
        write_text_atomic(folder / SPEC, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a spec.

        Raises:
            ModelError: the file is missing or does not hold one.
        """
        try:
            return cls.model_validate_json(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ModelError(f"cannot read {file}: {error.strerror}", "Start training with `wellread train`") from None
        except ValidationError as error:
            first: Any = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ModelError(f"{file} is not a training spec: {where}: {first['msg']}") from None


def read_progress(file: Path) -> list[dict[str, float]]:
    """The finished lines of `progress.jsonl`; a line that is still being written is left out."""
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]
