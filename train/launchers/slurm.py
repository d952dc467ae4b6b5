"""Slurm: a batch script for `sbatch`; inside a job of as many machines, the training itself, through `srun`.

In the job, `python -m train.job` follows the training like that of any other launcher: a stalled process is found, and
what ends too early is said. Shortly before its time is over the training makes a checkpoint and the job goes back into
the queue; the same happens when a machine fails. `torchrun` starts the processes of each machine.

Known limits: wellread and the workspace must be at the same paths on all machines; a job asks for whole machines'
processes through `cluster.cpus`, `memory` and `gpus`, and for nothing else (`SBATCH_*` variables add what is missing).
"""

import os
import shlex
import subprocess
from pathlib import Path

from configs.errors import ModelError
from configs.training import TrainSettings
from train.launchers.base import Plan, entry, environment, job_name, python
from train.ranks import PORT
from train.spec import LOG, Spec

SCRIPT = "slurm.sh"
NOTICE_S = 120  # before the time is over: for the step under way and its checkpoint
INSTALL = "Run it on a login node of the cluster, or choose another train.launcher"


def plan(spec: Spec, folder: Path) -> Plan:
    """`sbatch` of a script that is written into the run folder; `srun` where this is such a job already."""
    settings = spec.train
    if os.environ.get("SLURM_JOB_NUM_NODES") == str(settings.cluster.nodes):
        return Plan(_srun(settings, folder), needs=("scontrol",), install=INSTALL)
    name = job_name(folder)
    return Plan(
        ["sbatch", "--parsable", str((folder / SCRIPT).resolve())],
        files={SCRIPT: script(spec, folder)},
        submits=True,
        install=INSTALL,
        state=["squeue", "--noheader", "--me", "--name", name, "--format", "job %i is %T"],
    )


def script(spec: Spec, folder: Path) -> str:
    """The batch script."""
    lines = ["#!/bin/bash", *(f"#SBATCH --{option}" for option in _options(spec.train, folder))]
    exports = {name: value for name, value in environment(spec.train).items() if name != "OMP_NUM_THREADS"}
    processes = spec.train.processes
    lines += [
        # Of the machine that the job runs on, not of the one that it is sent from.
        f"threads=$(( (${{SLURM_CPUS_ON_NODE:-1}} + {processes - 1}) / {processes} ))",
        "export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$threads}",
        *(f"export {name}={shlex.quote(value)}" for name, value in exports.items()),
        f"exec {shlex.join([*python(), 'train.job', *entry(folder)[1:]])}",
    ]
    return "\n".join(lines) + "\n"


def _options(settings: TrainSettings, folder: Path) -> list[str]:
    cluster = settings.cluster
    # It replaces what follows a per cent sign.
    log = str((folder / LOG).resolve()).replace("%", "%%")
    return [
        f"job-name={shlex.quote(job_name(folder))}",
        f"nodes={cluster.nodes}",
        "ntasks-per-node=1",
        *([f"cpus-per-task={cluster.cpus}"] if cluster.cpus else []),
        *([f"mem={cluster.memory}"] if cluster.memory else []),
        *([f"gpus-per-node={cluster.gpus}"] if cluster.gpus else []),
        *([f"partition={cluster.partition}"] if cluster.partition else []),
        f"time={cluster.time}",
        f"output={shlex.quote(log)}",
        "open-mode=append",
        "requeue",
        # To the script alone, which becomes `train.job`. SIGTERM would not say why.
        f"signal=B:USR1@{NOTICE_S}",
    ]


def _srun(settings: TrainSettings, folder: Path) -> list[str]:
    nodes = str(settings.cluster.nodes)
    run = ["srun", f"--nodes={nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    # A task would be tied to one core; Slurm does not hand on --cpus-per-task by itself.
    run += ["--cpu-bind=none", *([f"--cpus-per-task={settings.cluster.cpus}"] if settings.cluster.cpus else [])]
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{_first_host()}:{_port(settings)}"]
    meeting += ["--rdzv-id", f"{job_name(folder)}-{os.environ.get('SLURM_JOB_ID', '')}"]
    options = ["--nnodes", nodes, "--nproc-per-node", str(settings.processes)]
    options += ["--max-restarts", str(settings.max_restarts)]
    return [*run, *python(), "torch.distributed.run", *options, *meeting, "--module", *entry(folder)]


def _first_host() -> str:
    """The first machine of this job, where the processes meet.

    Raises:
        ModelError: Slurm does not say.
    """
    command = ["scontrol", "show", "hostnames", os.environ.get("SLURM_JOB_NODELIST", "")]
    try:
        names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        raise ModelError(f"Slurm does not name the machines of this job: {error}", INSTALL) from None
    if not names:
        raise ModelError("Slurm names no machine for this job", INSTALL)
    return names[0]


def _port(settings: TrainSettings) -> str:
    if port := settings.cluster.rendezvous.rpartition(":")[2]:
        return port
    # Jobs that share a machine get ports of their own.
    return str(int(PORT) + int(os.environ.get("SLURM_JOB_ID", "0")) % 1000)
