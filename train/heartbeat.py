"""A training process tells how far it is, where it stands in the code, and listens for being told to stop.

In: calls of `Heartbeat.at` (`train/phases.py` makes them). Out: `ranks/<rank>.json` in the run folder, renewed by a
thread even while the process itself is blocked, and `ranks/<rank>.stack` once it seems to be. `train/watchdog.py` reads
them. Two more files in that folder are orders to all processes, on whatever machine: `stop` (end in good order) and
`abort` (end now).

Known limit: a process that holds Python's global lock for ever, or is stopped by a signal, writes nothing; that in
itself is what the watchdog then sees.
"""

import json
import logging
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from configs.artifacts import write_text_atomic
from train import stopping

log = logging.getLogger(__name__)

RANKS, STOP, ABORT = "ranks", "stop", "abort"
# In the order in which a process passes through them; forward and backward passes alternate within one step.
PHASES = ("load", "data", "forward", "backward", "optimizer", "evaluate", "save", "end")
TICK_S = 0.5
LOOKS_PER_LIMIT = 20  # a beat is written that often within the time after which a job counts as stalled
ABORTED = 74  # exit code of a process that was told to end now


class Heartbeat(threading.Thread):
    """Beats for one training process.

    Args:
        folder: the run folder.
        rank: this process's number.
        limit_s: seconds without progress after which somebody will ask where it stands; 0 is never.
        look: called at each beat; what the process does besides, such as watching the others.
    """

    def __init__(self, folder: Path, rank: int, limit_s: float, look: Callable[[], None] = lambda: None) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.folder, self.rank, self.limit_s, self.look = folder / RANKS, rank, limit_s, look
        self.interval_s = max(TICK_S, min(limit_s or 300.0, 300.0) / LOOKS_PER_LIMIT)
        self.trainer_thread = threading.get_ident()
        self.step, self.phase, self.moves, self.beats = 0, PHASES[0], 0, 0
        self.first = 0  # step that this process began with, past 1 where a run goes on
        self.moved_at = time.monotonic()

    def at(self, phase: str, step: int | None = None) -> None:
        """The process has come to this phase, of this step; called from the thread that trains. Costs a microsecond."""
        self.phase = phase
        self.moves += 1
        if step is not None and step != self.step:
            self.step, self.moves, self.first = step, 0, self.first or step
        self.moved_at = time.monotonic()

    def run(self) -> None:
        """Beat until the process ends."""
        next_beat = 0.0
        while True:
            self._obey()
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + self.interval_s
                # A disk that is full must not stop the beating of a process that may yet go on.
                with suppress(OSError):
                    self._beat()
                self.look()
            time.sleep(TICK_S)

    def _beat(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.beats += 1
        frame = sys._current_frames().get(self.trainer_thread)
        beat = {
            "rank": self.rank,
            "step": self.step,
            "first": self.first,
            "phase": self.phase,
            "moves": self.moves,
            "where": place(frame),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "time": round(time.time(), 3),
            "beats": self.beats,
        }
        write_text_atomic(self.folder / f"{self.rank}.json", json.dumps(beat) + "\n")
        if self.limit_s and time.monotonic() - self.moved_at > self.limit_s / 2:
            write_text_atomic(self.folder / f"{self.rank}.stack", "".join(traceback.format_stack(frame)))

    def _obey(self) -> None:
        if (self.folder / ABORT).exists():
            os._exit(ABORTED)
        if not stopping.asked() and (self.folder / STOP).exists():
            stopping.ask("SIGTERM")


_hearts: list[Heartbeat] = []


def start(heart: Heartbeat) -> None:
    """Let the heartbeat of this process begin."""
    _hearts[:] = [heart]
    heart.start()


def beating() -> Heartbeat | None:
    """The heartbeat of this process; None where it has none."""
    return _hearts[0] if _hearts else None


def place(frame: FrameType | None) -> str:
    """Where a thread stands: file, line and function."""
    if frame is None:
        return "nowhere"
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
