"""Starts the training processes of a spec, follows them, and stops them: all of them, whatever stands between.

In: a folder with a `spec.json`. Out: the same folder with the result, or a `ModelError` that says what the processes
said last, or where they stood still. All launchers start the same entry, `python -m train.run`.

Asked to stop (Ctrl-C, SIGTERM, a closed terminal), the processes first get the time to finish their step and write a
checkpoint. Every process of a job carries its mark in its environment; by that those of this machine are found and
ended, also where a launcher put them into a session of their own, or died before them. Processes on other machines end
with their launcher, or when they find the order in the run folder.

Known limit: what the processes of other machines do after this one lost its power is their launcher's business.
"""

import json
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from configs.artifacts import write_text_atomic
from configs.errors import ModelError
from train.heartbeat import ABORT, RANKS, STOP
from train.launchers import LAUNCHERS
from train.launchers.base import JOB, OWNER, Plan, environment, missing
from train.spec import ERROR, FIGURES, LOG, PROGRESS, SPEC, Spec
from train.submit import submit
from train.watchdog import Watch

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]
POLITE_S = 25.0  # for the step under way and its checkpoint; schedulers kill 30 s after they asked
GRACE_S = 5.0  # between asking a launcher to end its processes and killing all of them
AGAIN_S = 5.0
POLL_S = 0.2
ASKED = (signal.SIGTERM, signal.SIGHUP)
# The rows of a step stay as many, so that the run goes on.
LESS = "Halve train.batch_size and double train.accumulate, and run it again; it continues from its last checkpoint"
ONCE_MORE = (
    "Run it again, it continues from its last checkpoint; if it was memory, halve train.batch_size and double "
    "train.accumulate"
)
_KILLED = re.compile(
    r"Signal 9 \(SIGKILL\)|exited on signal 9|return code = -9|SIGKILL by kernel|^Exit code: 137", re.MULTILINE
)
# Behind what launchers write before each line of a process: Ray, Horovod, torch.
_BEFORE = r"^(?:\(\w+ pid=[^)]*\)\s*|\[\d+\]<\w+>:\s*)?(?:\[rank\d+\]:\s*)?"
_ERROR_LINE = re.compile(_BEFORE + r"((?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt)\b.*)$")
# What they say themselves when a process has failed: it comes last, and gives no reason.
_NO_REASON = ("ChildFailedError", "Horovod detected", "WorkerGroupError", "the training process ended with")


def launch(folder: Path, progress: Progress, polite_s: float = POLITE_S) -> str:
    """Run the spec in `folder` to its end, or hand it to a cluster.

    Args:
        progress: gets ("train", steps done, steps in all).
        polite_s: seconds that the processes get, asked to stop, for their step and a checkpoint.

    Returns:
        How the job is doing that a cluster has; empty when training is finished.

    Raises:
        ModelError: the launcher is not installed, or a process failed or stalled; the message holds its last error
            line and the log's path.
        KeyboardInterrupt: passed on after the processes have stopped; SIGTERM and SIGHUP end in it too.
    """
    spec = Spec.read(folder / SPEC)
    plan = ready(spec, folder)
    if plan.submits:
        return submit(plan, folder)
    for name, text in plan.files.items():
        write_text_atomic(folder / name, text)
    _begin(folder)
    start = Start(spec, folder, plan, folder / LOG, progress, polite_s)
    while code := start.run() or not (folder / FIGURES).exists():
        if not _said(folder).get("again"):
            raise start.failure(int(code))
        log.info("%s", _said(folder)["problem"])
        if spec.train.cluster.nodes > 1:
            # The other machines are to read it too.
            time.sleep(AGAIN_S)
        _begin(folder)
    # Of use only while there are processes.
    shutil.rmtree(folder / RANKS, ignore_errors=True)
    return ""


def join(folder: Path, progress: Progress, wait_s: float = 600.0) -> None:
    """Take part in the run that another machine leads in `folder`, where a launcher is started on each machine.

    Raises:
        ModelError: no run begins there within `wait_s`, or as in `launch`.
    """
    deadline = time.monotonic() + wait_s
    while not (folder / SPEC).exists():
        if time.monotonic() > deadline:
            raise ModelError(
                f"no training has begun in {folder} within {wait_s:.0f} s",
                "Start `wellread train` on the first machine, with the same settings and the same workspace",
            )
        time.sleep(POLL_S)
    spec = Spec.read(folder / SPEC)
    start = Start(spec, folder, ready(spec, folder), folder / f"train.{socket.gethostname()}.log", progress)
    while code := start.run():
        if not _said(folder).get("again"):
            raise start.failure(code)
        time.sleep(2 * AGAIN_S)


def planned(spec: Spec, folder: Path) -> Plan:
    """What the launcher of the spec would do."""
    return LAUNCHERS[spec.train.launcher](spec, folder)


def exact_environment(spec: Spec, plan: Plan) -> dict[str, str]:
    """What a plan's command gets beside the environment of this process."""
    # A job that is handed over has what it needs in its files.
    return plan.environment if plan.submits else {**environment(spec.train), **plan.environment}


def rehearsed(spec: Spec, folder: Path) -> dict[str, Any]:
    """What `launch` would do, with nothing written and nothing started: `command`, `environment`, the `files` by path
    with their text, and what is `missing` on this machine with the `remedy`."""
    plan = planned(spec, folder)
    lacks = missing(plan)
    files = {str(folder / SPEC): spec.text(), **{str(folder / name): text for name, text in plan.files.items()}}
    return {
        "command": plan.command,
        "environment": exact_environment(spec, plan),
        "files": files,
        "missing": lacks,
        "remedy": plan.install if lacks else "",
    }


def ready(spec: Spec, folder: Path) -> Plan:
    """`planned`, where all that it needs is installed.

    Raises:
        ModelError: something is missing.
    """
    plan = planned(spec, folder)
    if lacks := missing(plan):
        raise ModelError(f"train.launcher is {spec.train.launcher}, but {lacks} is not installed", plan.install)
    return plan


def _begin(folder: Path) -> None:
    """Take away what an earlier start has left."""
    (folder / ERROR).unlink(missing_ok=True)
    for left in (folder / RANKS).glob("*"):
        left.unlink(missing_ok=True)


def _said(folder: Path) -> dict[str, Any]:
    """What a training process said when it gave up; empty when none did."""
    try:
        said: dict[str, Any] = json.loads((folder / ERROR).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said


@dataclass
class Start:
    """Starts of the processes of one run from this machine.

    Attributes:
        log_file: gets what they print.
        told: the last step that `progress` was told.
        log_from: where in the log the last start begins.
    """

    spec: Spec
    folder: Path
    plan: Plan
    log_file: Path
    progress: Progress
    polite_s: float = POLITE_S
    told: int = 0
    log_from: int = 0

    def run(self) -> int:
        """Start the processes once, and follow them to their end. Returns their launcher's exit code."""
        job = secrets.token_hex(8)
        ours = {JOB: job, OWNER: f"{socket.gethostname()}:{os.getpid()}"}
        with self.log_file.open("ab") as output, _asked_to_stop():
            self.log_from = output.tell()
            # Its own session, so that Ctrl-C reaches the processes once, through us, in whatever order they stand.
            process = subprocess.Popen(  # noqa: S603
                self.plan.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **exact_environment(self.spec, self.plan), **ours},
                start_new_session=True,
            )
            try:
                self._follow(process)
            except KeyboardInterrupt:
                self._stop_politely(process)
                raise
            finally:
                end(process, job, self.folder / RANKS)
        return process.returncode

    def _follow(self, process: "subprocess.Popen[bytes]") -> None:
        """Tell the progress until the processes have ended.

        Raises:
            ModelError: they stand still.
        """
        settings = self.spec.train
        watch = Watch(self.folder, settings.processes * settings.cluster.nodes, settings.watch.stall_s)
        lines = NewLines(self.folder / PROGRESS)
        running = True
        while running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
            running = process.poll() is None
            for row in lines.read():
                if "loss" in row and row["step"] > self.told:
                    self.told = int(row["step"])
                    self.progress("train", self.told, int(row["of"]))
            if running and (stall := watch.look()):
                raise stall.error()

    def _stop_politely(self, process: "subprocess.Popen[bytes]") -> None:
        """Let the processes finish their step and write a checkpoint, if they have got so far."""
        if process.poll() is not None or not (self.folder / PROGRESS).exists():
            return
        log.info("stopping after this step, with a checkpoint; Ctrl-C again stops at once")
        write_text_atomic(self.folder / RANKS / STOP, "")
        with suppress(subprocess.TimeoutExpired):
            process.wait(self.polite_s)

    def failure(self, code: int) -> ModelError:
        """Why the last start failed."""
        if said := _said(self.folder):
            return ModelError(said["problem"], said["remedy"])
        with self.log_file.open("rb") as log_file:
            log_file.seek(self.log_from)
            text = log_file.read().decode(errors="replace")
        if code in (-signal.SIGKILL, 128 + signal.SIGKILL) or _KILLED.search(text):
            return ModelError(
                f"a training process was killed by the system, most likely for memory (log: {self.log_file})", ONCE_MORE
            )
        line = last_error(text)
        remedy = LESS if "out of memory" in line.lower() else "See the log"
        return ModelError(f"training ended with code {code}: {line} (log: {self.log_file})", remedy)


class NewLines:
    """Reads a JSONL file that grows, or is now and then replaced by a shorter one, without reading anything twice."""

    def __init__(self, file: Path) -> None:
        self.file, self.offset, self.number = file, 0, 0

    def read(self) -> list[dict[str, Any]]:
        """The lines that were finished since the last call."""
        try:
            with self.file.open("rb") as lines:
                now = os.fstat(lines.fileno())
                # A file that has taken its place may have grown past it since the last look.
                if now.st_ino != self.number or now.st_size < self.offset:
                    self.offset, self.number = 0, now.st_ino
                lines.seek(self.offset)
                whole = lines.read().rpartition(b"\n")[0]
        except FileNotFoundError:
            return []
        if not whole:
            return []
        self.offset += len(whole) + 1
        return [json.loads(line) for line in whole.split(b"\n")]


@contextmanager
def _asked_to_stop() -> Iterator[None]:
    """SIGTERM and SIGHUP are taken like Ctrl-C; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:  # noqa: ARG001  # Python dictates the signature
        raise KeyboardInterrupt

    # What is ignored already (under nohup, SIGHUP) stays so.
    taken = [number for number in ASKED if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def end(process: "subprocess.Popen[bytes]", job: str, ranks: Path) -> None:
    """End what is left of a job: on other machines through its launcher and by an order, here for certain."""
    if process.poll() is None:
        with suppress(OSError):
            write_text_atomic(ranks / ABORT, "")
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    # Until none is found: one may start another while it is being looked for.
    while left := carrying(job):
        for one in left:
            with suppress(psutil.Error):
                one.kill()
        psutil.wait_procs(left, timeout=GRACE_S)
    process.wait()


def carrying(job: str) -> list[psutil.Process]:
    """The processes of this machine that carry the mark of a job."""
    return [one for one in psutil.process_iter() if _environment_of(one).get(JOB) == job]


def _environment_of(process: psutil.Process) -> dict[str, str]:
    # Most are somebody else's, and some are gone by now.
    try:
        return dict(process.environ()) if process.status() != psutil.STATUS_ZOMBIE else {}
    except (psutil.Error, OSError):
        return {}


def last_error(text: str) -> str:
    """The last line of a log that names an exception, or its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [match.group(1) for line in lines if (match := _ERROR_LINE.match(line))]
    named = [line for line in named if not any(words in line for words in _NO_REASON)]
    return (named or lines[-1:] or ["it printed nothing"])[-1][:300]
