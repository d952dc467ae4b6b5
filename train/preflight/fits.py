"""Compares what training needs with what the devices have.

In: a spec, the model's outline, rows and devices. Out: the estimate, one line about it, and a warning where it is
tight; an error that names settings which would fit where it is too much.
"""

from collections.abc import Sequence

from configs.errors import ModelError
from configs.training import TrainSettings
from train.hardware import Chosen
from train.methods.base import adapter_config
from train.model import LoadedModel
from train.preflight.data import Data
from train.preflight.devices import Device, cpu
from train.preflight.fitting import MARGIN, proposals
from train.preflight.memory import Memory, Setup, Shape, estimate
from train.preflight.outline import shape_of
from train.spec import Spec
from train.zero import uses_deepspeed


def check_memory(
    spec: Spec, outline: LoadedModel, chosen: Chosen, data: Data, devices: Sequence[Device]
) -> tuple[Memory, str, str]:
    """The estimate for one device, that in words, and a warning or an empty text.

    Raises:
        ModelError: even `MARGIN` less than the estimate is more than a device has free.
    """
    shape = shape_of(outline, adapter_config(spec.train.lora))
    setup = setup_of(spec, chosen, data)
    memory = estimate(shape, setup)
    if not devices:
        return memory, f"training takes about {gigabytes(memory.total)} on each device", ""
    free = min(device.free for device in devices)
    # Processes on CPUs share the machine's memory; a GPU has one process.
    share = free if chosen.on_gpu else free // spec.train.processes
    where = f"on each {devices[0].name}" if chosen.on_gpu else "in each process"
    told = f"training takes about {gigabytes(memory.total)} {where}, of {gigabytes(share)} free"
    if memory.total <= share and _host_fits(memory, spec.train):
        return memory, told, ""
    line = f"{told} ({readable(memory)})"
    would = would_fit(shape, setup, share, spec.train)
    if memory.total * (1 - MARGIN) > share or not _host_fits(memory, spec.train):
        raise ModelError(f"out of memory foreseen: {line}", would)
    return memory, told, f"memory may not suffice: {line}. {would}"


def setup_of(spec: Spec, chosen: Chosen, data: Data) -> Setup:
    """What decides the memory, from the settings and the rows."""
    train = spec.train
    pairs = train.objective in ("dpo", "ipo")
    packed = train.packing or train.objective == "pretrain"
    half = chosen.precision != "float32"
    return Setup(
        method=train.method,
        rows=train.batch_size * (2 if pairs else 1),
        tokens=data.limit if packed else max(data.fitting),
        answers=2 if pairs else 1,
        accumulate=train.accumulate,
        frozen_bytes=4 if chosen.weights == "float32" else 2,
        half=half,
        checkpointing=chosen.checkpointing,
        attention=chosen.attention,
        processes=train.processes * train.cluster.nodes,
        zero=train.deepspeed.stage if uses_deepspeed(train) else 0,
        offload=train.deepspeed.offload if uses_deepspeed(train) else "off",
        on_gpu=chosen.on_gpu,
        reference=pairs and train.method == "full",
    )


def would_fit(shape: Shape, setup: Setup, free: int, train: TrainSettings) -> str:
    """The remedy: settings that fit."""
    found = proposals(shape, setup, free, train.launcher, train.processes)
    if not found:
        return "No settings of train fit: choose a smaller model, or a larger machine"
    return "These fit: " + "; or ".join(f"{one.change} ({gigabytes(one.memory.total)})" for one in found)


def gigabytes(size: int) -> str:
    """Bytes for people, in units of 10^9."""
    return f"{size / 1e9:.1f} GB" if size >= 100_000_000 else f"{size / 1e6:.0f} MB"


def readable(memory: Memory) -> str:
    """The parts in one line, largest first."""
    parts = sorted(memory.parts().items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {gigabytes(size)}" for name, size in parts if size >= 10_000_000)


def _host_fits(memory: Memory, train: TrainSettings) -> bool:
    """Whether what DeepSpeed moves into the machine's memory has room there."""
    return memory.host * train.processes <= cpu().free
