"""PyTorch's own launcher: data-parallel training, restarted as a whole when a process dies."""

from pathlib import Path

from train.launchers.base import Plan, entry, python
from train.spec import Spec


def plan(spec: Spec, folder: Path) -> Plan:
    """`torchrun` on this machine."""
    settings = spec.train
    options = ["--standalone", "--nproc-per-node", str(settings.processes), "--module"]
    return Plan([*python(), "torch.distributed.run", *options, *entry(folder)])
