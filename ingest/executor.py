"""Where the parts of a stage are worked on: in this process, in several on this machine, or as tasks of Ray Data.

In: tasks, each with a method `run() -> int` that writes one file. Out: what they return, as they end.
The tasks carry paths and settings, never rows: what is large goes from file to file.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Protocol

from configs.errors import ArtifactError

# Tasks handed to the pool ahead of those at work.
AHEAD = 2
# Seconds of work from which on starting processes pays: importing what cleaning needs takes two of them a few.
WORTH_S = 8.0


class Task(Protocol):
    """A piece of work that can be done anywhere, and again."""

    def run(self) -> int: ...


class Executor(Protocol):
    """Runs tasks."""

    def run(self, tasks: Sequence[Task]) -> Iterator[int]:
        """What each task returns, as they end. The first error of one ends all."""


class Here:
    """One after the other, in this process."""

    def run(self, tasks: Sequence[Task]) -> Iterator[int]:
        """See `Executor.run`."""
        return (task.run() for task in tasks)


class Processes:
    """In `workers` processes of this machine, once that is worth it.

    A process takes seconds to start and to load what the tasks need. So the first tasks run here, until their pace says
    that the rest would take longer than `worth_s`.
    """

    def __init__(self, workers: int, *, worth_s: float = WORTH_S) -> None:
        self._workers = workers
        self._worth_s = worth_s

    def run(self, tasks: Sequence[Task]) -> Iterator[int]:
        """See `Executor.run`.

        Raises:
            ArtifactError: a process died, most likely for want of memory.
        """
        if self._workers < 2:
            yield from Here().run(tasks)
            return
        started = time.monotonic()
        for number, task in enumerate(tasks):
            left = len(tasks) - number
            pace = (time.monotonic() - started) / number if number else 0.0
            if left > 1 and (number or not self._worth_s) and pace * left >= self._worth_s:
                yield from self._in_processes(tasks[number:])
                return
            yield task.run()

    def _in_processes(self, tasks: Sequence[Task]) -> Iterator[int]:
        workers = min(self._workers, len(tasks))
        # Forked children would inherit the locks of libraries whose threads they don't.
        context = multiprocessing.get_context("spawn")
        watched, held = context.Pipe(duplex=False)
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_be_a_worker, initargs=(watched,))
        try:
            yield from _windowed(pool, tasks, workers * AHEAD)
        except BrokenProcessPool:
            raise ArtifactError(
                f"one of {workers} worker processes died, perhaps killed for want of memory",
                "Run the same command again, it goes on where it stopped; with --set work.workers=1 it needs the least",
            ) from None
        finally:
            # Whatever is still being made is of no use to anybody: on success that is nothing.
            held.close()
            pool.shutdown(wait=True, cancel_futures=True)
            watched.close()


def executor_of(name: str, workers: int) -> Executor:
    """The executor of that name; `workers` 0 means all cores.

    Raises:
        ConfigError: Ray is asked for and not installed.
    """
    if name == "ray":
        from ingest.executor_ray import RayData

        return RayData(workers)
    return Processes(workers or len(os.sched_getaffinity(0)))


def _windowed(pool: ProcessPoolExecutor, tasks: Iterable[Task], window: int) -> Iterator[int]:
    """Results as they come, with never more than `window` tasks handed out: a cancelled run ends at once."""
    running: set[Future[int]] = set()
    for task in tasks:
        running.add(pool.submit(task.run))
        if len(running) >= window:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        yield from (future.result() for future in done)


def _be_a_worker(watched: Connection) -> None:
    """End when the other end of the pipe is closed, which the parent's death does, too, however it dies."""
    # Ctrl-C reaches the whole group; what to do about it is the parent's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(watched,), daemon=True).start()


def _follow(watched: Connection) -> None:
    with suppress(EOFError, OSError):
        watched.recv_bytes()
    os._exit(1)
