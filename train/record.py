"""What a training process notes down: one line per step, complete checkpoints, and whether its engine is the right one.

In: the trainer's callbacks. Out: `progress.jsonl`, `order-<process>.jsonl` and the `complete` marks of `train/spec.py`.
It also ends a run that is asked to stop, or whose held-out loss has not improved for long enough, with a checkpoint.

Known limit: seconds of a step include the wait for other processes, and nothing of saving or measuring.
"""

import json
import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from configs.errors import ModelError
from configs.training import TrainSettings
from train import stopping
from train.badsteps import forget_skipped
from train.horovod import optimizer_problem
from train.saving import about_processes, delete_old, mark_complete
from train.spec import ERROR, ORDER, PROGRESS, SAMPLES, Spec, forget_after, read_progress
from train.zero import uses_deepspeed

log = logging.getLogger(__name__)


class Recorder(TrainerCallback):
    """Checks the engine before the first step, writes one line per step, and marks checkpoints as complete."""

    def __init__(self, trainer: Any, spec: Spec, folder: Path) -> None:
        self.trainer, self.spec, self.folder = trainer, spec, folder
        self.order = folder / ORDER.format(process=trainer.args.process_index)
        self.tokens = 0
        self.clock = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  # the trainer dictates the signature
        engine, settings = self.trainer.model_wrapped, self.spec.train
        problem = engine_problem(engine, settings)
        if settings.launcher == "horovod":
            problem = problem or optimizer_problem(self.trainer.optimizer, args.world_size)
        if problem:
            raise ModelError(f"train.launcher = {settings.launcher!r}, but {problem}", "Start it with `wellread train`")
        log.info("engine %s, resuming at step %d", type(engine).__name__, state.global_step)
        optimizer: Any = getattr(engine, "optimizer", None)
        if hasattr(optimizer, "check_grad_overflow"):
            # Without it, ZeRO-1 and 2 would take a gradient of NaN in bfloat16.
            optimizer.check_grad_overflow = True
        if state.is_world_process_zero:
            for file in (self.folder / PROGRESS, self.folder / SAMPLES, *self.folder.glob(ORDER.format(process="*"))):
                forget_after(state.global_step, file)
            forget_skipped(self.folder, state.global_step)
        self.trainer.agree(False)
        if state.is_world_process_zero:
            # Of an earlier start, by torchrun for example: it is not why this one will have ended.
            (self.folder / ERROR).unlink(missing_ok=True)
        if self.trainer.watched:
            self.trainer.watched.recall(read_progress(self.folder / PROGRESS))
        if self._no_better(state):
            # It was killed between its last step, which came early, and its end.
            control.should_training_stop = True
        stopping.listen()
        self.clock = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  # the trainer dictates the signature
        if self.trainer.step_rows:
            _append(self.order, {"step": state.global_step, "ids": self.trainer.step_rows})
        watched = self.trainer.watched
        if watched and watched.stopping and state.global_step < state.max_steps:
            # What is best so far is for the run that finishes; there may be seconds left now.
            args.load_best_model_at_end = False
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  # the trainer dictates the signature
        logs = kwargs["logs"]
        if not state.is_world_process_zero or not {"loss", "eval_loss"} & logs.keys():
            return
        now = time.monotonic()
        row: dict[str, Any] = {"step": state.global_step, "of": state.max_steps, "time": round(time.time(), 3)}
        if "eval_loss" in logs:
            _append(self.folder / PROGRESS, row | {"holdout_loss": logs["eval_loss"]})
            self.clock = time.monotonic()
            return
        tokens = int(logs.get("num_tokens", 0))
        row |= {
            "loss": float(logs["loss"]),
            "grad_norm": float(logs.get("grad_norm", math.nan)),
            "learning_rate": float(logs["learning_rate"]),
            "tokens": tokens - self.tokens,
            "seconds": round(now - self.clock, 4),
        }
        bad = self.trainer.watched.bad if self.trainer.watched else None
        _append(self.folder / PROGRESS, row | ({"bad": bad["why"]} if bad else {}))
        self.clock, self.tokens = now, tokens

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.metric_for_best_model is None:
            return
        loss = kwargs["metrics"]["eval_loss"]
        best = math.inf if state.best_metric is None else state.best_metric
        if loss < best:
            # The trainer keeps as the best what is also saved.
            control.should_save = True
            return
        if self._no_better(state) and not control.should_training_stop:
            log.info("the held-out loss has not improved since step %d; training stops", state.best_global_step or 0)
            control.should_save = control.should_training_stop = True

    def _no_better(self, state: Any) -> bool:
        """Whether `train.watch.patience` is at its end."""
        patience, best = self.spec.train.watch.patience, state.best_global_step or 0
        since = [row for row in state.log_history if "eval_loss" in row and row["step"] > best]
        return self.trainer.args.metric_for_best_model is not None and 0 < patience <= len(since)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  # the trainer dictates the signature
        # Each process writes its own random state (and, under ZeRO, its own shard); this waits for all of them.
        self.trainer.agree(False)
        if state.is_world_process_zero:
            folder = Path(args.output_dir)
            about = about_processes(self.spec, args.world_size)
            mark_complete(folder / f"checkpoint-{state.global_step}", about)
            delete_old(folder, state.best_model_checkpoint)
        self.clock = time.monotonic()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  # the trainer dictates the signature
        stopping.ignore()


def engine_problem(engine: Any, settings: TrainSettings) -> str:
    """Why `engine` is not what the settings ask for; empty when it is. Trainers fall back to one process silently."""
    started = torch.distributed.is_available() and torch.distributed.is_initialized()
    world = torch.distributed.get_world_size() if started else 1
    expected = settings.processes * settings.cluster.nodes
    if world != expected:
        return f"{world} process(es) train, not {expected}"
    name = type(engine).__name__
    if uses_deepspeed(settings):
        if name != "DeepSpeedEngine":
            return f"the engine is {name}, not DeepSpeed"
        stage, asked = engine.zero_optimization_stage(), settings.deepspeed.stage
        return f"DeepSpeed divides as ZeRO stage {stage}, not {asked}" if stage != asked else ""
    # There it is the optimizer that moves the gradients.
    if world > 1 and settings.launcher != "horovod" and name != "DistributedDataParallel":
        return f"the engine is {name}, not DistributedDataParallel"
    return ""


def _append(file: Path, row: dict[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(row) + "\n")
