"""What a bad step leaves behind: a line in `bad_steps.jsonl`, the examples that are left out for it, an error.

In: the forward passes of the step in every process, each with the ids of its examples and its loss. Out: the files of
`train/spec.py`. A line reads `{"step": 7, "why": "the loss is nan", "loss": "nan", "grad_norm": "nan", "done": "skip",
"processes": [[{"ids": ["a1"], "loss": "nan"}], [{"ids": ["b2"], "loss": 1.9}]]}`, a list of passes for each process.

Known limit: which example of a pass is the bad one is not known, so all of them are named.
"""

import json
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import torch

from configs.artifacts import write_text_atomic
from configs.errors import ModelError
from configs.training import WatchSettings
from train.spec import BAD_STEPS, LEFT_OUT, read_lines

WINDOW, ENOUGH = 20, 10  # steps that a spike is measured against, and how many there must be
NAMED = 8  # ids in a message; the file has all of them

Row = dict[str, Any]


class Again(ModelError):  # noqa: N818  nothing is wrong with the run: it goes on
    """The run goes back to its last checkpoint: the process ends, and is to be started again."""


class Measure(Protocol):
    """Measures the model of a trainer on held-out examples; called by every process at the same step."""

    def __call__(self, trainer: Any) -> dict[str, float]: ...


@dataclass
class Watched:
    """What a trainer under watch is told, and what it remembers of the step under way.

    Attributes:
        measure: the held-out loss; None where there is none.
        passes: ids and loss of each forward pass of the step, in this process.
        recent: losses of the last steps, over all processes.
        spiked: how the loss of this step jumped; empty where it did not.
        bad: the line of `bad_steps.jsonl` where the step was left out.
        stopping: the signal that this run stops for, once all processes know.
    """

    folder: Path
    settings: WatchSettings
    measure: Measure | None = None
    passes: list[tuple[list[str], torch.Tensor]] = field(default_factory=list)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    spiked: str = ""
    bad: Row | None = None
    stopping: str = ""

    def recall(self, rows: Sequence[Row]) -> None:
        """The run goes on: `rows` of `progress.jsonl` are the steps that were made."""
        self.recent.extend(row["loss"] for row in rows if "bad" not in row and math.isfinite(row["loss"]))

    def begin(self) -> None:
        """A new step begins."""
        self.passes, self.spiked, self.bad = [], "", None

    def loss(self) -> torch.Tensor:
        """The loss [] of the step so far, in this process."""
        return torch.stack([loss for _, loss in self.passes]).sum()

    def jumps(self, loss: float) -> bool:
        """Whether the loss of a step, over all processes, is a spike; remembers it where it is none."""
        if not math.isfinite(loss):
            return False
        usual = median(self.recent) if len(self.recent) >= ENOUGH else math.inf
        if loss > self.settings.spike * usual:
            self.spiked = f"the loss {loss:.4g} is {loss / usual:.1f} times the median of the steps before"
        else:
            self.recent.append(loss)
        return bool(self.spiked)

    def passes_of_step(self) -> list[Row]:
        """This process's part of a line of `bad_steps.jsonl`."""
        return [{"ids": ids, "loss": _number(float(loss))} for ids, loss in self.passes]


def bad_row(step: int, watched: Watched, loss: float, norm: float | None, processes: Sequence[list[Row]]) -> Row:
    """A line of `bad_steps.jsonl`."""
    why = f"the loss is {loss}" if not math.isfinite(loss) else f"the norm of the gradient is {norm}"
    return {
        "step": step,
        "why": watched.spiked or why,
        "loss": _number(loss),
        "grad_norm": None if norm is None else _number(norm),
        "done": watched.settings.on_bad_step,
        "processes": list(processes),
    }


def note(folder: Path, row: Row) -> None:
    """Write a bad step down; called by one process."""
    with (folder / BAD_STEPS).open("a", encoding="utf-8") as out:
        out.write(json.dumps(row) + "\n")
    if row["done"] == "rewind":
        write_text_atomic(folder / LEFT_OUT, json.dumps(sorted({*left_out(folder), *suspects(row)})) + "\n")


def bad_steps(folder: Path) -> list[Row]:
    """The bad steps of a run so far."""
    return read_lines(folder / BAD_STEPS)


def forget_skipped(folder: Path, step: int) -> None:
    """Take the steps that were skipped after `step` out of the file: they will be made again, and skipped again."""
    kept = [row for row in bad_steps(folder) if row["step"] <= step or row["done"] == "rewind"]
    if len(kept) < len(bad_steps(folder)):
        write_text_atomic(folder / BAD_STEPS, "".join(json.dumps(row) + "\n" for row in kept))


def left_out(folder: Path) -> list[str]:
    """Ids of the examples that a run leaves out, since it went back for them."""
    file = folder / LEFT_OUT
    return list(json.loads(file.read_text())) if file.exists() else []


def suspects(row: Row) -> list[str]:
    """Ids of the examples of a bad step whose own loss was not a number; all of them where every loss was one."""
    passes = [one for process in row["processes"] for one in process]
    bad = [one for one in passes if isinstance(one["loss"], str)]
    return [name for one in bad or passes for name in one["ids"]]


def named(row: Row) -> str:
    """The suspects of a bad step, for a message."""
    ids = suspects(row)
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return f"examples {', '.join(ids[:NAMED])}{more}" if ids else "its examples are not known"


def too_many(folder: Path, row: Row, count: int) -> ModelError:
    """The error that ends a run with more bad steps than are allowed."""
    return ModelError(
        f"training stopped at step {row['step']}: {row['why']}; {named(row)}; bad step number {count}, all of them in "
        f"{folder / BAD_STEPS}",
        "Look at these examples, lower train.learning_rate, or raise train.watch.max_bad_steps",
    )


def _number(value: float) -> float | str:
    # JSON has no number for these.
    return value if math.isfinite(value) else str(value)
