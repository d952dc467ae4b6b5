"""Checkpoints that are whole, and the result of a run, whole as well.

A checkpoint counts once every process has written its part and the mark `complete` is there (`train/record.py`). The
result is saved through a temporary name, so that a folder called `adapter` or `model` is always whole.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from configs.artifacts import write_text_atomic
from train.spec import COMPLETE, Spec


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that every process finished writing; unfinished ones are not considered."""
    done = [mark.parent for mark in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(done, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def save_result(trainer: Any, spec: Spec, folder: Path) -> None:
    """Save the adapter, or the whole model, into `folder`; called by every process."""
    target = folder / ("model" if spec.train.method == "full" else "adapter")
    partial = target.with_name(f".partial-{target.name}")
    trainer.save_model(str(partial))
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
