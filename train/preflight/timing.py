"""How long training will take, from a few real steps before it.

In: a spec. Out: seconds of a step. The timed steps are the real ones, forward, backward and optimizer on real batches
through the objective's own trainer, in this process alone and without accumulation; a step of the run is so many of
them. Nothing of them is kept. The first of them, not timed, is over the longest rows, so that memory is seen to last.

Known limits: with several processes the exchange of gradients is not timed, nor DeepSpeed's work; the optimizer is
counted once for each pass of an accumulated step.
"""

import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback

from configs.training import ClusterSettings, DeepspeedSettings
from train.arguments import trainer_arguments
from train.fit import objective
from train.hardware import choose
from train.methods.base import Job
from train.spec import Spec
from train.starting import load_start

STEPS, BUDGET_S = 3, 8.0  # timed steps after one of warm-up; no further one is begun after so many seconds


@dataclass(frozen=True)
class Timing:
    """What timed steps say about a run.

    Attributes:
        seconds_per_step: of an optimizer step, accumulated passes included.
        steps: of the whole run.
        timed: steps that this was taken from.
        peak_bytes: most memory that was in use meanwhile, of the process or the GPU; the longest rows were among it.
    """

    seconds_per_step: float
    steps: int
    timed: int
    peak_bytes: int

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.seconds_per_step * self.steps


def time_steps(spec: Spec, threads: int) -> Timing:
    """Time a few steps.

    Args:
        threads: of the CPU, as many as a training process will have.

    Raises:
        ModelError: as training itself.
    """
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="wellread-check-") as name:
        trainer = _trainer(alone(spec), Path(name))
        trainer.train_dataset = longest_first(trainer.train_dataset, spec.train.batch_size, spec.seed)
        clock = Clock(STEPS + 1, BUDGET_S)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(clock)
        trainer.train()
        rows = len(trainer.train_dataset)
    one = median(clock.seconds[1:] or clock.seconds)
    return Timing(one * spec.train.accumulate, steps_of(spec, rows), len(clock.seconds[1:]), _peak())


def threads(spec: Spec) -> int:
    """CPU threads that each training process of this run has."""
    return int(os.environ.get("OMP_NUM_THREADS", 0)) or max(1, (os.cpu_count() or 1) // spec.train.processes)


def alone(spec: Spec) -> Spec:
    """The same run in one process, one pass to a step."""
    one = {"launcher": "local", "processes": 1, "accumulate": 1, "max_steps": STEPS + 1}
    apart = {"deepspeed": DeepspeedSettings(), "cluster": ClusterSettings()}
    return spec.model_copy(update={"train": spec.train.model_copy(update={**one, **apart})})


def steps_of(spec: Spec, rows: int) -> int:
    """Optimizer steps of a run over so many rows of the trainer."""
    settings = spec.train
    if settings.max_steps > 0:
        return settings.max_steps
    a_step = settings.batch_size * settings.accumulate * settings.processes * settings.cluster.nodes
    return max(1, round(-(-rows // a_step) * settings.epochs))


def _trainer(spec: Spec, folder: Path) -> Any:
    chosen = choose(spec.model, spec.train)
    loaded = load_start(spec, chosen)
    limit = min(spec.train.max_tokens, spec.model.max_context, loaded.max_context)
    arguments = trainer_arguments(spec, folder, chosen)
    # What would be kept, and the order, are not those of the run.
    arguments |= {"save_strategy": "no", "train_sampling_strategy": "sequential"}
    return objective(spec.train.objective)(Job(spec, folder, loaded, limit, arguments)).trainer


def longest_first(rows: Any, batch: int, seed: int) -> Any:
    """The rows of a data set in random order, but the longest ones as the first batch: it warms up, is not timed, and
    takes the most memory that any will."""
    lengths = [sum(len(value) for value in row.values() if isinstance(value, list)) for row in rows]
    places = list(range(len(lengths)))
    random.Random(seed).shuffle(places)
    longest = sorted(places, key=lambda place: -lengths[place])[:batch]
    return rows.select([*longest, *(place for place in places if place not in set(longest))])


class Clock(TrainerCallback):
    """Times optimizer steps, and ends training after enough of them.

    Attributes:
        seconds: of each step.
    """

    def __init__(self, steps: int, budget_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self.steps, self.budget_s, self.now = steps, budget_s, now
        self.seconds: list[float] = []
        self.began = self.first = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  # the trainer dictates the signature
        self.began = self.now()
        self.first = self.first or self.began

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  # the trainer dictates the signature
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(self.now() - self.began)
        late = self.now() - self.first > self.budget_s
        if len(self.seconds) >= self.steps or (late and len(self.seconds) > 1):
            control.should_training_stop = True


def _peak() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_reserved())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
