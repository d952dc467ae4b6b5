"""The contract of launchers: from a spec and its folder to what has to be run.

A launcher's file has `plan`, a pure function: it writes nothing and starts nothing. `train/launch.py` writes the files,
runs the command, follows the run folder and stops everything; `wellread train --dry-run` prints the plan instead. All
launchers start the same entry, `python -m train.run SPEC.json`.
"""

import importlib.util
import os
import shutil
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from configs.errors import ModelError
from configs.training import TrainSettings
from train.spec import SPEC, Spec

MODULE = "train.run"
# Set by `train/launch.py` for each training process: the process that follows the run, as host:pid, so that no training
# process outlives it; and a name of this start, by which all its processes are found.
OWNER, JOB = "WELLREAD_TRAIN_OWNER", "WELLREAD_TRAIN_JOB"
PASSED_IF_SET = ("HF_HOME", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "NCCL_DEBUG", "NCCL_SOCKET_IFNAME")


@dataclass(frozen=True)
class Plan:
    """What a launcher would do.

    Attributes:
        command: what is run on this machine; its first word is a program, by name or path.
        environment: added to that of this process.
        files: name in the run folder -> text; written before the command is run.
        submits: whether the command only hands the job to a cluster, which runs it later (`train/submit.py`).
        state: of such a job, the command that says how it is doing; it says nothing where there is no job.
        package: Python package that the command needs.
        needs: programs that it needs besides the first word.
        install: the sentence that says how to install what is missing of them.
    """

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    submits: bool = False
    state: list[str] = field(default_factory=list)
    package: str = ""
    needs: tuple[str, ...] = ()
    install: str = ""


class Launcher(Protocol):
    """Makes the plan for the run in `folder`.

    Raises:
        ModelError: the settings do not suit the launcher. (What is not installed is found by `missing`.)
    """

    def __call__(self, spec: Spec, folder: Path) -> Plan: ...


class Host(NamedTuple):
    """A machine, and how many processes it may start."""

    name: str
    slots: int


def entry(folder: Path) -> list[str]:
    """The training process, as a module and its argument."""
    return [MODULE, str((folder / SPEC).resolve())]


def job_name(folder: Path) -> str:
    """The version's name: the same for every start of one run, on every machine."""
    return f"wellread-{folder.resolve().name.removeprefix('.partial-')}"


def python() -> list[str]:
    """This interpreter, running a module."""
    return [sys.executable, "-m"]


def environment(settings: TrainSettings) -> dict[str, str]:
    """What every training process needs in its environment, whatever starts it; what the user has set goes before."""
    threads = max(1, (os.cpu_count() or 1) // settings.processes)
    defaults = {
        "OMP_NUM_THREADS": str(threads),
        # Spinning threads of several processes take the cores from each other.
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
    }
    here = str(Path(__file__).parents[2])
    return {
        **{name: os.environ.get(name, value) for name, value in defaults.items()},
        # The folder that a command is typed in may hold a `train` of its own.
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")])),
    }


def passed(settings: TrainSettings) -> list[str]:
    """Names of the variables that a launcher has to pass on to other machines, where it does not pass on all."""
    return [*environment(settings), OWNER, JOB, *(name for name in PASSED_IF_SET if name in os.environ)]


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def missing(plan: Plan) -> str:
    """What of the plan is not installed on this machine; empty when all is there."""
    for program in (plan.command[0], *plan.needs):
        if not shutil.which(program):
            return f"the program {program}"
    if plan.package and importlib.util.find_spec(plan.package) is None:
        return f"the Python package {plan.package}"
    return ""


def hosts(spec: Spec) -> list[Host]:
    """The machines of the hostfile, or this one where there is none.

    Raises:
        ModelError: the hostfile cannot be read, or does not fit `cluster.nodes`.
    """
    settings = spec.train
    file, nodes = settings.cluster.hostfile, settings.cluster.nodes
    if file is None:
        if nodes > 1:
            raise ModelError(
                f"train.cluster.nodes is {nodes}, but no train.cluster.hostfile lists them",
                "Write a file with a line `name slots=4` for each machine and name it there",
            )
        return [Host("localhost", settings.processes)]
    found = _read_hosts(file, settings.processes)
    if len(found) != nodes:
        raise ModelError(f"{file} lists {len(found)} machine(s), but train.cluster.nodes is {nodes}", "Make them agree")
    return found


def _read_hosts(file: Path, default: int) -> list[Host]:
    try:
        lines = [line.partition("#")[0].split() for line in file.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise ModelError(f"cannot read the hostfile {file}: {error.strerror}", "See train.cluster.hostfile") from None
    return [_host(words, file, default) for words in lines if words]


def _host(words: list[str], file: Path, default: int) -> Host:
    name, *options = words
    slots = next((option.removeprefix("slots=") for option in options if option.startswith("slots=")), str(default))
    if not slots.isdigit() or slots == "0":
        raise ModelError(f"{file}: {' '.join(words)!r} is not a machine", "Write `name slots=4`")
    return Host(name, int(slots))
