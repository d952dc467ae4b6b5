"""What a training process notes down: one line per step, complete checkpoints, and whether its engine is the right one.

In: the trainer's callbacks. Out: `progress.jsonl` and the `complete` marks of `train/spec.py`.
Known limit: seconds of a step include the wait for other processes, and nothing of saving.
"""

import json
import logging
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from configs.artifacts import write_text_atomic
from configs.errors import ModelError
from configs.training import TrainSettings
from train.spec import COMPLETE, PROGRESS, read_progress

log = logging.getLogger(__name__)


class Recorder(TrainerCallback):
    """Checks the engine before the first step, writes one line per step, and marks checkpoints as complete."""

    def __init__(self, trainer: Any, settings: TrainSettings, folder: Path) -> None:
        self.trainer, self.settings, self.file = trainer, settings, folder / PROGRESS
        self.tokens = 0
        self.clock = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  # the trainer dictates the signature
        engine = self.trainer.model_wrapped
        if problem := engine_problem(engine, self.settings):
            raise ModelError(
                f"train.launcher = {self.settings.launcher!r}, but {problem}", "Start it with `wellread train`"
            )
        log.info("engine %s, resuming at step %d", type(engine).__name__, state.global_step)
        if state.is_world_process_zero:
            kept = [row for row in read_progress(self.file) if row["step"] <= state.global_step]
            write_text_atomic(self.file, "".join(json.dumps(row) + "\n" for row in kept))
        self.clock = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  # the trainer dictates the signature
        logs = kwargs["logs"]
        if "loss" not in logs or not state.is_world_process_zero:
            return
        now, tokens = time.monotonic(), int(logs.get("num_tokens", 0))
        row = {
            "step": state.global_step,
            "of": state.max_steps,
            "loss": float(logs["loss"]),
            "learning_rate": float(logs["learning_rate"]),
            "tokens": tokens - self.tokens,
            "seconds": round(now - self.clock, 4),
        }
        self.clock, self.tokens = now, tokens
        with self.file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  # the trainer dictates the signature
        # Each process writes its own random state (and, under ZeRO, its own shard).
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()
        if state.is_world_process_zero:
            write_text_atomic(Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE, "")
        self.clock = time.monotonic()


def engine_problem(engine: Any, settings: TrainSettings) -> str:
    """Why `engine` is not what the settings ask for; empty when it is. Trainers fall back to one process silently."""
    started = torch.distributed.is_available() and torch.distributed.is_initialized()
    world = torch.distributed.get_world_size() if started else 1
    if world != settings.processes:
        return f"{world} process(es) train, not {settings.processes}"
    name = type(engine).__name__
    if settings.launcher == "deepspeed" and name != "DeepSpeedEngine":
        return f"the engine is {name}, not DeepSpeed"
    if settings.launcher == "torchrun" and world > 1 and name != "DistributedDataParallel":
        return f"the engine is {name}, not DistributedDataParallel"
    return ""
