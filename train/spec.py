"""What one training run is told: `spec.json` in the run's folder, which is also where all of its output goes.

spec.json       this record
progress.jsonl  one line per optimizer step, and one per measurement of the held-out loss on the way
order-<process>.jsonl                ids of the examples that each step of that process was about
samples.jsonl   held-out questions answered on the way
bad_steps.jsonl, left_out.json       steps that were left out or gone back on, examples that are not learnt for that
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
ORDER, SAMPLES, BAD_STEPS, LEFT_OUT = "order-{process}.jsonl", "samples.jsonl", "bad_steps.jsonl", "left_out.json"

# Exit code of a process that is to be started again in the same folder: it went back to its last checkpoint. Launchers
# hide exit codes of their processes, so `error.json` says it too: its `again` is true.
AGAIN = 75


class Spec(Section):
    """A training run."""

    examples: Path
    """`examples.parquet`; rows of the split `train` are learnt."""
    model: ModelSettings
    """The base model."""
    train: TrainSettings
    """Method, launcher and hyperparameters."""
    start: Path | None = None
    """Folder `adapter` or `model` of a trained model whose weights are the start; None for those of the base model."""
    seed: int
    """Seed of the adapter's first weights, the order of examples and dropout."""

    def write(self, folder: Path) -> None:
        write_text_atomic(folder / SPEC, self.text())

    def text(self) -> str:
        """What the file holds."""
        return self.model_dump_json(indent=2) + "\n"

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


def read_progress(file: Path) -> list[dict[str, Any]]:
    """The steps in `progress.jsonl`, a row each; a line that is still being written is left out.

    Returns:
        rows with `step`, `of`, `loss` (nats a token), `grad_norm`, `learning_rate`, `tokens`, `seconds`, `time` (Unix),
        and `bad`, the reason, where a step was left out.
    """
    return [row for row in read_lines(file) if "loss" in row]


def read_measured(file: Path) -> list[dict[str, Any]]:
    """The measurements in `progress.jsonl`: rows with `step` and `holdout_loss`, nats per token of
    held-out answers."""
    return [row for row in read_lines(file) if "holdout_loss" in row]


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The finished lines of a JSONL file; none when there is no such file."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def forget_after(step: int, file: Path) -> None:
    """Take the lines behind a step out of a JSONL file: that part of the run is about to be done again."""
    # Also where it holds no finished line: what is added next would go on in the unfinished one.
    if file.exists():
        write_text_atomic(file, "".join(json.dumps(row) + "\n" for row in read_lines(file) if row["step"] <= step))
