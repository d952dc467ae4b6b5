"""What an earlier try at the same run has left, and whether training can go on from it.

In: a spec and its folder. Out: a warning where a checkpoint is passed over, or an error where the last one cannot be
read, so that no process has to find out after it has loaded the model.
"""

import json
from pathlib import Path

from configs.errors import ModelError
from train.preflight.headers import shapes_of
from train.saving import about_processes, check_fits, complete_checkpoints
from train.spec import CHECKPOINTS, COMPLETE, Spec


def check_earlier(spec: Spec, folder: Path) -> str:
    """A warning about damaged checkpoints; empty where there are none.

    Raises:
        ModelError: the last complete checkpoint cannot be read, or is of other processes.
    """
    checkpoints = folder / CHECKPOINTS
    whole = complete_checkpoints(checkpoints)
    damaged = sorted({mark.parent for mark in checkpoints.glob(f"checkpoint-*/{COMPLETE}")} - set(whole))
    if whole:
        check_fits(whole[-1], about_processes(spec, spec.train.processes * spec.train.cluster.nodes))
        _check_readable(whole[-1])
    if not damaged:
        return ""
    names = ", ".join(path.name for path in damaged)
    goes_on = f"goes on from {whole[-1].name}" if whole else "begins again"
    return f"of an earlier try, {names} cannot be read and is not used: training {goes_on}"


def _check_readable(checkpoint: Path) -> None:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        for file in sorted(checkpoint.glob("*.safetensors")):
            shapes_of(file)
    except (OSError, ValueError) as error:
        why: object = f"trainer_state.json: {error}"
    except ModelError as error:
        why = error.problem
    else:
        return
    raise ModelError(
        f"the checkpoint {checkpoint} of an earlier try cannot be read: {why}",
        "Delete that folder: training then goes on from the one before it, or begins again",
    )
