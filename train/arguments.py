"""The trainer's arguments, from the settings; the same for every objective.

TRL's defaults (bfloat16, activation checkpointing, fused AdamW) are for GPUs and wrong on a CPU.
"""

from pathlib import Path
from typing import Any

from train.hardware import Chosen
from train.spec import CHECKPOINTS, Spec
from train.zero import deepspeed_config, uses_deepspeed


def trainer_arguments(spec: Spec, folder: Path, chosen: Chosen) -> dict[str, Any]:
    """Keyword arguments of `transformers.TrainingArguments` and what TRL derives from it."""
    settings, on_gpu = spec.train, chosen.on_gpu
    return {
        "output_dir": str(folder / CHECKPOINTS),
        "max_steps": settings.max_steps,
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.accumulate,
        "learning_rate": settings.learning_rate,
        "warmup_steps": settings.warmup_share,
        "lr_scheduler_type": "cosine",
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "optim": "adamw_torch_fused" if on_gpu else "adamw_torch",
        "bf16": chosen.precision == "bfloat16",
        "fp16": chosen.precision == "float16",
        "gradient_checkpointing": chosen.checkpointing,
        "neftune_noise_alpha": settings.neftune or None,
        "use_liger_kernel": chosen.liger,
        # TRL has a fused loss of its own.
        "liger_kernel_config": {"fused_linear_cross_entropy": False} if chosen.liger else None,
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
        "logging_steps": 1,
        # The loss of a bad step is to be seen, not replaced by the mean of those before.
        "logging_nan_inf_filter": False,
        "save_steps": settings.save_steps,
        "save_total_limit": 2,
        "seed": spec.seed,
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "deepspeed": deepspeed_config(settings, on_gpu=on_gpu) if uses_deepspeed(settings) else None,
        "ddp_find_unused_parameters": False,
        "ddp_backend": None if on_gpu or settings.launcher == "local" else "gloo",
    }
