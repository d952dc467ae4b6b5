"""Training of one spec, in one of the processes that a launcher started.

In: a `Spec` and the folder that holds it. Out: an adapter (or full weights), one line per step, checkpoints, figures.
A run that was killed continues from its last complete checkpoint when it is started again in the same folder.

Known limits: weights are loaded by each process before they are placed or sharded, except under DeepSpeed ZeRO-3;
data are read into memory.
"""

import json
from pathlib import Path
from typing import Any

import torch

from configs.artifacts import write_text_atomic
from train.arguments import trainer_arguments
from train.methods.base import Job, Objective
from train.model import half_precision, load_model
from train.record import Recorder
from train.saving import last_checkpoint, save_result
from train.spec import CHECKPOINTS, FIGURES, Spec


def train(spec: Spec, folder: Path) -> None:
    """Train, and leave the result in `folder`.

    Raises:
        ModelError: the model cannot be loaded or masked, no example fits, or the engine is not the one asked for.
    """
    on_gpu = torch.cuda.is_available() and spec.model.device != "cpu"
    if spec.train.launcher == "deepspeed" and not on_gpu:
        _start_deepspeed_on_cpu()
    # Made before the model is loaded: under ZeRO-3 this is what tells transformers to load it in shards.
    arguments = trainer_arguments(spec, folder, on_gpu=on_gpu)
    # The trainer moves the model to its process's own device.
    loaded = load_model(spec.model.name, "cpu", _weights_dtype(spec, on_gpu=on_gpu))
    limit = min(spec.train.max_tokens, spec.model.max_context, loaded.max_context)
    prepared = objective(spec.train.objective)(Job(spec, folder, loaded, limit, arguments))
    trainer = prepared.trainer
    trainer.add_callback(Recorder(trainer, spec.train, folder))
    resume = last_checkpoint(folder / CHECKPOINTS)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    save_result(trainer, spec, folder)
    if trainer.is_world_process_zero():
        figures = {"trainable_parameters": trainable(trainer), **prepared.counts, **prepared.checked()}
        write_text_atomic(folder / FIGURES, json.dumps(figures) + "\n")


def objective(name: str) -> Objective:
    """The objective of that name; imported here, since each brings a trainer of its own."""
    if name == "sft":
        from train.methods.sft import prepare

        return prepare
    raise NotImplementedError(name)


def trainable(trainer: Any) -> int:
    """Parameters that are trained (ZeRO-3 empties them and keeps their size in `ds_numel`)."""
    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    return sum(int(getattr(weight, "ds_numel", weight.numel())) for weight in weights)


def _weights_dtype(spec: Spec, *, on_gpu: bool) -> str:
    """Frozen weights may be of half precision; those that are trained stay float32, and autocast computes in half."""
    if spec.model.dtype != "auto":
        return spec.model.dtype
    return half_precision() if on_gpu and spec.train.method == "lora" else "float32"


def _start_deepspeed_on_cpu() -> None:
    import deepspeed

    # Its shared-memory kernel would be compiled first (a minute, and a compiler); gloo does the same without.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # Started by hand: left to the trainer, ZeRO-3 loads the model while it still believes in one process.
    deepspeed.init_distributed(dist_backend="gloo")
