"""Starts the training processes of a spec, follows them, and stops them.

In: a folder with a `spec.json`. Out: the same folder with the result, or a `ModelError` that says what the processes
said last. All launchers start the same entry, `python -m train.run`.

Known limit: processes of one machine; clusters have their own launchers.
"""

import json
import logging
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from configs.artifacts import write_text_atomic
from configs.errors import ModelError
from configs.training import TrainSettings
from train.launchers import LAUNCHERS
from train.launchers.base import Plan
from train.run import OWNER
from train.spec import ERROR, LOG, PROGRESS, SPEC, Spec, read_progress

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]
GRACE_S = 10.0  # between asking the processes to stop and killing them
POLL_S = 0.2
_ERROR_LINE = re.compile(r"^(?:\[rank\d+\]:\s*)?((?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt)\b.*)$")


def launch(folder: Path, progress: Progress) -> None:
    """Run the spec in `folder` to its end. `progress` gets ("train", steps done, steps in all).

    Raises:
        ModelError: a process failed; the message holds its last error line and the log's path.
        KeyboardInterrupt: passed on after the processes have stopped.
    """
    spec = Spec.read(folder / SPEC)
    (folder / ERROR).unlink(missing_ok=True)
    plan = planned(spec, folder)
    for name, text in plan.files.items():
        write_text_atomic(folder / name, text)
    with (folder / LOG).open("ab") as output:
        # Its own session, so that Ctrl-C reaches the processes once, through us, in whatever order they stand.
        process = subprocess.Popen(  # noqa: S603
            plan.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**_environment(spec.train), **plan.environment},
            start_new_session=True,
        )
        try:
            _follow(process, folder / PROGRESS, progress)
        finally:
            _stop(process)
    if process.returncode:
        raise _failure(process.returncode, folder)


def planned(spec: Spec, folder: Path) -> Plan:
    """What the launcher of the spec would do."""
    return LAUNCHERS[spec.train.launcher](spec, folder)


def _environment(settings: TrainSettings) -> dict[str, str]:
    threads = max(1, (os.cpu_count() or 1) // settings.processes)
    defaults = {
        "OMP_NUM_THREADS": str(threads),
        # Spinning threads of several processes take the cores from each other.
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
    }
    ours = {
        OWNER: str(os.getpid()),
        # The folder that a command is typed in may hold a `train` of its own.
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])),
    }
    return {**defaults, **os.environ, **ours}


def _follow(process: subprocess.Popen[bytes], file: Path, progress: Progress) -> None:
    told = 0
    for row in _rows(process, file):
        if row["step"] > told:
            told = int(row["step"])
            progress("train", told, int(row["of"]))


def _rows(process: subprocess.Popen[bytes], file: Path) -> Iterator[dict[str, float]]:
    running = True
    while running:
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL_S)
        running = process.poll() is None
        yield from read_progress(file)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the whole group to end, then end it; nothing to do when it has ended by itself."""
    for how in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        deadline = time.monotonic() + GRACE_S
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_S)


def _failure(code: int, folder: Path) -> ModelError:
    log_file = folder / LOG
    if (folder / ERROR).exists():
        said = json.loads((folder / ERROR).read_text())
        return ModelError(said["problem"], said["remedy"])
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return ModelError(
            f"training was killed by the system, most likely for memory (log: {log_file})",
            "Lower train.batch_size or train.max_tokens and run it again; it continues from its last checkpoint",
        )
    return ModelError(f"training ended with code {code}: {last_error(log_file)} (log: {log_file})", "See the log")


def last_error(log_file: Path) -> str:
    """The last line of a log that names an exception, or its last line."""
    lines = [line.strip() for line in log_file.read_text(errors="replace").splitlines() if line.strip()]
    named = [match.group(1) for line in lines if (match := _ERROR_LINE.match(line))]
    # torchrun's own complaint about its worker comes last and says nothing.
    named = [line for line in named if "ChildFailedError" not in line] or lines[-1:] or ["it printed nothing"]
    return named[-1][:300]
