"""One training process: `python -m train.run SPEC.json`, alone or under `torchrun` or `deepspeed`.

The spec's folder receives everything. `train/launch.py` builds the command line; typing it by hand does the same.
"""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from configs.artifacts import write_text_atomic
from configs.errors import ModelError, WellreadError
from configs.training import TrainSettings
from train.spec import ERROR, Spec

# Set by the launcher to its own process id, so that no training process outlives it, whatever stands between them.
OWNER = "WELLREAD_TRAIN_OWNER"


def main(arguments: list[str]) -> int:
    """Train the spec named last on the command line (deepspeed puts its own `--local_rank` before it)."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if len(arguments) < 1 or not arguments[-1].endswith(".json"):
        sys.stderr.write("usage: python -m train.run SPEC.json\n")
        return 2
    stop_with_owner()
    file = Path(arguments[-1]).resolve()
    try:
        spec = Spec.read(file)
        check_launcher(spec.train, os.environ)
        # Imported late: this takes ten seconds, and a wrong spec should be told at once.
        from train.fit import train

        train(spec, file.parent)
    except WellreadError as error:
        if isinstance(error, ModelError) and file.parent.is_dir():
            text = json.dumps({"problem": error.problem, "remedy": error.remedy})
            write_text_atomic(file.parent / ERROR, text + "\n")
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code
    return 0


def check_launcher(settings: TrainSettings, environ: Mapping[str, str]) -> None:
    """Whether the launcher that the spec names has started this process (all of them set `WORLD_SIZE`).

    Raises:
        ModelError: it has not, or with another number of processes.
    """
    world = environ.get("WORLD_SIZE", "1")
    if world != str(settings.processes) or (settings.launcher != "local" and "WORLD_SIZE" not in environ):
        raise ModelError(
            f"train.launcher = {settings.launcher!r} with {settings.processes} process(es), but WORLD_SIZE is {world}",
            "Start it with `wellread train`, or with that launcher",
        )


def stop_with_owner() -> None:
    """End this process soon after the one that `WELLREAD_TRAIN_OWNER` names is gone."""
    owner = int(os.environ.get(OWNER, "0"))
    if owner:
        threading.Thread(target=_watch, args=(owner,), daemon=True).start()


def _watch(owner: int) -> None:
    while True:
        try:
            os.kill(owner, 0)
        except ProcessLookupError:
            os._exit(1)
        time.sleep(2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
