"""Open MPI's `mpirun`: data-parallel training; MPI starts the processes, torch's own backends move the gradients.

`train/ranks.py` tells each process which one it is. Known limit: the options are those of Open MPI 4 and 5; other MPIs
can start `python -m train.run` by hand, since their variables are understood too.
"""

import os
from pathlib import Path

import psutil

from train.launchers.base import Plan, entry, free_port, hosts, passed, python
from train.ranks import PORT
from train.spec import Spec


def plan(spec: Spec, folder: Path) -> Plan:
    """`mpirun` from this machine, on all machines of the hostfile."""
    settings = spec.train
    several = settings.cluster.nodes > 1
    named, _, port = (settings.cluster.rendezvous if several else "").rpartition(":")
    meeting = {
        "MASTER_ADDR": named or (hosts(spec)[0].name if several else "127.0.0.1"),
        "MASTER_PORT": (port or PORT) if several else str(free_port()),
    }
    options = ["-np", str(settings.processes * settings.cluster.nodes), *_placement(spec)]
    exports = [word for name in (*meeting, *passed(settings)) for word in ("-x", name)]
    command = ["mpirun", *options, *exports, *python(), *entry(folder)]
    return Plan(command, meeting, install="Install Open MPI, on Debian with apt-get install openmpi-bin")


def _placement(spec: Spec) -> list[str]:
    settings = spec.train
    machines = hosts(spec)
    file = settings.cluster.hostfile
    # Without a hostfile, a slot is a core that this process may use.
    slots = min(machine.slots for machine in machines) if file else _cores()
    per_node = f"ppr:{settings.processes}:node" + (":OVERSUBSCRIBE" if slots < settings.processes else "")
    return [
        # It refuses to run as root without being told, which is what containers do.
        *(["--allow-run-as-root"] if os.geteuid() == 0 else []),
        *(["--hostfile", str(file.resolve())] if file else []),
        *("--map-by", per_node),
        # It would tie each process to one core, and torch's threads with it.
        *("--bind-to", "none"),
    ]


def _cores() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, psutil.cpu_count(logical=False) or usable)
