"""One training process: `python -m train.run SPEC.json`, alone or as one of those that a launcher starts.

The spec's folder receives everything. A file of `train/launchers/` makes the command line; typing it by hand does the
same.
"""

import atexit
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import psutil

from configs.artifacts import write_text_atomic
from configs.errors import ModelError, WellreadError
from configs.training import TrainSettings
from train.launchers.base import OWNER
from train.ranks import ranks
from train.saving import cannot_write
from train.spec import AGAIN, ERROR, PROGRESS, Spec
from train.watchdog import start_beating


def main(arguments: list[str]) -> int:
    """Train the spec named last on the command line (deepspeed puts its own `--local_rank` before it)."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if len(arguments) < 1 or not arguments[-1].endswith(".json"):
        sys.stderr.write("usage: python -m train.run SPEC.json\n")
        return 2
    return work(Path(arguments[-1]).resolve())


def work(file: Path) -> int:
    """Train the spec of that file, as the one process of the launcher's that this is. Returns the exit code."""
    stop_with_owner()
    try:
        spec = Spec.read(file)
        # A single process may well be started from a shell that is itself a task of Slurm.
        os.environ.update(ranks(os.environ) if spec.train.launcher != "local" else {})
        check_launcher(spec.train, os.environ)
        start_beating(file.parent, spec.train)
        # Imported late: this takes ten seconds, and a wrong spec should be told at once.
        from train.fit import train

        train(spec, file.parent)
    except Exception as error:
        told = error if isinstance(error, WellreadError) else cannot_write(file.parent / PROGRESS, error, file.parent)
        if told is None:
            raise
        return tell(told, file.parent)
    return 0


def tell(error: WellreadError, folder: Path) -> int:
    """Leave an error where the launcher finds it, whatever it makes of exit codes. Returns the exit code."""
    sys.stderr.write(f"{type(error).__name__}: {error}\n")
    again = type(error).__name__ == "Again"
    if isinstance(error, ModelError) and folder.is_dir():
        text = json.dumps({"problem": error.problem, "remedy": error.remedy, "again": again})
        # On a full disk there may be no room for it; the line above is in the log.
        with suppress(OSError):
            write_text_atomic(folder / ERROR, text + "\n")
    return AGAIN if again else error.exit_code


def check_launcher(settings: TrainSettings, environ: Mapping[str, str]) -> None:
    """Whether the launcher that the spec names has started this process (all of them set `WORLD_SIZE`).

    Raises:
        ModelError: it has not, or with another number of processes.
    """
    world, expected = environ.get("WORLD_SIZE", "1"), settings.processes * settings.cluster.nodes
    if world != str(expected) or (settings.launcher != "local" and "WORLD_SIZE" not in environ):
        raise ModelError(
            f"train.launcher = {settings.launcher!r} with {expected} process(es), but WORLD_SIZE is {world}",
            "Start it with `wellread train`, or with that launcher",
        )


def stop_with_owner() -> None:
    """End this process soon after the one that `WELLREAD_TRAIN_OWNER` names is gone, if that is on this machine."""
    host, _, owner = os.environ.get(OWNER, "").rpartition(":")
    if host == socket.gethostname():
        threading.Thread(target=_watch, args=(int(owner),), daemon=True).start()


def _watch(owner: int) -> None:
    while True:
        if _gone(owner):
            os._exit(1)
        time.sleep(2)


def _gone(process: int) -> bool:
    try:
        # Killed, it stays a zombie for as long as nobody asks how it ended, as in many containers.
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def leave(code: int) -> NoReturn:
    """End the process without taking its libraries apart: at that, threads that still talk to other processes now and
    then abort it ("terminate called without an active exception"), and a finished job would count as failed."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
