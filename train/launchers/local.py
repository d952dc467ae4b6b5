"""One process on this machine."""

from pathlib import Path

from train.launchers.base import Plan, entry, python
from train.spec import Spec


def plan(spec: Spec, folder: Path) -> Plan:  # noqa: ARG001  # launchers share one signature
    """The training process itself."""
    return Plan([*python(), *entry(folder)])
