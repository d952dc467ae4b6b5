"""DeepSpeed's configuration, generated from the settings.

In: training settings. Out: the dictionary that the trainer hands to DeepSpeed; what is `auto` in it the trainer fills
in from its own arguments, so that nothing is said twice. ZeRO: Rajbhandari et al. 2020; offload: Ren et al. 2021, and
Rajbhandari et al. 2021 for disks.

Known limit: no operator of DeepSpeed is compiled but that for `offload: nvme`; the optimizer is torch's AdamW, fused
where it can be.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.errors import ModelError
from configs.training import DeepspeedSettings, TrainSettings

FILE = "deepspeed.json"


def uses_deepspeed(settings: TrainSettings) -> bool:
    """Whether DeepSpeed's engine trains."""
    return settings.launcher == "deepspeed" or settings.deepspeed != DeepspeedSettings()


def deepspeed_config(settings: TrainSettings, *, on_gpu: bool) -> dict[str, Any]:
    """DeepSpeed's configuration.

    Raises:
        ModelError: the file of `deepspeed.extra` cannot be read.
    """
    asked = settings.deepspeed
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "zero_optimization": _zero(asked, on_gpu=on_gpu),
        # The trainer's own AdamW is used; DeepSpeed's would be compiled first.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    if asked.offload == "nvme":
        config["aio"] = {"block_size": 1 << 20, "queue_depth": 8, "thread_count": 1, "overlap_events": True}
    return _laid_over(config, _extra(asked.extra))


def check_nvme(asked: DeepspeedSettings) -> None:
    """Whether this machine can move optimizer states to a disk; compiles a probe (a second).

    Raises:
        ModelError: the folder is not there, or libaio is not.
    """
    if asked.offload != "nvme" or asked.nvme is None:
        return
    if not asked.nvme.is_dir():
        raise ModelError(
            f"train.deepspeed.nvme is {asked.nvme}, which is no folder on this machine", "Make it, on a fast local disk"
        )
    from deepspeed.ops.op_builder import AsyncIOBuilder

    if not AsyncIOBuilder().is_compatible(verbose=False):
        raise ModelError(
            "train.deepspeed.offload is nvme, but DeepSpeed's asynchronous reading and writing cannot be built here",
            "Install libaio and a compiler, on Debian with apt-get install libaio-dev g++, or use offload: cpu",
        )


def _zero(asked: DeepspeedSettings, *, on_gpu: bool) -> dict[str, Any]:
    # A CPU has no streams to overlap, and to pin memory an operator would be compiled.
    zero: dict[str, Any] = {"stage": asked.stage, "overlap_comm": on_gpu, "contiguous_gradients": True}
    if asked.stage == 3:
        # Without it, saving leaves an empty model behind.
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    if asked.offload != "off":
        disk = {"nvme_path": str(asked.nvme)} if asked.offload == "nvme" else {}
        zero["offload_optimizer"] = {"device": asked.offload, "pin_memory": on_gpu, **disk}
        if asked.stage == 3:
            zero["offload_param"] = {"device": "cpu", "pin_memory": on_gpu}
    return zero


def _extra(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        extra = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"cannot read {file}: {error.strerror}", "See train.deepspeed.extra") from None
    except ValueError as error:
        raise ModelError(f"{file} is not JSON: {error}", "See train.deepspeed.extra") from None
    if not isinstance(extra, dict):
        raise ModelError(f"{file} holds no JSON object", "See train.deepspeed.extra")
    return extra


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        deeper = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _laid_over(merged[name], value) if deeper else value
    return merged
