"""Training inside a cluster's job: `python -m train.job SPEC.json` is what the job's script runs on its first machine.

In: a spec, and the job's variables. Out: the run folder with the result, followed as if it had been started by hand.
When the job's time is nearly over (SIGUSR1) the training makes a checkpoint, and the job goes back into Slurm's queue.

Known limit: the version is made by the next `wellread train` in the workspace, which finds the result.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from configs.errors import ModelError, WellreadError
from train.launch import launch
from train.launchers.slurm import NOTICE_S
from train.run import tell
from train.spec import CHECKPOINTS, COMPLETE, FIGURES

log = logging.getLogger(__name__)

STOPPED = 130
END_S = 20  # of Slurm's notice: to end what has not stopped by then, and to go back into the queue


def main(arguments: list[str]) -> int:
    """Run the spec; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m train.job SPEC.json\n")
        return 2
    over: list[int] = []

    def time_is_over(number: int, frame: object) -> None:  # noqa: ARG001  # Python dictates the signature
        over.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGUSR1, time_is_over)
    folder = Path(arguments[0]).resolve().parent
    # A job that was sent twice has nothing left to do.
    if (folder / FIGURES).exists():
        return 0
    before = saved_step(folder)
    try:
        launch(folder, lambda *_: None, NOTICE_S - END_S)
    except WellreadError as error:
        # Whoever asks for the model next reads it.
        return tell(error, folder)
    except KeyboardInterrupt:
        if over and saved_step(folder) <= before:
            # It would go round for ever.
            short = ModelError("the job's time was over before a step was done", "Raise train.cluster.time")
            return tell(short, folder)
        return requeue() if over else STOPPED
    return 0


def saved_step(folder: Path) -> int:
    """The step of the last complete checkpoint; 0 without one."""
    whole = (folder / CHECKPOINTS).glob(f"checkpoint-*/{COMPLETE}")
    return max((int(mark.parent.name.partition("-")[2]) for mark in whole), default=0)


def requeue() -> int:
    """Send this job back into the queue; it goes on from its last checkpoint. Returns the exit code."""
    job, scontrol = os.environ.get("SLURM_JOB_ID"), shutil.which("scontrol")
    if not job or not scontrol:
        return STOPPED
    log.info("the time of job %s is over; it goes back into the queue", job)
    return subprocess.run([scontrol, "requeue", job], check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
