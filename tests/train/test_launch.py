"""Real training processes on the tiny model: alone, killed and resumed, under torchrun, under deepspeed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from configs.errors import ModelError
from configs.training import TrainSettings
from train.launch import last_error, launch, planned
from train.model import load_model
from train.record import engine_problem
from train.rows import example_rows
from train.run import OWNER, check_launcher
from train.spec import CHECKPOINTS, COMPLETE, FIGURES, LOG, PROGRESS, SPEC, Spec, read_progress


def run(folder: Path) -> list[float]:
    seen: list[tuple[str, int, int | None]] = []
    launch(folder, lambda *what: seen.append(what))
    assert seen[-1] == ("train", len(seen), len(seen))
    return losses(folder)


def losses(folder: Path) -> list[float]:
    rows = read_progress(folder / PROGRESS)
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["loss"] for row in rows]


@pytest.fixture(scope="module")
def alone(make_run_in, tmp_path_factory) -> Path:
    """An unbroken run in one process, which the others are compared with."""
    folder = make_run_in(tmp_path_factory.mktemp("alone"), "run")
    run(folder)
    return folder


@pytest.mark.slow
def test_a_dozen_steps_lower_the_loss_and_leave_an_adapter_without_pickles(alone, tiny) -> None:
    curve = losses(alone)
    assert len(curve) == 12
    assert sum(curve[-3:]) < sum(curve[:3]) - 0.5
    figures = json.loads((alone / FIGURES).read_text())
    assert figures["used"] == 16
    assert figures["checked_rows"] >= 48  # the loader reads one batch ahead
    config = json.loads((alone / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny)
    assert not [*(alone / "adapter").glob("*.bin"), *(alone / "adapter").glob("*.pt")]
    assert load_model(str(tiny), "cpu", adapter=alone / "adapter").model.active_adapters == ["default"]


@pytest.mark.slow
def test_a_killed_run_resumes_with_the_losses_of_an_unbroken_one(make_run, alone) -> None:
    folder = make_run("killed")
    process = subprocess.Popen(
        [sys.executable, "-m", "train.run", str(folder / SPEC)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for(folder / CHECKPOINTS / "checkpoint-6" / COMPLETE)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # What a kill in the middle of saving leaves: a newer checkpoint without its mark.
    (folder / CHECKPOINTS / "checkpoint-9").mkdir(exist_ok=True)
    (folder / CHECKPOINTS / "checkpoint-9" / COMPLETE).unlink(missing_ok=True)
    assert run(folder) == pytest.approx(losses(alone), abs=1e-5)
    assert "resuming at step 6" in (folder / LOG).read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "engine"), [("torchrun", "DistributedDataParallel"), ("deepspeed", "DeepSpeedEngine")]
)
def test_two_processes_train_like_one(make_run, alone, launcher: str, engine: str) -> None:
    folder = make_run("two", batch_size=2, launcher=launcher, processes=2)
    assert run(folder) == pytest.approx(losses(alone), abs=1e-3)
    assert (folder / LOG).read_text().count(f"engine {engine}") == 2
    assert (folder / "adapter" / "adapter_model.safetensors").exists()


@pytest.mark.slow
def test_ctrl_c_stops_every_process(make_run) -> None:
    folder = make_run(max_steps=100_000, save_steps=100_000)
    script = (
        "import sys; from pathlib import Path; from train.launch import launch\n"
        "try: launch(Path(sys.argv[1]), lambda *_: None)\n"
        "except KeyboardInterrupt: sys.exit(130)"
    )
    launcher = subprocess.Popen([sys.executable, "-c", script, str(folder)])
    wait_for(folder / PROGRESS)
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(60) == 130
    done = len(losses(folder))
    time.sleep(1)
    assert len(losses(folder)) == done


def test_a_process_whose_launcher_was_killed_ends() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    script = "import time; from train.run import stop_with_owner; stop_with_owner(); time.sleep(60)"
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, OWNER: str(gone.pid)}, check=False)
    assert done.returncode == 1


def test_a_process_that_fails_is_one_line(make_run, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ModelError, match=r"'local' with 1 process.* but WORLD_SIZE is 3"):
        launch(make_run(), lambda *_: None)


def test_examples_that_all_are_too_long_are_one_line(examples, tiny) -> None:
    with pytest.raises(ModelError, match="all 16 training examples are longer than 64 tokens"):
        example_rows(examples, load_model(str(tiny), "cpu"), 64)


def test_a_launcher_that_did_not_start_this_process_is_refused() -> None:
    with pytest.raises(ModelError, match=r"'torchrun' with 2 process.* but WORLD_SIZE is 1"):
        check_launcher(TrainSettings(launcher="torchrun", processes=2), {})
    check_launcher(TrainSettings(launcher="torchrun", processes=2), {"WORLD_SIZE": "2"})
    check_launcher(TrainSettings(), {})


def test_an_engine_that_was_not_asked_for_is_refused() -> None:
    plain = torch.nn.Linear(1, 1)
    assert engine_problem(plain, TrainSettings()) == ""
    assert "1 process(es) train, not 2" in engine_problem(plain, TrainSettings(launcher="torchrun", processes=2))
    assert "the engine is Linear, not DeepSpeed" in engine_problem(plain, TrainSettings(launcher="deepspeed"))


def test_a_broken_spec_is_one_line(tmp_path) -> None:
    (tmp_path / SPEC).write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "train.run", str(tmp_path / SPEC)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("ModelError:")
    assert "Traceback" not in done.stderr


def test_commands_name_the_launcher(make_run, tmp_path) -> None:
    single = planned(Spec.read(make_run("one") / SPEC), tmp_path).command
    assert single[1:3] == ["-m", "train.run"]
    torchrun = planned(Spec.read(make_run("two", launcher="torchrun", processes=3) / SPEC), tmp_path).command
    assert "torch.distributed.run" in torchrun


def test_the_last_error_is_the_workers_own(tmp_path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "starting\n[rank1]: RuntimeError: out of memory\n"
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n====\n"
    )
    assert last_error(log) == "RuntimeError: out of memory"
    log.write_text("only this\n")
    assert last_error(log) == "only this"


def wait_for(path: Path, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)
