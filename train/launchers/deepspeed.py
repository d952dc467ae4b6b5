"""DeepSpeed's launcher; on several machines it reaches those of the hostfile by ssh, through pdsh.

DeepSpeed's configuration is generated from the settings (`train/zero.py`) by each training process; the plan has it as
a file that can be read. Known limit: `deepspeed` tells nobody that a process was killed by a signal, and ends with 0.
"""

import json
from pathlib import Path

from train.launchers.base import Plan, entry, environment, free_port, hosts, python
from train.ranks import PORT
from train.spec import Spec
from train.zero import FILE, deepspeed_config

HOSTFILE, ENVIRONMENT = "hostfile", "deepspeed.env"
DRIVER = Path("/proc/driver/nvidia/version")
INSTALL = "Install DeepSpeed and pdsh, on Debian with apt-get install pdsh"


def plan(spec: Spec, folder: Path) -> Plan:
    """`deepspeed` from this machine, on all machines of the hostfile."""
    settings = spec.train
    # Its programs understand a file that is not there as "this machine"; without one they would look in /job.
    hostfile = (folder / HOSTFILE).resolve()
    command = [*python(), "deepspeed.launcher.runner", "--hostfile", str(hostfile)]
    command += ["--num_gpus", str(settings.processes)]
    script = ["--no_local_rank", "--module", *entry(folder)]
    files = {FILE: json.dumps(deepspeed_config(settings, on_gpu=_has_gpu(spec)), indent=2) + "\n"}
    if settings.cluster.nodes == 1:
        meeting = ["--master_addr", "127.0.0.1", "--master_port", str(free_port())]
        return Plan([*command, *meeting, *script], files=files, package="deepspeed", install=INSTALL)
    machines = hosts(spec)
    named, _, port = settings.cluster.rendezvous.rpartition(":")
    meeting = ["--master_addr", named or machines[0].name, "--master_port", port or PORT]
    files[HOSTFILE] = "".join(f"{machine.name} slots={settings.processes}\n" for machine in machines)
    # The runner passes on PYTHON*, and what it finds in this file.
    files[ENVIRONMENT] = "".join(f"{name}={value}\n" for name, value in environment(settings).items())
    return Plan(
        [*command, *meeting, *script],
        {"DS_ENV_FILE": str((folder / ENVIRONMENT).resolve())},
        files,
        package="deepspeed",
        needs=("pdsh",),
        install=INSTALL,
    )


def _has_gpu(spec: Spec) -> bool:
    # Asking torch would take seconds.
    return spec.model.device != "cpu" and DRIVER.exists()
