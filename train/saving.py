"""Checkpoints that are whole, and the result of a run, whole as well.

A checkpoint counts once every process has written its part and the mark `complete` is there; the mark lists the files
with their sizes, so that one that was cut short later does not count either. The result is saved through a temporary
name, so that a folder called `adapter` or `model` is always whole.

Known limit: sizes are compared, not contents; a disk that flips bits is for the file system to notice.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from configs.artifacts import write_text_atomic
from configs.errors import ModelError, is_full_disk
from train.spec import CHECKPOINTS, COMPLETE, Spec
from train.zero import uses_deepspeed

KEPT = 2  # complete checkpoints, besides the best one: the last may turn out to be damaged


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that every process finished writing; unfinished and damaged ones are not considered."""
    return max(complete_checkpoints(folder), key=step_of, default=None)


def complete_checkpoints(folder: Path) -> list[Path]:
    """All checkpoints below `folder` that are whole, oldest first."""
    found = (mark.parent for mark in folder.glob(f"checkpoint-*/{COMPLETE}"))
    return sorted((path for path in found if _is_whole(path)), key=step_of)


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was made."""
    return int(checkpoint.name.rpartition("-")[2])


def mark_complete(checkpoint: Path, about: dict[str, Any]) -> None:
    """Write the mark of a checkpoint whose files are all there, once they are on the disk.

    Args:
        about: what `check_fits` compares.
    """
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != COMPLETE)
    for path in files:
        # A machine that loses power after the mark is written must not lose what the mark vouches for.
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    sizes = {str(path.relative_to(checkpoint)): path.stat().st_size for path in files}
    write_text_atomic(checkpoint / COMPLETE, json.dumps({**about, "files": sizes}) + "\n")


def _is_whole(checkpoint: Path) -> bool:
    try:
        sizes = json.loads((checkpoint / COMPLETE).read_text())["files"]
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def about_processes(spec: Spec, processes: int) -> dict[str, Any]:
    """What a checkpoint has to be continued with."""
    rows = spec.train.batch_size * spec.train.accumulate * processes
    return {"deepspeed": uses_deepspeed(spec.train), "processes": processes, "rows_per_step": rows}


def check_fits(checkpoint: Path, now: dict[str, Any]) -> None:
    """Whether a run as it is set now can continue from a checkpoint; `now` is of `about_processes`.

    Raises:
        ModelError: the order of the examples would be another, or DeepSpeed's parts are of another number of processes.
    """
    then = json.loads((checkpoint / COMPLETE).read_text())
    if then["rows_per_step"] != now["rows_per_step"]:
        raise ModelError(
            f"{checkpoint} was made with {then['rows_per_step']} rows a step, and now there are {now['rows_per_step']}",
            "Keep train.batch_size x train.accumulate x processes as they were, or delete the checkpoints",
        )
    if then["deepspeed"] != now["deepspeed"] or (then["deepspeed"] and then["processes"] != now["processes"]):
        raise ModelError(
            f"{checkpoint} is of {_words(then)}, and cannot be continued by {_words(now)}",
            "Start the same number of processes with the same launcher, or delete the checkpoints",
        )


def _words(about: dict[str, Any]) -> str:
    return f"{about['processes']} process(es) {'under' if about['deepspeed'] else 'without'} DeepSpeed"


def clear_unfinished(folder: Path) -> None:
    """Delete what a run that was killed while saving left; called by one process."""
    whole = complete_checkpoints(folder)
    for path in folder.glob("checkpoint-*"):
        if path not in whole:
            shutil.rmtree(path, ignore_errors=True)


def delete_old(folder: Path, best: str | None) -> None:
    """Delete all but the last two complete checkpoints and the best one; called by one process."""
    for path in complete_checkpoints(folder)[:-KEPT]:
        if best is None or path.name != Path(best).name:
            # The mark goes first: killed in between, the rest does not count.
            (path / COMPLETE).unlink()
            shutil.rmtree(path, ignore_errors=True)


def cannot_write(what: Path, error: BaseException, folder: Path) -> ModelError | None:
    """One line for a disk that takes no more; None when the error is another.

    Args:
        what: was being written; its unfinished rest is deleted, which makes room for the message.
        folder: of the run.
    """
    # torch's writer says that it failed, and not why.
    if not (is_full_disk(error) or "inline_container.cc" in str(error)):
        return None
    shutil.rmtree(what, ignore_errors=True)
    last = last_checkpoint(folder / CHECKPOINTS)
    free = shutil.disk_usage(folder).free / 1e6
    goes_on = f"continues from {last.name}" if last else "starts again, since no checkpoint was complete"
    return ModelError(
        f"{what.name} could not be written: the disk of {folder} is full, or a limit is reached ({free:.0f} MB free)",
        f"Free some space there and run `wellread train --resume`; it {goes_on}",
    )


def save_result(trainer: Any, spec: Spec, folder: Path) -> None:
    """Save the adapter, or the whole model, into `folder`; called by every process.

    Raises:
        ModelError: the disk is full.
    """
    target = folder / ("model" if spec.train.method == "full" else "adapter")
    partial = target.with_name(f".partial-{target.name}")
    try:
        trainer.save_model(str(partial))
    # Tokenizers raise plain exceptions.
    except Exception as error:
        if refused := cannot_write(partial, error, folder):
            raise refused from None
        raise
    if not trainer.is_world_process_zero():
        return
    # Trainers add a pickle of their arguments; wellread ships none.
    (partial / "training_args.bin").unlink(missing_ok=True)
    settings = partial / "adapter_config.json"
    if settings.exists():
        # PEFT writes where the weights were read from, for the embedded model a folder of this machine's cache.
        named = json.loads(settings.read_text()) | {"base_model_name_or_path": spec.model.name}
        write_text_atomic(settings, json.dumps(named, indent=2) + "\n")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)
