"""Runs that are killed, stopped, or out of disk go on as if nothing had been: the same examples, the same losses."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from configs.artifacts import Made, Workspace
from configs.errors import ArtifactError, ModelError
from configs.training import ModelSettings, TrainSettings
from tests.train.test_stages import make_config
from train.launch import launch
from train.saving import check_fits, clear_unfinished, complete_checkpoints, delete_old, last_checkpoint, mark_complete
from train.settings import deciding, training_settings
from train.spec import (
    CHECKPOINTS,
    COMPLETE,
    ERROR,
    FIGURES,
    LOG,
    ORDER,
    PROGRESS,
    SPEC,
    Spec,
    forget_after,
    read_lines,
    read_measured,
    read_progress,
)
from train.stage import run_train
from train.unfinished import warn_of_alike
from train.unpickled import read_deepspeed_safely

TWO = {"launcher": "torchrun", "processes": 2, "batch_size": 2}


def quiet(*_: object) -> None:
    pass


def curve(folder: Path) -> list[float]:
    rows = read_progress(folder / PROGRESS)
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["loss"] for row in rows]


def order(folder: Path, process: int = 0) -> list[list[str]]:
    return [row["ids"] for row in read_lines(folder / ORDER.format(process=process))]


def start(folder: Path, before: str = "") -> subprocess.Popen[bytes]:
    """One training process, without a launcher."""
    script = f"import sys; {before}\nfrom train.run import main; sys.exit(main(sys.argv))"
    with (folder / LOG).open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", script, str(folder / SPEC)], stdout=log, stderr=log)


def wait_for(path: Path, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def alone(make_run_in, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unbroken run in one process, measured on the way."""
    folder = make_run_in(tmp_path_factory.mktemp("alone"), watch={"eval_steps": 5, "eval_examples": 4})
    launch(folder, quiet)
    return folder


@pytest.fixture(scope="module")
def both(make_run_in, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unbroken run in two processes."""
    folder = make_run_in(tmp_path_factory.mktemp("both"), **TWO)
    launch(folder, quiet)
    return folder


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_examples_and_losses(make_run, alone: Path) -> None:
    folder = make_run()
    process = start(folder)
    wait_for(folder / CHECKPOINTS / "checkpoint-6" / COMPLETE)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # What a kill leaves in the middle of saving, and what a disk leaves that loses the end of a file.
    (folder / CHECKPOINTS / "checkpoint-99").mkdir()
    cut = folder / CHECKPOINTS / "checkpoint-98"
    shutil.copytree(folder / CHECKPOINTS / "checkpoint-6", cut)
    (cut / "optimizer.pt").write_bytes((cut / "optimizer.pt").read_bytes()[:-1])
    launch(folder, quiet)
    assert "resuming at step 6" in (folder / LOG).read_text() or "resuming at step 9" in (folder / LOG).read_text()
    # Being measured, as the unbroken run was, changes nothing about the steps.
    assert curve(folder) == pytest.approx(curve(alone), abs=1e-6)
    assert order(folder) == order(alone)
    assert sorted(path.name for path in (folder / CHECKPOINTS).glob("checkpoint-*")) == [
        "checkpoint-12",
        "checkpoint-9",
    ]


@pytest.mark.slow
def test_torchrun_starts_again_when_one_of_two_processes_is_killed(make_run, both: Path) -> None:
    folder = make_run(max_restarts=1, **TWO)
    killed: list[int] = []

    def kill(_what: str, done: int, _total: int | None) -> None:
        if done >= 4 and not killed:
            beat = json.loads((folder / "ranks" / "1.json").read_text())
            killed.append(beat["pid"])
            psutil.Process(beat["pid"]).kill()

    launch(folder, kill)
    assert (folder / LOG).read_text().count("resuming at step 0") == 2
    assert "resuming at step 3" in (folder / LOG).read_text() or "resuming at step 6" in (folder / LOG).read_text()
    assert curve(folder) == pytest.approx(curve(both), abs=1e-6)
    assert [order(folder, process) for process in (0, 1)] == [order(both, process) for process in (0, 1)]


@pytest.mark.slow
def test_a_checkpoint_of_two_processes_is_continued_by_one(make_run, both: Path, alone: Path) -> None:
    folder = make_run(batch_size=4)
    shutil.copytree(both / CHECKPOINTS / "checkpoint-9", folder / CHECKPOINTS / "checkpoint-9")
    shutil.copy(both / PROGRESS, folder / PROGRESS)
    launch(folder, quiet)
    assert curve(folder) == pytest.approx(curve(alone), abs=1e-3)
    assert order(folder) == order(alone)[9:]


@pytest.mark.slow
def test_sigterm_leaves_a_checkpoint_of_the_step_that_was_under_way(make_run, alone: Path) -> None:
    folder = make_run(save_steps=100)
    process = start(folder)
    wait_for(folder / PROGRESS)
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 1
    said = json.loads((folder / ERROR).read_text())
    last = last_checkpoint(folder / CHECKPOINTS)
    assert last is not None
    step = last.name.removeprefix("checkpoint-")
    assert said["problem"] == f"training was stopped by SIGTERM after step {step} of 12"
    assert "--resume" in said["remedy"]
    launch(folder, quiet)
    assert curve(folder) == pytest.approx(curve(alone), abs=1e-6)


@pytest.mark.slow
def test_a_full_disk_while_saving_is_one_line_and_costs_only_that_checkpoint(make_run, alone: Path) -> None:
    folder = make_run()
    # No file may grow past this, whoever asks: the optimizer's states do not fit.
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, {resource.RLIM_INFINITY}))"
    assert start(folder, limit).wait(300) == 1
    said = json.loads((folder / ERROR).read_text())
    assert said["problem"].startswith(f"checkpoint-3 could not be written: the disk of {folder} is full")
    assert "starts again, since no checkpoint was complete" in said["remedy"]
    assert not [*(folder / CHECKPOINTS).glob("checkpoint-*")]
    assert "Traceback" not in (folder / LOG).read_text()
    launch(folder, quiet)
    assert curve(folder) == pytest.approx(curve(alone), abs=1e-6)


@pytest.mark.slow
def test_the_best_checkpoint_is_the_result_and_training_stops_without_progress(make_run, alone: Path) -> None:
    # Steps of this size lose what was learnt: the loss rises from some step on.
    folder = make_run(
        max_steps=40, learning_rate=2.0, save_steps=40, watch={"eval_steps": 1, "patience": 2, "eval_examples": 2}
    )
    launch(folder, quiet)
    measured = {row["step"]: row["holdout_loss"] for row in read_measured(folder / PROGRESS)}
    figures = json.loads((folder / FIGURES).read_text())
    best = figures["best_step"]
    assert measured[best] == min(measured.values())
    assert max(measured) == best + 2 < 40
    kept = folder / CHECKPOINTS / f"checkpoint-{best}" / "adapter_model.safetensors"
    assert (folder / "adapter" / "adapter_model.safetensors").read_bytes() == kept.read_bytes()
    # Killed behind its last step, it makes no further one.
    (folder / FIGURES).unlink()
    (folder / ERROR).write_text('{"problem": "of an earlier start", "remedy": "", "again": true}')
    assert start(folder).wait() == 0
    assert not (folder / ERROR).exists()
    assert json.loads((folder / FIGURES).read_text()) == figures | {"checked_rows": 0}
    assert (folder / "adapter" / "adapter_model.safetensors").read_bytes() == kept.read_bytes()
    assert max(row["step"] for row in read_progress(folder / PROGRESS)) == best + 2
    samples = read_lines(folder / "samples.jsonl")
    assert [row["step"] for row in samples[:4]] == [1, 1, 2, 2]
    assert samples[0].keys() == {"step", "id", "question", "answer", "expected"}
    assert [row["step"] for row in read_measured(alone / PROGRESS)] == [5, 10, 12]


def make_checkpoint(folder: Path, step: int, **about: object) -> Path:
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "optimizer.pt").write_bytes(b"x" * step)
    mark_complete(made, {"deepspeed": False, "processes": 1, "rows_per_step": 4, **about})
    return made


def test_only_checkpoints_whose_files_are_all_there_and_whole_count(tmp_path: Path) -> None:
    for step in (3, 6, 9, 12):
        make_checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-12" / COMPLETE).unlink()
    (tmp_path / "checkpoint-9" / "optimizer.pt").write_bytes(b"x")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-6"
    (tmp_path / "checkpoint-6" / "optimizer.pt").unlink()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-3"
    (tmp_path / "checkpoint-3" / COMPLETE).write_text("")
    assert last_checkpoint(tmp_path) is None
    clear_unfinished(tmp_path)
    assert not [*tmp_path.iterdir()]


def test_the_last_two_checkpoints_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in (3, 6, 9, 12):
        make_checkpoint(tmp_path, step)
    delete_old(tmp_path, str(tmp_path / "checkpoint-3"))
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["checkpoint-3", "checkpoint-9", "checkpoint-12"]
    delete_old(tmp_path, None)
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["checkpoint-9", "checkpoint-12"]


def test_a_checkpoint_that_these_processes_cannot_continue_is_refused(tmp_path: Path) -> None:
    made = make_checkpoint(tmp_path, 3, processes=2)
    check_fits(made, {"deepspeed": False, "processes": 1, "rows_per_step": 4})
    with pytest.raises(ModelError, match="made with 4 rows a step, and now there are 8"):
        check_fits(made, {"deepspeed": False, "processes": 2, "rows_per_step": 8})
    parts = make_checkpoint(tmp_path, 6, deepspeed=True, processes=2)
    with pytest.raises(ModelError, match=r"2 process\(es\) under DeepSpeed, and cannot be continued by 1 process"):
        check_fits(parts, {"deepspeed": True, "processes": 1, "rows_per_step": 4})


def test_lines_behind_a_checkpoint_are_forgotten(tmp_path: Path) -> None:
    file = tmp_path / PROGRESS
    forget_after(2, file)
    file.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "holdout_loss": 1.0}\n{"step": 3, "loss": NaN}\n{"st')
    assert [row["step"] for row in read_progress(file)] == [1, 3]
    forget_after(2, file)
    assert read_lines(file) == [{"step": 1, "loss": 2.0}, {"step": 2, "holdout_loss": 1.0}]
    file.write_text('{"step": 1, "lo')  # the disk was full at the very first line
    forget_after(0, file)
    assert file.read_text() == ""


def test_resume_without_an_unfinished_run_says_so(tmp_path: Path) -> None:
    Workspace(tmp_path).build("examples", lambda _: Made(), inputs={}, settings={})
    config = make_config(tmp_path, "any")
    with pytest.raises(ArtifactError, match=r"no unfinished training with these settings in \S+\. Run"):
        run_train(config, quiet, resume=True)
    other = tmp_path / "models" / ".partial-abc"
    other.mkdir(parents=True)
    train = TrainSettings.model_validate({**config.train.model_dump(), "epochs": 2.0})
    Spec(examples=tmp_path, model=ModelSettings(name="any"), train=train, seed=0).write(other)
    with pytest.raises(ArtifactError, match=r"no unfinished training with these settings in \S+\. Run"):
        run_train(config, quiet, resume=True)
    (other / PROGRESS).touch()
    with pytest.raises(ArtifactError, match=r"the last one that is unfinished has other train\.epochs\."):
        run_train(config, quiet, resume=True)


def test_a_run_that_begins_names_an_unfinished_one_of_the_same_settings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def make(name: str, seed: int, *, begun: bool) -> tuple[Path, Spec]:
        folder = tmp_path / f".partial-{name}"
        folder.mkdir()
        spec = Spec(examples=tmp_path / name, model=ModelSettings(name="any"), train=TrainSettings(), seed=seed)
        spec.write(folder)
        if begun:
            (folder / PROGRESS).touch()
        return folder, spec

    alike, _ = make("alike", 0, begun=True)
    make("other", 1, begun=True)
    make("empty", 0, begun=False)
    warn_of_alike(*make("new", 0, begun=False))
    (said,) = caplog.messages
    assert said.startswith(f"{alike} holds an unfinished training with the same settings; it is not continued")
    warn_of_alike(*make("different", 2, begun=False))
    warn_of_alike(*make("continued", 0, begun=True))
    assert caplog.messages == [said]


def test_a_changed_file_of_conversations_is_another_model(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    missing = deciding(make_config(tmp_path, "any", data=file))
    file.write_text("one")
    config = make_config(tmp_path, "any", data=file)
    before = deciding(config)
    file.write_text("two")
    assert deciding(config) not in (before, missing)
    assert deciding(make_config(tmp_path, "any")) not in (before, missing)


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"launcher": "torchrun", "processes": 2, "batch_size": 1, "max_restarts": 3}, True),
        ({"batch_size": 1, "accumulate": 2, "save_steps": 7, "checkpointing": "always"}, True),
        ({"watch": {"stall_s": 5, "max_bad_steps": 9, "sample_answers": 0}, "max_left_out": 1}, True),
        ({"launcher": "torchrun", "processes": 2}, False),
        ({"launcher": "deepspeed"}, False),
        ({"launcher": "slurm"}, False),
        ({"watch": {"eval_steps": 5}}, False),
        ({"learning_rate": 0.5}, False),
    ],
)
def test_who_trains_a_model_and_how_carefully_does_not_make_it_another(
    tmp_path: Path, settings: dict[str, object], same: bool
) -> None:
    plain = {"batch_size": 2, "accumulate": 1, "max_restarts": 0, "save_steps": 20}
    one, other = make_config(tmp_path, "any", **plain), make_config(tmp_path, "any", **{**plain, **settings})
    assert (deciding(one) == deciding(other)) is same
    # The record tells all of it.
    assert training_settings(one) != training_settings(other)


def test_a_start_of_another_base_model_is_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.build("examples", lambda _: Made(), inputs={}, settings={})
    workspace.build("models", lambda _: Made(), inputs={}, settings={"model": "theirs"})
    with pytest.raises(ModelError, match=r"trained from 'theirs', but model\.name is 'ours'"):
        run_train(make_config(tmp_path, "ours", start="latest"), quiet)


class Bomb:
    """Unpickled, it would call exit."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return (sys.exit, (1,))


@pytest.mark.filterwarnings("ignore")  # deepspeed's own, on import
def test_code_in_a_deepspeed_checkpoint_does_not_run(tmp_path: Path) -> None:
    read_deepspeed_safely()
    from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine
    from deepspeed.runtime.fp16.loss_scaler import LossScaler

    engine = TorchCheckpointEngine()
    torch.save({"loss_scaler": LossScaler(1.0), "weights": torch.ones(2)}, tmp_path / "good.pt")
    assert engine.load(str(tmp_path / "good.pt"))["weights"].tolist() == [1.0, 1.0]
    torch.save({"weights": Bomb()}, tmp_path / "bad.pt")
    with pytest.raises(ModelError, match="holds more than weights"):
        engine.load(str(tmp_path / "bad.pt"))
