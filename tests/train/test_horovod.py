"""Two processes under Horovod on the tiny model, beside the same training in one process."""

import math
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from configs.errors import ModelError
from configs.training import TrainSettings
from tests.train.test_steady import plant  # noqa: F401  # a fixture
from train.badsteps import bad_steps, suspects
from train.horovod import HorovodMixin, mixed, optimizer_problem
from train.launch import last_error, launch, planned
from train.launchers.base import missing
from train.spec import CHECKPOINTS, COMPLETE, LOG, PROGRESS, SPEC, Spec, read_progress
from train.watchdog import read_beat

# One example gives a loss of NaN, in every fourth step.
STEPS = {"max_steps": 12, "save_steps": 3, "accumulate": 2, "precision": "float32"}


def quiet(*_: object) -> None:
    pass


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_progress(folder / PROGRESS)]


def launch_and_kill(folder: Path, checkpoint: int) -> str:
    """Kill the second process once there is that checkpoint; returns what the launch says."""
    said: list[str] = []

    def start() -> None:
        try:
            launch(folder, quiet)
        except ModelError as error:
            said.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    while not (folder / CHECKPOINTS / f"checkpoint-{checkpoint}" / COMPLETE).exists():
        assert thread.is_alive(), said
        time.sleep(0.02)
    beat = read_beat(folder, 1)
    assert beat
    os.kill(beat["pid"], signal.SIGKILL)
    thread.join()
    return said[0]


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_through_a_bad_step_a_kill_and_a_resume(plant, tmp_path) -> None:  # noqa: F811
    alone = plant(tmp_path / "one", batch_size=2, **STEPS)
    launch(alone, quiet)
    folder = plant(tmp_path / "two", batch_size=1, launcher="horovod", processes=2, **STEPS)
    assert "a training process" in launch_and_kill(folder, 6)
    launch(folder, quiet)
    assert losses(folder) == pytest.approx(losses(alone), rel=1e-3, nan_ok=True)
    assert [math.isnan(loss) for loss in losses(alone)].count(True) == 3
    assert any(f"resuming at step {step}" in (folder / LOG).read_text() for step in (6, 9))
    # Both processes were asked, and only the one with the planted example had a bad loss.
    steps = [row["step"] for row in bad_steps(alone)]
    assert [row["step"] for row in bad_steps(folder)] == steps
    for ours, theirs in zip(bad_steps(folder), bad_steps(alone), strict=True):
        assert len(ours["processes"]) == 2
        assert set(suspects(ours)) < set(suspects(theirs))


def test_the_command_names_each_machine_and_where_they_meet(make_run, tmp_path) -> None:
    here = planned(Spec.read(make_run("here", launcher="horovod", processes=2) / SPEC), tmp_path)
    assert here.command[1:8] == ["-m", "horovod.runner.launch", "--gloo", "-np", "2", "-H", "localhost:2"]
    assert here.environment["MASTER_ADDR"] == "127.0.0.1"
    hostfile = tmp_path / "hosts"
    hostfile.write_text("# two machines\na slots=2\nb slots=2\n")
    cluster = {"nodes": 2, "hostfile": hostfile}
    there = planned(Spec.read(make_run("there", launcher="horovod", processes=2, cluster=cluster) / SPEC), tmp_path)
    assert there.command[5:8] == ["4", "-H", "a:2,b:2"]
    assert there.environment == {"MASTER_ADDR": "a", "MASTER_PORT": "29400"}
    # Both run the entry that every launcher runs.
    assert here.command[-2:] == ["train.run", str(tmp_path / SPEC)] == there.command[-2:]


def test_where_horovod_is_missing_one_line_says_what_to_run(make_run, tmp_path) -> None:
    plan = planned(Spec.read(make_run(launcher="horovod", processes=2) / SPEC), tmp_path)
    assert plan.package == "horovod"
    assert not missing(plan)
    assert "make horovod" in plan.install


def test_only_horovods_launcher_mixes_it_in() -> None:
    class Trainer:
        pass

    assert mixed(Trainer, TrainSettings()) is Trainer
    found = mixed(Trainer, TrainSettings(launcher="horovod"))
    assert found.__mro__[:3] == (found, HorovodMixin, Trainer)


def test_an_optimizer_that_reduces_nothing_is_refused() -> None:
    plain = torch.optim.AdamW(torch.nn.Linear(1, 1).parameters())
    assert optimizer_problem(plain, 2) == "the optimizer is AdamW, not Horovod's"


def test_the_last_error_is_the_process_own() -> None:
    text = (
        "[1]<stderr>:ValueError: no room\n[0]<stdout>:step 1\n"
        "RuntimeError: Horovod detected that one or more processes exited with non-zero status\n"
    )
    assert last_error(text) == "ValueError: no room"
