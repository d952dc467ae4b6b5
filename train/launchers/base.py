"""The contract of launchers: from a spec and its folder to what has to be run.

A launcher's file has `plan`, a pure function: it writes nothing and starts nothing. `train/launch.py` writes the files,
runs the command, follows the run folder and stops everything; `wellread train --dry-run` prints the plan instead. All
launchers start the same entry, `python -m train.run SPEC.json`.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from train.spec import SPEC, Spec

MODULE = "train.run"


@dataclass(frozen=True)
class Plan:
    """What a launcher would do.

    Attributes:
        command: what is run on this machine.
        environment: added to that of this process.
        files: name in the run folder -> text; written before the command is run.
        submits: whether the command only hands the job to a cluster, which runs it later.
    """

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    submits: bool = False


class Launcher(Protocol):
    """Makes the plan for the run in `folder`.

    Raises:
        ModelError: the launcher's program is not installed, or the settings do not suit it.
    """

    def __call__(self, spec: Spec, folder: Path) -> Plan: ...


def entry(folder: Path) -> list[str]:
    """The training process, as a module and its argument."""
    return [MODULE, str((folder / SPEC).resolve())]


def python() -> list[str]:
    """This interpreter, running a module."""
    return [sys.executable, "-m"]
