"""Ray Train: data-parallel training by workers of a Ray cluster; `RAY_ADDRESS` names it, else one is started here.

`train/ray_driver.py` is the program that asks Ray for the workers. Known limit: on another machine, wellread and the
run folder must be at the same paths.
"""

from pathlib import Path

from train.launchers.base import Plan, entry, python
from train.spec import Spec

ENVIRONMENT = {
    # Nothing is told to Ray's makers.
    "RAY_USAGE_STATS_ENABLED": "0",
    # What workers print is printed once.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # A worker imports torch before it counts as started, which takes more than Ray's minute on a busy machine.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
}


def plan(spec: Spec, folder: Path) -> Plan:  # noqa: ARG001  # launchers share one signature
    """The driver on this machine."""
    command = [*python(), "train.ray_driver", *entry(folder)[1:]]
    return Plan(command, ENVIRONMENT, package="ray", install="Install it with pip install 'wellread[ray]'")
