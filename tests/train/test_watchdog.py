"""Jobs that really stand still: a process that is stopped, and one whose data do not come; and the watch over beats."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from peft import get_peft_model

from configs.errors import ModelError
from configs.training import LoraSettings
from tests.train.test_launch import processes, wait_for
from train.heartbeat import RANKS, Heartbeat, place
from train.launch import launch
from train.methods.base import adapter_config
from train.model import load_model
from train.phases import Phases
from train.spec import ERROR, LOG, PROGRESS, SPEC
from train.watchdog import FIRST, Stall, Watch, read_beat

LIMIT_S = 10.0
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_process_that_is_stopped_ends_the_job_and_is_named(make_run) -> None:
    folder = make_run(
        max_steps=100_000,
        save_steps=100_000,
        batch_size=2,
        launcher="torchrun",
        processes=2,
        watch={"stall_s": LIMIT_S},
    )
    with ThreadPoolExecutor() as pool:
        done = pool.submit(launch, folder, lambda *_: None)
        wait_for(folder / PROGRESS, done)
        stopped = processes(folder)[1]
        os.kill(stopped, signal.SIGSTOP)
        with pytest.raises(ModelError) as error:
            done.result()
    assert str(error.value).startswith("rank 1 of 2 stalled for ")
    assert f"(process {stopped} is stopped and does not answer)" in str(error.value)
    assert not processes(folder)


@pytest.mark.slow
def test_a_process_whose_data_do_not_come_is_named_with_its_place_in_the_code(make_run) -> None:
    # Nobody follows this job from outside, as in a cluster: its own processes notice.
    folder = make_run(launcher="torchrun", processes=2, watch={"stall_s": LIMIT_S})
    pipes = [folder / f"{rank}.fifo" for rank in range(2)]
    for pipe in pipes:
        os.mkfifo(pipe)
    # Opened for reading too, this end does not wait for the other, and the other never comes to an end.
    ends = [os.open(pipe, os.O_RDWR) for pipe in pipes]
    for end, rows in zip(ends, (100, 4), strict=True):
        os.write(end, b"1 2 3 4\n" * rows)
    job = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--module"]
    command = [*job, "tests.train.fifo_job", str(folder / SPEC)]
    with (folder / LOG).open("wb") as log:
        assert subprocess.run(command, stdout=log, stderr=log, check=False, cwd=ROOT).returncode == 1
    for end in ends:
        os.close(end)
    said = json.loads((folder / ERROR).read_text())
    assert said["problem"].startswith("rank 1 of 2 stalled for ")
    assert " while loading data, at " in said["problem"]
    assert f"{Path(__file__).with_name('fifo_job.py')}:" in said["problem"]
    assert said["problem"].endswith(" in __getitem__")
    assert "readline" in (folder / RANKS / "1.stack").read_text()
    assert str(folder / RANKS / "1.stack") in said["remedy"]
    assert not processes(folder)


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def job(tmp_path: Path):
    """Writes beats, and looks at them some seconds later: `job(seconds, (step, phase, moves, beats, first), ...)`.

    With negative moves, a process stands in an exchange with the others.
    """
    (tmp_path / RANKS).mkdir()
    clock = Clock()
    watch = Watch(tmp_path, 2, 10.0, clock)

    def look(seconds: float, *beats: tuple[Any, ...] | None) -> Stall | None:
        found = None
        for rank, beat in enumerate(beats):
            if beat is None:
                continue
            names = dict(zip(("step", "phase", "moves", "beats", "first"), beat, strict=False))
            where = "/torch/distributed/c10d.py:1 in all_gather" if beat[2] < 0 else "file.py:1 in read"
            about = {"rank": rank, "pid": os.getpid(), "host": "elsewhere", "where": where, "time": 0}
            (tmp_path / RANKS / f"{rank}.json").write_text(json.dumps(about | names))
        for _ in range(int(seconds)):
            clock.now += 1
            found = watch.look()
        return found

    return look


def test_the_one_that_is_behind_is_to_blame(job) -> None:
    assert job(2, (6, "data", 0, 1), (6, "data", 0, 1)) is None
    # The other waits for it in the backward pass of the same step.
    for beats in range(2, 11):
        assert job(1, (7, "backward", 2, beats), (7, "data", 0, beats)) is None
    stall = job(2, (7, "backward", 2, 11), (7, "data", 0, 11))
    assert stall is not None
    assert stall.rank == 1
    assert stall.problem == "rank 1 of 2 stalled for 10 s in step 7 while loading data, at file.py:1 in read"


def test_of_two_in_the_same_phase_the_one_that_exchanges_nothing_is_to_blame(job) -> None:
    job(1, (4, "data", -1, 1), (4, "data", 0, 1))
    for beats in range(2, 12):
        stall = job(1, (4, "data", -1, beats), (4, "data", 0, beats))
    assert stall is not None
    assert stall.rank == 1


def test_one_that_does_not_even_beat_is_to_blame_before_others(job) -> None:
    job(1, (7, "data", 0, 1), (7, "backward", 2, 1))
    for beats in range(2, 11):
        job(1, (7, "data", 0, beats), (7, "backward", 2, 1))
    stall = job(2, (7, "data", 0, 11), (7, "backward", 2, 1))
    assert stall is not None
    assert stall.rank == 1
    assert "in the backward pass, at file.py:1 in read (process" in stall.problem
    assert "on elsewhere does not answer)" in stall.problem


def test_a_job_that_gets_on_slowly_is_left_alone(job) -> None:
    for step in range(2, 9):
        assert job(9, (step, "forward", 1, step), (step, "forward", 1, step)) is None
    # Long measurements get on as well.
    for moves in range(1, 6):
        assert job(9, (8, "evaluate", moves, 8 + moves), (8, "evaluate", 0, 8 + moves)) is None


def test_the_first_step_may_take_longer(job) -> None:
    assert job(10 * FIRST - 1, (0, "load", 0, 1), (0, "load", 0, 1)) is None
    stall = job(2, (0, "load", 0, 2), (0, "load", 0, 2))
    assert stall is not None
    assert "while loading the model and the examples" in stall.problem


def test_the_first_step_of_a_run_that_goes_on_may_take_longer_too(job) -> None:
    assert job(10 * FIRST - 1, (41, "data", 0, 1, 41), (41, "data", 0, 1, 41)) is None
    assert job(9, (42, "data", 0, 2, 41), (42, "data", 0, 2, 41)) is None
    assert job(2, (42, "data", 0, 3, 41), (42, "data", 0, 3, 41)) is not None


def test_one_that_never_began_is_to_blame(job) -> None:
    stall = job(10 * FIRST + 1, (0, "load", 0, 1), None)
    assert stall is not None
    assert stall.problem == f"rank 1 of 2 has not begun within {10 * FIRST} s"


def test_time_in_which_nobody_looked_is_not_counted(tmp_path) -> None:
    clock = Clock()
    watch = Watch(tmp_path, 1, 10.0, clock)
    watch.look()
    clock.now += 1000
    assert watch.look() is None


def test_without_a_limit_nothing_is_a_stall(tmp_path) -> None:
    clock = Clock()
    watch = Watch(tmp_path, 1, 0.0, clock)
    for _ in range(100):
        clock.now += 1
        assert watch.look() is None


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks by it
def test_every_token_of_an_answer_shows_that_a_measurement_gets_on(tmp_path, tiny) -> None:
    loaded = load_model(str(tiny), "cpu")
    model: Any = get_peft_model(loaded.model, adapter_config(LoraSettings()))
    heart = Heartbeat(tmp_path, 0, limit_s=0)
    Phases(heart, model)
    heart.at("evaluate", 3)
    before = heart.moves
    tokens = torch.ones(1, 4, dtype=torch.long)
    model.eval().generate(input_ids=tokens, attention_mask=tokens, min_new_tokens=5, max_new_tokens=5)
    assert heart.moves == before + 5
    assert (heart.step, heart.phase) == (3, "evaluate")


def test_a_blocked_process_still_tells_where_it_stands(tmp_path) -> None:
    heart = Heartbeat(tmp_path, 0, limit_s=0.2)
    heart.start()
    heart.at("data", 3)
    deadline = time.monotonic() + 60
    while not (tmp_path / RANKS / "0.stack").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    beat = read_beat(tmp_path, 0)
    assert beat is not None
    assert (beat["step"], beat["phase"], beat["pid"]) == (3, "data", os.getpid())
    assert beat["where"].startswith(f"{__file__}:")
    assert psutil.pid_exists(beat["pid"])
    assert place(None) == "nowhere"
