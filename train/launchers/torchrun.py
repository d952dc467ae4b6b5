"""PyTorch's own launcher: data-parallel training, restarted as a whole when a process dies.

On several machines the same command is typed on each; they meet at `cluster.rendezvous`.
"""

import socket
from contextlib import suppress
from pathlib import Path

import psutil

from configs.errors import ModelError
from configs.training import TrainSettings
from train.launchers.base import Plan, entry, job_name, python
from train.spec import Spec


def plan(spec: Spec, folder: Path) -> Plan:
    """`torchrun` on this machine."""
    settings = spec.train
    options = ["--nproc-per-node", str(settings.processes), "--max-restarts", str(settings.max_restarts)]
    meeting = _rendezvous(settings, folder) if settings.cluster.nodes > 1 else ["--standalone"]
    # The store that torch 2.13 shares with the processes keeps the addresses of those that died: started again, the new
    # ones would wait for them for ever.
    environment = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    return Plan([*python(), "torch.distributed.run", *meeting, *options, "--module", *entry(folder)], environment)


def joins(settings: TrainSettings) -> bool:
    """Whether another machine leads the run: this one is not that of `cluster.rendezvous`."""
    if settings.launcher != "torchrun" or settings.cluster.nodes == 1:
        return False
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    with suppress(OSError):
        found = socket.getaddrinfo(settings.cluster.rendezvous.rpartition(":")[0], None)
        # Debian gives a machine's own name the address 127.0.1.1.
        return not any(str(address[0]) in own or str(address[0]).startswith("127.") for *_, address in found)
    return True


def _rendezvous(settings: TrainSettings, folder: Path) -> list[str]:
    where = settings.cluster.rendezvous
    if not where.rpartition(":")[2].isdigit():
        raise ModelError(
            f"train.cluster.nodes is {settings.cluster.nodes}, but train.cluster.rendezvous is {where!r}",
            "Set it to host:port of the first machine, for example node1:29400, in the settings of all machines",
        )
    # The version's name: the same on all machines, and another one for another run.
    run = job_name(folder)
    nodes = ["--nnodes", str(settings.cluster.nodes)]
    return [*nodes, "--rdzv-backend", "c10d", "--rdzv-endpoint", where, "--rdzv-id", run]
