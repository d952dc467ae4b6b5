"""Training of one spec, in one of the processes that a launcher started.

In: a `Spec` and the folder that holds it. Out: an adapter (or full weights), one line per step, checkpoints, figures.
A run that was killed continues from its last complete checkpoint when it is started again in the same folder.

Known limits: weights are loaded by each process before they are placed or sharded, except under DeepSpeed ZeRO-3;
data are read into memory.
"""

import json
import logging
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import Any

from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy

from configs.artifacts import write_text_atomic
from configs.errors import ModelError
from train.arguments import trainer_arguments
from train.badsteps import Measure, Watched, bad_steps, left_out
from train.hardware import choose
from train.heartbeat import beating
from train.heldout import held_out
from train.methods.base import Job, Objective
from train.phases import Phases
from train.record import Recorder
from train.saving import about_processes, check_fits, clear_unfinished, last_checkpoint, save_result
from train.spec import CHECKPOINTS, FIGURES, LEFT_OUT, Spec
from train.starting import load_start
from train.unpickled import read_deepspeed_safely
from train.zero import check_nvme, uses_deepspeed

log = logging.getLogger(__name__)


def train(spec: Spec, folder: Path) -> None:
    """Train, and leave the result in `folder`.

    Raises:
        ModelError: the model cannot be loaded or masked, no example fits, or the engine is not the one asked for.
    """
    chosen = choose(spec.model, spec.train)
    log.info("%s", "; ".join(chosen.lines()))
    if uses_deepspeed(spec.train):
        check_nvme(spec.train.deepspeed)
        read_deepspeed_safely()
        if not chosen.on_gpu:
            _start_deepspeed_on_cpu()
    arguments = trainer_arguments(spec, folder, chosen)
    # Under ZeRO-3 this is what tells transformers to load the model in shards, as long as it is there; the objective
    # makes its own from the same arguments.
    _early = TrainingArguments(**arguments)
    # The trainer moves the model to its process's own device.
    loaded = load_start(spec, chosen)
    limit = min(spec.train.max_tokens, spec.model.max_context, loaded.max_context)
    prepared = objective(spec.train.objective)(Job(spec, folder, loaded, limit, arguments))
    trainer = prepared.trainer
    watch(trainer, spec, folder, held_out(spec, folder, loaded, limit) if spec.train.watch.eval_steps else None)
    leave_out(trainer, left_out(folder))
    trainer.train(resume_from_checkpoint=where_to_resume(trainer, spec, folder))
    if trainer.state.global_step < trainer.state.max_steps and trainer.watched.stopping:
        raise stopped(trainer)
    save_result(trainer, spec, folder)
    if trainer.is_world_process_zero():
        figures = {"trainable_parameters": trainable(trainer), **prepared.counts, **prepared.checked()}
        figures |= happened(trainer, folder)
        chosen.write(folder)
        write_text_atomic(folder / FIGURES, json.dumps(figures) + "\n")


def watch(trainer: Any, spec: Spec, folder: Path, measure: Measure | None) -> None:
    """Have a trainer note down its steps, leave bad ones out, and measure itself on the way."""
    trainer.watched = Watched(folder, spec.train.watch, measure)
    trainer.add_callback(Recorder(trainer, spec, folder))
    if heart := beating():
        trainer.add_callback(Phases(heart, trainer.model))
    # The trainer would delete old checkpoints before the new one counts; the recorder does it behind that.
    trainer.args.save_total_limit = None
    if measure is None:
        return
    trainer.args.eval_strategy, trainer.args.eval_steps = IntervalStrategy.STEPS, spec.train.watch.eval_steps
    if spec.train.objective in ("dpo", "ipo"):
        log.warning("objective %s does not lower the held-out loss: it chooses no checkpoint", spec.train.objective)
        return
    trainer.args.metric_for_best_model, trainer.args.greater_is_better = "loss", False
    trainer.args.load_best_model_at_end = True


def where_to_resume(trainer: Any, spec: Spec, folder: Path) -> str | None:
    """The last complete checkpoint, None to begin at the beginning; what is left of unfinished ones is deleted.

    Raises:
        ModelError: the checkpoint was made by processes, or with batches, that these cannot go on from.
    """
    checkpoints = folder / CHECKPOINTS
    last = last_checkpoint(checkpoints)
    if last:
        check_fits(last, about_processes(spec, trainer.args.world_size))
    # Every process has to have looked before anything goes.
    trainer.agree(False)
    if trainer.is_world_process_zero():
        clear_unfinished(checkpoints)
    return str(last) if last else None


def leave_out(trainer: Any, ids: Collection[str]) -> None:
    """Put other rows in the place of those with these examples: the order of all others stays as it was.

    Raises:
        ModelError: no other row is left.
    """
    if not ids:
        return
    names = trainer.row_ids
    good = [place for place, name in enumerate(names) if name not in ids]
    if not good:
        raise ModelError("every row of the training data led to a bad step", f"Look at the examples in {LEFT_OUT}")
    chosen = [good[place % len(good)] if name in ids else place for place, name in enumerate(names)]
    trainer.train_dataset = trainer.train_dataset.select(chosen)
    log.info("%d of %d rows are replaced by others, since they led to a bad step", len(names) - len(good), len(names))


def stopped(trainer: Any) -> ModelError:
    """The line that a run ends with that was asked to stop."""
    state = trainer.state
    return ModelError(
        f"training was stopped by {trainer.watched.stopping} after step {state.global_step} of {state.max_steps}",
        "Its checkpoint is complete: `wellread train --resume` goes on from there",
    )


def happened(trainer: Any, folder: Path) -> dict[str, int]:
    """Counts of what happened on the way, for the manifest."""
    counts = {"bad_steps": len(bad_steps(folder)), "left_out": len(left_out(folder))}
    if trainer.args.load_best_model_at_end:
        counts["best_step"] = trainer.state.best_global_step or trainer.state.global_step
    return counts


def objective(name: str) -> Objective:
    """The objective of that name; imported here, since each brings a trainer of its own."""
    file = {"ipo": "dpo"}.get(name, name)
    prepare: Objective = import_module(f"train.methods.{file}").prepare
    return prepare


def trainable(trainer: Any) -> int:
    """Parameters that are trained (ZeRO-3 empties them and keeps their size in `ds_numel`)."""
    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    return sum(int(getattr(weight, "ds_numel", weight.numel())) for weight in weights)


def _start_deepspeed_on_cpu() -> None:
    import deepspeed

    # Its shared-memory kernel would be compiled first (a minute, and a compiler); gloo does the same without.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # Started by hand: left to the trainer, ZeRO-3 loads the model while it still believes in one process.
    deepspeed.init_distributed(dist_backend="gloo")
