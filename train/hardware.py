"""What training computes with on this machine: device, precision, attention kernel, and what saves memory; and why.

In: settings that may say `auto`. Out: a `Chosen`, with a reason for each choice, which is logged and written to
`chosen.json` in the run's folder.

bfloat16 on a CPU: a LoRA step of the embedded model (2 x 640 tokens, one thread) took 11.0 CPU-seconds in float32 and
5.0 under autocast to bfloat16 on a CPU with avx512_bf16; on one with AVX-512F alone bfloat16 was three times slower.

Known limit: GPUs are NVIDIA's or what torch shows as such; those of other machines of a job are not looked at.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers.utils.import_utils import (
    is_bitsandbytes_available,
    is_flash_attn_2_available,
    is_liger_kernel_available,
)

from configs.artifacts import write_text_atomic
from configs.errors import ModelError
from configs.training import ModelSettings, TrainSettings
from train.model import pick_device
from train.zero import uses_deepspeed

CHOSEN = "chosen.json"
CPU_BF16 = ("amx_bf16", "avx512_bf16")


@dataclass(frozen=True)
class Gpu:
    """A GPU that torch sees."""

    name: str
    bfloat16: bool


@dataclass(frozen=True)
class Chosen:
    """What training computes with.

    Attributes:
        precision: of matrix products and activations: `float32`, `bfloat16` or `float16`.
        weights: type in which the weights are held; half where they are frozen, on a GPU.
        attention: as transformers calls it.
        why: a reason for `precision`, `attention`, `checkpointing` and `liger`.
    """

    device: str
    precision: str
    weights: str
    attention: str
    checkpointing: bool
    liger: bool
    why: dict[str, str]

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"

    def lines(self) -> list[str]:
        """For people: what was chosen, and why."""
        return [f"{name}: {getattr(self, name)} ({reason})" for name, reason in self.why.items()]

    def write(self, folder: Path) -> None:
        """Record it in a run's folder."""
        write_text_atomic(folder / CHOSEN, json.dumps(asdict(self), indent=2) + "\n")


def choose(model: ModelSettings, train: TrainSettings) -> Chosen:
    """What the settings come to on this machine.

    Raises:
        ModelError: they ask for a GPU, a precision or a package that is not there, or the GPUs are too different.
    """
    device = pick_device(model.device)
    on_gpu = device == "cuda"
    gpus = visible_gpus() if on_gpu else []
    check_alike(gpus)
    if train.method == "qlora":
        check_four_bit(on_gpu=on_gpu)
    cpu_units = cpu_bfloat16()
    precision, for_precision = choose_precision(train.precision, gpus, cpu_units, deepspeed=uses_deepspeed(train))
    attention, for_attention = choose_attention(model.attention, precision, on_gpu=on_gpu)
    liger, for_liger = choose_liger(train.liger, on_gpu=on_gpu)
    checkpointing = on_gpu if train.checkpointing == "auto" else train.checkpointing == "always"
    reasons = {"auto": "a GPU's memory is scarce" if on_gpu else "a CPU has memory and no time to spare"}
    frozen_half = on_gpu and train.method != "full"
    return Chosen(
        device=device,
        precision=precision,
        weights=model.dtype if model.dtype != "auto" else (precision if frozen_half else "float32"),
        attention=attention,
        checkpointing=checkpointing,
        liger=liger,
        why={
            "precision": for_precision,
            "attention": for_attention,
            "checkpointing": reasons.get(train.checkpointing, f"train.checkpointing is {train.checkpointing}"),
            "liger": for_liger,
        },
    )


def choose_precision(asked: str, gpus: Sequence[Gpu], cpu_units: str, *, deepspeed: bool) -> tuple[str, str]:
    """Precision and reason.

    Args:
        asked: `auto`, `float32`, `bfloat16` or `float16`.
        gpus: none for training on a CPU.
        cpu_units: name of the CPU's bfloat16 instructions, or empty.

    Raises:
        ModelError: this hardware cannot compute in what is asked for.
    """
    has = bool(gpus) and all(gpu.bfloat16 for gpu in gpus)
    if asked == "float16" and not gpus:
        raise ModelError("train.precision is float16, which only GPUs are trained in", "Set train.precision=auto")
    if asked == "bfloat16" and gpus and not has:
        raise ModelError(f"train.precision is bfloat16, which {gpus[0].name} has not", "Set train.precision=auto")
    if asked != "auto":
        return asked, "train.precision says so"
    if gpus:
        return ("bfloat16", f"{gpus[0].name} has it") if has else ("float16", f"{gpus[0].name} has no bfloat16")
    if deepspeed:
        # It would also hold what is trained in bfloat16, which loses the small updates of a short run.
        return "float32", "DeepSpeed on a CPU"
    return ("bfloat16", f"this CPU has {cpu_units}") if cpu_units else ("float32", "this CPU has no bfloat16 units")


def choose_attention(asked: str, precision: str, *, on_gpu: bool) -> tuple[str, str]:
    """Attention kernel and reason.

    Raises:
        ModelError: FlashAttention 2 is asked for and cannot run.
    """
    flash = "flash_attention_2"
    if asked == flash and not (on_gpu and is_flash_attn_2_available() and precision != "float32"):
        raise ModelError(
            f"model.attention is {flash}, which needs a GPU, the package flash-attn and half precision",
            "Set model.attention=auto",
        )
    if asked != "auto":
        return asked, "model.attention says so"
    if not on_gpu:
        return "sdpa", "FlashAttention needs a GPU"
    if not is_flash_attn_2_available():
        return "sdpa", "the package flash-attn is not installed"
    return (
        (flash, "flash-attn is installed")
        if precision != "float32"
        else ("sdpa", "FlashAttention needs half precision")
    )


def choose_liger(asked: str, *, on_gpu: bool) -> tuple[bool, str]:
    """Whether to take Liger's kernels, and why.

    Raises:
        ModelError: they are asked for and cannot run.
    """
    installed = is_liger_kernel_available()
    if asked == "always" and not (on_gpu and installed):
        raise ModelError(
            "train.liger is always, which needs a GPU and the package liger-kernel", "Set train.liger=auto"
        )
    if asked != "auto":
        return asked == "always", f"train.liger is {asked}"
    if not on_gpu:
        return False, "its kernels are for GPUs"
    return installed, "liger-kernel is installed" if installed else "the package liger-kernel is not installed"


def check_four_bit(*, on_gpu: bool) -> None:
    """Whether weights can be loaded in 4 bits.

    Raises:
        ModelError: there is no GPU, or no bitsandbytes.
    """
    if not on_gpu:
        raise ModelError("train.method is qlora, and there is no GPU for its 4-bit weights", "Set train.method=lora")
    if not is_bitsandbytes_available():
        raise ModelError(
            "train.method is qlora, which needs the package bitsandbytes", "Install it: pip install bitsandbytes"
        )


def check_alike(gpus: Sequence[Gpu]) -> None:
    """Whether the GPUs can train together.

    Raises:
        ModelError: they are of different kinds: all would wait for the slowest, and may differ in what they compute in.
    """
    names = sorted({gpu.name for gpu in gpus})
    if len(names) > 1:
        raise ModelError(
            f"the GPUs are of different kinds: {', '.join(names)}", "Show one kind alone, with CUDA_VISIBLE_DEVICES"
        )


def visible_gpus() -> list[Gpu]:
    """The GPUs that torch sees, in its order."""
    found = []
    for number in range(torch.cuda.device_count()):
        with torch.cuda.device(number):
            found.append(
                Gpu(torch.cuda.get_device_name(number), torch.cuda.is_bf16_supported(including_emulation=False))
            )
    return found


def cpu_bfloat16() -> str:
    """Name of this CPU's bfloat16 instructions; empty when it has none."""
    flags = torch.cpu.get_capabilities()
    return next((flag for flag in CPU_BF16 if flags.get(flag)), "")
