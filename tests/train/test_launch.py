"""Real training processes on the tiny model: started, and stopped in every way, with nothing left running."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from configs.artifacts import write_text_atomic
from configs.errors import ModelError
from configs.training import TrainSettings
from train.heartbeat import ABORT, RANKS
from train.launch import NewLines, Start, carrying, end, last_error, launch
from train.launchers.base import JOB, OWNER, Plan
from train.model import load_model
from train.rows import example_rows
from train.run import check_launcher
from train.saving import last_checkpoint, step_of
from train.spec import CHECKPOINTS, FIGURES, LOG, PROGRESS, SPEC, Spec, read_progress
from train.watchdog import read_beat


def run(folder: Path) -> list[float]:
    seen: list[tuple[str, int, int | None]] = []
    launch(folder, lambda *what: seen.append(what))
    assert seen[-1] == ("train", len(seen), len(seen))
    return losses(folder)


def losses(folder: Path) -> list[float]:
    rows = read_progress(folder / PROGRESS)
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["loss"] for row in rows]


@pytest.mark.slow
def test_a_dozen_steps_lower_the_loss_and_leave_an_adapter_without_pickles(make_run, tiny) -> None:
    alone = make_run()
    run(alone)
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


def start(folder: Path) -> "subprocess.Popen[bytes]":
    """What `wellread train` does, in a process of its own."""
    script = (
        "import sys; from pathlib import Path; from train.launch import launch\n"
        "try: launch(Path(sys.argv[1]), lambda *_: None)\n"
        "except KeyboardInterrupt: sys.exit(130)"
    )
    return subprocess.Popen([sys.executable, "-c", script, str(folder)])


def processes(folder: Path) -> list[int]:
    """Ids of the training processes that run; one that has ended and was not asked for its exit code does not."""
    beats = [read_beat(folder, rank) for rank in range(2)]
    return [beat["pid"] for beat in beats if beat and _runs(beat["pid"])]


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_and_no_process(make_run) -> None:
    folder = make_run(max_steps=100_000, save_steps=100_000)
    launcher = start(folder)
    wait_for(folder / PROGRESS)
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(120) == 130
    assert not processes(folder)
    assert step_of(last_checkpoint(folder / CHECKPOINTS)) == len(losses(folder))


@pytest.mark.slow
def test_a_polite_request_stops_two_processes_after_the_same_step(make_run) -> None:
    folder = make_run(max_steps=100_000, save_steps=100_000, batch_size=2, launcher="torchrun", processes=2)
    launcher = start(folder)
    wait_for(folder / PROGRESS)
    assert len(processes(folder)) == 2
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(120) == 130
    assert not processes(folder)
    assert step_of(last_checkpoint(folder / CHECKPOINTS)) == len(losses(folder))


@pytest.mark.parametrize(("polite_s", "finishes"), [(60.0, True), (0.1, False)])
def test_who_asks_to_stop_says_how_long_a_step_may_take(make_run, polite_s: float, finishes: bool) -> None:
    folder = make_run()
    (folder / RANKS).mkdir()
    (folder / PROGRESS).write_text('{"step": 1, "of": 9, "loss": 1.0}\n')
    step = "import time, pathlib as p\nwhile not p.Path('ranks/stop').exists(): time.sleep(0.05)\n"
    step += "time.sleep(2)\np.Path('done').touch()"
    plan = Plan(["env", "-C", str(folder), sys.executable, "-c", step])

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Start(Spec.read(folder / SPEC), folder, plan, folder / LOG, stop, polite_s).run()
    assert (folder / "done").exists() is finishes


def test_after_a_kill_the_first_advice_is_to_run_it_again(make_run) -> None:
    folder = make_run()
    started = Start(Spec.read(folder / SPEC), folder, Plan(["sh", "-c", "kill -9 $$"]), folder / LOG, lambda *_: None)
    failure = started.failure(started.run())
    assert "killed by the system, most likely for memory" in failure.problem
    assert failure.remedy.startswith("Run it again, it continues from its last checkpoint; if it was memory, halve")


@pytest.mark.slow
def test_when_one_process_is_killed_the_others_end(make_run) -> None:
    folder = make_run(max_steps=100_000, save_steps=100_000, batch_size=2, launcher="torchrun", processes=2)
    with ThreadPoolExecutor() as pool:
        done = pool.submit(launch, folder, lambda *_: None)
        wait_for(folder / PROGRESS, done)
        os.kill(processes(folder)[1], signal.SIGKILL)
        with pytest.raises(ModelError, match=r"a training process was killed by the system, most likely for memory"):
            done.result()
    assert not processes(folder)


def test_a_process_whose_launcher_was_killed_ends() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    script = "import time; from train.run import stop_with_owner; stop_with_owner(); time.sleep(60)"
    owned = {**os.environ, OWNER: f"{socket.gethostname()}:{gone.pid}"}
    assert subprocess.run([sys.executable, "-c", script], env=owned, check=False).returncode == 1


def test_a_process_whose_launcher_was_killed_and_left_as_a_zombie_ends() -> None:
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    script = "import time; from train.run import stop_with_owner; stop_with_owner(); time.sleep(60)"
    owned = {**os.environ, OWNER: f"{socket.gethostname()}:{zombie.pid}"}
    assert subprocess.run([sys.executable, "-c", script], env=owned, check=False).returncode == 1
    zombie.wait()


def test_nothing_is_left_of_a_job_whose_processes_have_sessions_of_their_own(tmp_path) -> None:
    # What torchrun, Horovod and Ray do, and what a signal to the launcher's group does not reach.
    script = "import subprocess, sys, time; subprocess.Popen(['sleep', '600'], start_new_session=True); time.sleep(600)"
    launcher = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, JOB: "mark"}, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(carrying("mark")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    end(launcher, "mark", tmp_path)
    assert not carrying("mark")
    assert (tmp_path / ABORT).exists()  # read by processes of other machines


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


def test_a_broken_spec_is_one_line(tmp_path) -> None:
    (tmp_path / SPEC).write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "train.run", str(tmp_path / SPEC)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("ModelError:")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "starting\n[rank1]: RuntimeError: out of memory\na.b.errors.ChildFailedError: \n====\n",
            "RuntimeError: out of memory",
        ),
        ("(RayTrainWorker pid=7) ValueError: x\nRuntimeError: the training process ended with 1\n", "ValueError: x"),
        ("[0]<stderr>:KeyError: 'a'\nRuntimeError: Horovod detected that one\n", "KeyError: 'a'"),
        ("only this\n", "only this"),
        ("", "it printed nothing"),
    ],
)
def test_the_last_error_is_the_workers_own(text, said) -> None:
    assert last_error(text) == said


def test_a_file_that_grows_is_read_line_by_line_and_again_when_it_was_cut(tmp_path) -> None:
    file = tmp_path / "lines"
    lines = NewLines(file)
    assert lines.read() == []
    file.write_text('{"step": 1}\n{"st')
    assert lines.read() == [{"step": 1}]
    with file.open("a") as out:
        out.write('ep": 2}\n{"step": 3}\n')
    assert lines.read() == [{"step": 2}, {"step": 3}]
    assert lines.read() == []
    file.write_text('{"step": 1}\n')
    assert lines.read() == [{"step": 1}]
    # One that has taken its place is as long by now as the old one was.
    write_text_atomic(file, '{"step": 7}\n{"step": 8}\n')
    assert lines.read() == [{"step": 7}, {"step": 8}]


def wait_for(path: Path, job: "Future[None] | None" = None) -> None:
    """Return when the file is there, or the job that writes it has ended."""
    deadline = time.monotonic() + 300
    while not path.exists() and not (job and job.done()):
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)
