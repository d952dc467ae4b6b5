"""Asks Ray for training processes: `python -m train.ray_driver SPEC.json`.

In: a spec, and `RAY_ADDRESS` where there is a cluster; else a Ray of this machine's own is started, and ends with this
process. Out: what the training processes write into the spec's folder; Ray's own records stay in `ray/` when it fails.

Known limits: Ray's workers train in a thread, where no signal arrives; they are asked to stop through the run folder.
"""

import logging
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
import torch
from ray.train import RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer

from train.launchers.base import JOB, OWNER, environment
from train.spec import LOG, Spec

RECORDS = "ray"


def main(arguments: list[str]) -> int:
    """Train the spec in Ray's workers; returns the exit code."""
    file = Path(arguments[-1]).resolve()
    spec = Spec.read(file)
    connect(spec)
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    on_gpu = spec.model.device != "cpu" and resources.get("GPU", 0) > 0
    trainer = TorchTrainer(
        train_in_worker,
        train_loop_config={"spec": str(file), "typed_in": str(Path.cwd())},
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=processes(spec), use_gpu=on_gpu),
        run_config=RunConfig(name="train", storage_path=str(file.parent / RECORDS)),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    shutil.rmtree(file.parent / RECORDS, ignore_errors=True)
    return 0


def connect(spec: Spec) -> None:
    """Find the cluster, or start one of this machine that has room for the processes, and nothing else."""
    names = [*environment(spec.train), OWNER, JOB]
    passed = {name: os.environ[name] for name in names if name in os.environ}
    address = os.environ.get("RAY_ADDRESS")
    # The controller of the training takes a place of its own.
    here: dict[str, Any] = {"address": address} if address else {"address": "local", "num_cpus": processes(spec) + 1}
    if not address:
        here |= {"include_dashboard": False, "num_gpus": torch.cuda.device_count()}
    ray.init(**here, runtime_env={"env_vars": passed}, logging_level=logging.WARNING, log_to_driver=False)


def processes(spec: Spec) -> int:
    """Training processes on all machines."""
    return spec.train.processes * spec.train.cluster.nodes


def train_in_worker(settings: dict[str, str]) -> None:
    """What each worker does; Ray has told torch its rank already.

    Raises:
        RuntimeError: training failed; the reason is in the run folder.
    """
    from train.run import work

    _as_if_typed_in(Path(settings["typed_in"]), Path(settings["spec"]).with_name(LOG))
    if code := work(Path(settings["spec"])):
        raise RuntimeError(f"the training process ended with {code}")


def _as_if_typed_in(folder: Path, log_file: Path) -> None:
    """Ray gives workers a folder of their own, and would show what they print mixed with its own complaints."""
    # On another machine it may not be there; paths in the settings then have to be absolute.
    with suppress(OSError):
        os.chdir(folder)
    output = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for number in (1, 2):
        os.dup2(output, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
