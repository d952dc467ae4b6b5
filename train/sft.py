"""Supervised fine-tuning of one spec, in one of the processes that a launcher started.

In: a `Spec` and the folder that holds it. Out: an adapter (or full weights), one line per step, checkpoints, figures.
A run that was killed continues from its last complete checkpoint when it is started again in the same folder.

Known limits: weights are loaded by each process before they are placed or sharded, except under DeepSpeed ZeRO-3;
data are read into memory.
"""

import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from peft import LoraConfig
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from configs.artifacts import write_text_atomic
from configs.errors import ModelError
from guards.spotlight import Mode
from ingest.records import Example, read_table
from train.chat import Encoded, encode_fitting
from train.check import CheckedCollator
from train.model import LoadedModel, half_precision, load_model, stop_ids
from train.record import Recorder
from train.spec import CHECKPOINTS, COMPLETE, FIGURES, Spec

log = logging.getLogger(__name__)

ZERO2 = Path(__file__).with_name("zero2.json")


def train(spec: Spec, folder: Path) -> None:
    """Train, and leave the result in `folder`.

    Raises:
        ModelError: the model cannot be loaded or masked, no example fits, or the engine is not the one asked for.
    """
    on_gpu = torch.cuda.is_available() and spec.model.device != "cpu"
    if spec.train.launcher == "deepspeed" and not on_gpu:
        _start_deepspeed_on_cpu()
    # Made before the model is loaded: under ZeRO-3 this is what tells transformers to load it in shards.
    arguments = training_arguments(spec, folder, on_gpu=on_gpu)
    # The trainer moves the model to its process's own device.
    loaded = load_model(spec.model.name, "cpu", _weights_dtype(spec, on_gpu=on_gpu))
    limit = min(spec.train.max_tokens, spec.model.max_context, loaded.max_context)
    encoded, counts = encoded_examples(spec.examples, loaded, limit, spec.model.spotlight)
    trainer = _trainer(spec, loaded, encoded, arguments)
    checked = trainer.data_collator = CheckedCollator(
        trainer.data_collator, loaded.tokenizer, encoded, stop_ids(loaded)
    )
    resume = last_checkpoint(folder / CHECKPOINTS)
    trainer.add_callback(Recorder(trainer, spec.train, folder))
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    _save(trainer, spec, folder)
    if trainer.is_world_process_zero():
        figures = {"checked_rows": checked.rows, "trainable_parameters": trainable(trainer), **counts}
        write_text_atomic(folder / FIGURES, json.dumps(figures) + "\n")


def training_arguments(spec: Spec, folder: Path, *, on_gpu: bool) -> SFTConfig:
    """The trainer's arguments. TRL's defaults (bf16, checkpointing, fused AdamW) are for GPUs and wrong on a CPU."""
    settings = spec.train
    return SFTConfig(
        output_dir=str(folder / CHECKPOINTS),
        max_steps=settings.max_steps,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_share,
        lr_scheduler_type="cosine",
        optim="adamw_torch_fused" if on_gpu else "adamw_torch",
        bf16=on_gpu and half_precision() == "bfloat16",
        fp16=on_gpu and half_precision() == "float16",
        gradient_checkpointing=on_gpu,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        logging_steps=1,
        save_steps=settings.save_steps,
        save_total_limit=2,
        seed=spec.seed,
        report_to="none",
        disable_tqdm=True,
        deepspeed=str(settings.deepspeed or ZERO2) if settings.launcher == "deepspeed" else None,
        ddp_find_unused_parameters=False,
        ddp_backend=None if on_gpu or settings.launcher == "none" else "gloo",
    )


def encoded_examples(
    file: Path, loaded: LoadedModel, limit: int, spotlight: Mode = "off"
) -> tuple[list[Encoded], dict[str, int]]:
    """The training examples of at most `limit` tokens, and counts of `used` and `too_long`.

    Raises:
        ModelError: there is none.
    """
    rows: list[Example] = [example for example in read_table(file, Example) if example.split == "train"]
    pairs, too_long = encode_fitting(loaded.tokenizer, stop_ids(loaded), rows, limit, spotlight)
    if not rows:
        raise ModelError(f"{file} holds no training examples", "Give it more documents, then run `wellread examples`")
    if not pairs:
        raise ModelError(
            f"all {len(rows)} training examples are longer than {limit} tokens",
            "Raise train.max_tokens, or lower chunk.max_tokens or examples.passages",
        )
    if too_long:
        log.warning("%d of %d examples are longer than %d tokens and left out", too_long, len(rows), limit)
    return [encoded for _, encoded in pairs], {"used": len(pairs), "too_long": too_long}


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that every process finished writing; unfinished ones are not considered."""
    done = [mark.parent for mark in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(done, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def trainable(trainer: SFTTrainer) -> int:
    """Parameters that are trained (ZeRO-3 empties them and keeps their size in `ds_numel`)."""
    model: Any = trainer.model
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return sum(int(getattr(weight, "ds_numel", weight.numel())) for weight in weights)


def _trainer(spec: Spec, loaded: LoadedModel, encoded: Sequence[Encoded], arguments: SFTConfig) -> SFTTrainer:
    disable_progress_bar()
    rows = [{"input_ids": list(example.input_ids), "labels": example.labels} for example in encoded]
    lora = spec.train.lora
    adapter = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # any positive number scales the update
        lora_dropout=lora.dropout,
        target_modules=lora.target,
        task_type="CAUSAL_LM",
    )
    return SFTTrainer(
        model=loaded.model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=loaded.tokenizer,
        peft_config=adapter if spec.train.method == "lora" else None,
    )


def _save(trainer: SFTTrainer, spec: Spec, folder: Path) -> None:
    """Save through a temporary name, so that a folder called `adapter` or `model` is always whole."""
    target = folder / ("adapter" if spec.train.method == "lora" else "model")
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
