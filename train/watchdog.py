"""Notices that a training job stands still, and finds the process that holds it up, and where.

In: the beats that `train/heartbeat.py` writes into the run folder. Out: a `Stall`. One process that waits makes all
others wait, in the next step that they do together; so the job counts as stalled when no process gets any further, and
the one to blame is the one that is behind the others. A process that does not even beat comes first.

Who looks: the process that started the job (`train/launch.py`), and where there is none, as in a cluster's job, each
training process itself. Known limit: a process that loads for ever, at changing places in the code, is not noticed.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from configs.artifacts import write_text_atomic
from configs.errors import ModelError
from configs.training import TrainSettings
from train.heartbeat import PHASES, RANKS, Heartbeat, start
from train.launchers.base import OWNER
from train.spec import ERROR

FIRST = 4  # until the first step is done, the limit is this many times as long: models load and kernels compile
MISSED_S = 5.0  # a process that beats is never silent for so long, or for a quarter of the limit
DOING = {
    "load": "while loading the model and the examples",
    "data": "while loading data",
    "forward": "in the forward pass",
    "backward": "in the backward pass",
    "optimizer": "in the optimizer",
    "evaluate": "while evaluating",
    "save": "while saving",
    "end": "after the last step",
}

EXCHANGES = ("/torch/distributed/", "/deepspeed/comm/", "/horovod/")

Beat = dict[str, Any]


@dataclass(frozen=True)
class Stall:
    """A job that stands still.

    Attributes:
        rank: the process that holds it up.
        problem, remedy: the same as a sentence, and what to do.
    """

    rank: int
    problem: str
    remedy: str

    def error(self) -> ModelError:
        return ModelError(self.problem, self.remedy)


@dataclass
class _Seen:
    """What is known of one process, and for how long (seconds of looking) it has been the same."""

    beat: Beat | None = None
    still_s: float = 0.0  # since it got any further
    silent_s: float = 0.0  # since it last beat


@dataclass
class Watch:
    """Looks at the beats of all processes of a run, again and again.

    Args:
        folder: the run folder.
        world: how many processes there should be.
        limit_s: seconds without progress that are a stall; 0 means never.
        clock: tells seconds.
        longest_s: time between two looks beyond this is not counted: the observer itself was stopped.
    """

    folder: Path
    world: int
    limit_s: float
    clock: Callable[[], float] = time.monotonic
    longest_s: float = 2.0
    seen: dict[int, _Seen] = field(default_factory=dict)
    looked_at: float | None = None

    def look(self) -> Stall | None:
        """Read all beats; None while the job gets on."""
        now = self.clock()
        passed = min(now - (now if self.looked_at is None else self.looked_at), self.longest_s)
        self.looked_at = now
        for rank in range(self.world):
            self._follow(self.seen.setdefault(rank, _Seen()), read_beat(self.folder, rank), passed)
        return self._judge() if self.limit_s else None

    def _follow(self, seen: _Seen, beat: Beat | None, passed: float) -> None:
        old, seen.beat = seen.beat, beat or seen.beat
        seen.still_s = 0.0 if _position(beat) != _position(old) else seen.still_s + passed
        seen.silent_s = 0.0 if beat is not None and beat != old else seen.silent_s + passed

    def _judge(self) -> Stall | None:
        started = any(seen.beat and seen.beat["step"] > (seen.beat.get("first") or 1) for seen in self.seen.values())
        limit = self.limit_s * (1 if started else FIRST)
        still = min(seen.still_s for seen in self.seen.values())
        if still < limit:
            return None
        rank = min(self.seen, key=self._blame)
        return self._stall(rank, still)

    def _blame(self, rank: int) -> tuple[Any, ...]:
        seen = self.seen[rank]
        return (not self._silent(seen), _order(seen.beat), _waits(seen.beat), rank)

    def _silent(self, seen: _Seen) -> bool:
        return seen.silent_s > max(MISSED_S, self.limit_s / 4)

    def _stall(self, rank: int, still: float) -> Stall:
        seen = self.seen[rank]
        who = f"rank {rank} of {self.world}" if self.world > 1 else "training"
        if seen.beat is None:
            return Stall(rank, f"{who} has not begun within {still:.0f} s", f"See {self.folder / 'train.log'}")
        step = f" in step {seen.beat['step']}" if seen.beat["step"] else ""
        state = f" ({self._state(seen.beat)})" if self._silent(seen) else ""
        doing = DOING[seen.beat["phase"]]
        problem = f"{who} stalled for {still:.0f} s{step} {doing}, at {seen.beat['where']}{state}"
        stack = self.folder / RANKS / f"{rank}.stack"
        see = f"See {stack}; r" if stack.exists() else "R"
        return Stall(rank, problem, f"{see}aise train.watch.stall_s if it only needed more time")

    def _state(self, beat: Beat) -> str:
        if beat["host"] != socket.gethostname():
            return f"process {beat['pid']} on {beat['host']} does not answer"
        try:
            return f"process {beat['pid']} is {psutil.Process(beat['pid']).status()} and does not answer"
        except psutil.Error:
            return f"process {beat['pid']} is gone"


def start_beating(folder: Path, settings: TrainSettings) -> None:
    """Let this training process beat, and watch the job itself where no process that started it does."""
    limit, world = settings.watch.stall_s, settings.processes * settings.cluster.nodes
    watch = Watch(folder, world, limit if OWNER not in os.environ else 0)
    heart = Heartbeat(folder, int(os.environ.get("RANK", "0")), limit, lambda: _end_stalled(watch, folder))
    watch.longest_s = 2 * heart.interval_s
    start(heart)


def _end_stalled(watch: Watch, folder: Path) -> None:
    """End this process if the job stands still; its launcher then ends the others."""
    if watch.limit_s and (stall := watch.look()):
        write_text_atomic(folder / ERROR, json.dumps({"problem": stall.problem, "remedy": stall.remedy}) + "\n")
        sys.stderr.write(f"ModelError: {stall.error()}\n")
        sys.stderr.flush()
        os._exit(1)


def read_beat(folder: Path, rank: int) -> Beat | None:
    """The last beat of a process; None where there is none yet."""
    try:
        beat: Beat = json.loads((folder / RANKS / f"{rank}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return beat


def _position(beat: Beat | None) -> tuple[Any, ...]:
    """Changes whenever a process gets any further; while it loads, there are no steps to see that by, but places."""
    if beat is None:
        return ()
    loading = beat["where"] if beat["phase"] == "load" else ""
    return (beat["pid"], beat["step"], beat["phase"], beat["moves"], loading)


def _waits(beat: Beat | None) -> bool:
    """Whether a process stands in an exchange with the others; within a phase, that tells those who wait for one."""
    return beat is not None and any(part in beat["where"] for part in EXCHANGES)


def _order(beat: Beat | None) -> tuple[int, int, int]:
    """How far a process is: the larger, the further."""
    if beat is None:
        return (-1, 0, 0)
    phase = PHASES.index(beat["phase"])
    # Forward and backward passes alternate within a step. Elsewhere the first process may have more to do than others.
    if beat["phase"] in ("forward", "backward"):
        return (beat["step"], PHASES.index("forward"), beat["moves"])
    return (beat["step"], phase, 0)
