"""DeepSpeed's launcher."""

import socket
from pathlib import Path

from train.launchers.base import Plan, entry, python
from train.spec import Spec


def plan(spec: Spec, folder: Path) -> Plan:
    """`deepspeed` on this machine."""
    count = str(spec.train.processes)
    options = ["--num_gpus", count, "--master_addr", "127.0.0.1", "--master_port", str(free_port())]
    return Plan([*python(), "deepspeed.launcher.runner", *options, "--no_local_rank", "--module", *entry(folder)])


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
