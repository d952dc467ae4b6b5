"""What this machine can train on, and whether the settings ask for that.

In: the settings. Out: a `Device` for each GPU, or one for the CPU with the memory that this process may still take:
what is free, and no more than its control group allows. That GPUs are of one kind is checked in `train/hardware.py`.

Known limits: asking a GPU for its memory makes a CUDA context, half a gigabyte of it, until the process ends. Other
machines are not asked; GPUs that differ between machines are not seen.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from configs.errors import ModelError
from configs.training import ModelSettings, TrainSettings
from train.hardware import Chosen, choose
from train.launchers import CLUSTERS

CGROUP_2 = (Path("/sys/fs/cgroup"), "memory.max", "memory.current")
CGROUP_1 = (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes")


@dataclass(frozen=True)
class Device:
    """Something to train on.

    Attributes:
        name: model of the GPU, or `CPU`.
        total, free: bytes of its memory.
    """

    name: str
    total: int
    free: int


def find_devices(model: ModelSettings, train: TrainSettings) -> list[Device]:
    """What the training processes of this machine would use; none where a cluster runs them.

    Raises:
        ModelError: more GPUs are asked for than are there.
    """
    if is_elsewhere(train):
        if model.device == "cuda" and train.cluster.gpus == 0:
            raise ModelError(
                f"model.device = 'cuda', but train.cluster.gpus = 0 asks {train.launcher} for none",
                "Set train.cluster.gpus to the GPUs of each machine, or model.device to cpu",
            )
        return []
    found = [] if model.device == "cpu" else gpus()
    check_count(found, train.processes)
    return found[: train.processes] or [cpu()]


def is_elsewhere(train: TrainSettings) -> bool:
    """Whether a cluster runs the training processes, on machines that cannot be asked."""
    return train.launcher in CLUSTERS


def computing(model: ModelSettings, train: TrainSettings) -> Chosen:
    """What training computes with; of a cluster's GPUs bfloat16 is assumed, unless the settings say something else.

    Raises:
        ModelError: this machine has not what is asked for.
    """
    if not is_elsewhere(train):
        return choose(model, train)
    if not train.cluster.gpus:
        return choose(model.model_copy(update={"device": "cpu"}), train)
    precision = "bfloat16" if train.precision == "auto" else train.precision
    return Chosen(
        device="cuda",
        precision=precision,
        weights=precision if train.method != "full" and model.dtype == "auto" else "float32",
        attention="sdpa" if model.attention == "auto" else model.attention,
        checkpointing=train.checkpointing != "never",
        liger=False,
        why={"precision": "assumed of the cluster's GPUs"},
    )


def check_count(found: Sequence[Device], processes: int) -> None:
    """Whether each process gets a GPU of its own, where there are any.

    Raises:
        ModelError: there are fewer.
    """
    if found and processes > len(found):
        raise ModelError(
            f"train.processes = {processes}, but torch sees {len(found)} GPU(s)",
            f"Set train.processes to {len(found)}, or model.device to cpu",
        )


def cpu() -> Device:
    """The CPU, with the memory that this process and its children may use."""
    memory = psutil.virtual_memory()
    total, free = int(memory.total), int(memory.available)
    for folder, limit, usage in (CGROUP_2, CGROUP_1):
        # There is no such file outside a control group, and `max` in one without a limit.
        with suppress(OSError, ValueError):
            allowed = int((folder / limit).read_text())
            used = int((folder / usage).read_text()) - _cache(folder)
            total, free = min(total, allowed), min(free, allowed - used)
    return Device("CPU", total, max(free, 0))


def _cache(folder: Path) -> int:
    """Bytes of a control group's memory that hold files, which the system gives back when they are needed."""
    rows = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    return int(rows.get("inactive_file", 0)) + int(rows.get("active_file", 0))


def gpus() -> list[Device]:
    """The GPUs that torch sees, in its order; none without CUDA."""
    found = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        found.append(Device(torch.cuda.get_device_name(number), total, free))
    return found
