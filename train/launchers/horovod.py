"""Horovod's `horovodrun`, over gloo; on several machines it reaches those of the hostfile by ssh.

`train/horovod.py` is what averages the gradients. Known limit: the processes meet on a port of the first machine, which
must be free there (`cluster.rendezvous` chooses one).
"""

from pathlib import Path

from train.launchers.base import Plan, entry, free_port, hosts, python
from train.ranks import PORT
from train.spec import Spec

INSTALL = "Run `make horovod`, which builds it for this torch (three minutes; it needs a compiler)"


def plan(spec: Spec, folder: Path) -> Plan:
    """`horovodrun` from this machine, on all machines of the hostfile."""
    settings = spec.train
    several = settings.cluster.nodes > 1
    machines = hosts(spec)
    named, _, port = (settings.cluster.rendezvous if several else "").rpartition(":")
    # It gives its own environment to the processes, on other machines too.
    meeting = {
        "MASTER_ADDR": named or (machines[0].name if several else "127.0.0.1"),
        "MASTER_PORT": (port or PORT) if several else str(free_port()),
    }
    slots = ",".join(f"{machine.name}:{settings.processes}" for machine in machines)
    command = [*python(), "horovod.runner.launch", "--gloo", "-np", str(settings.processes * settings.cluster.nodes)]
    return Plan([*command, "-H", slots, *python(), *entry(folder)], meeting, package="horovod", install=INSTALL)
