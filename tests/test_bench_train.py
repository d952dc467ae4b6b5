"""The benches of training, run to their end with models so small that their figures say nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.train import expected_padding, rates, target, targets, times
from bench.train_gpu import flops_per_token, make_documents, make_model, peak_of
from bench.train_side import Stopwatch
from configs.training import ModelSettings, TrainSettings
from ingest.examples.completion import Completion
from ingest.examples.stage import COMPLETIONS
from ingest.records import read_table
from train.spec import Spec

STEPS = [{"wall_s": 9.0, "cpu_s": 9.0, "useful": 1, "places": 1}] * 2
STEPS += [{"wall_s": 2.0, "cpu_s": 1.0, "useful": 30, "places": 40}] * 2


def test_the_first_two_steps_are_left_out():
    assert rates(STEPS) == {"tokens_per_s": 15.0, "tokens_per_cpu_s": 30.0, "step_s": 2.0, "padding": 0.25}


def test_runs_that_follow_each_other_are_compared():
    ours, theirs = ([{"tokens_per_s": rate} for rate in each] for each in ((10, 90, 40), (20, 30, 20)))
    assert times(ours, theirs) == 2.0


def test_what_was_not_measured_meets_no_target():
    assert {row["met"] for row in targets({})} == {None}
    assert target("", 0.96, least=0.97)["met"] is False
    assert target("", 0.97, least=0.97)["met"] is True
    assert target("", 1.01, most=1.0)["met"] is False


def test_texts_of_one_length_need_no_padding():
    assert expected_padding([50] * 20, 4) == 0.0
    # Pairs of a long text and a short one lose (100 - 10) / 200; half of all random pairs or a little more are such.
    assert expected_padding([10, 100] * 20, 2) == pytest.approx(0.3, abs=0.05)


def test_tokens_are_counted_without_padding_in_padded_and_in_packed_rows(tmp_path):
    watch = Stopwatch(tmp_path / "out.json", {}, leave=False)
    model = torch.nn.Linear(1, 1).train()
    ids = torch.zeros(2, 6)
    watch._count(model, (), {"input_ids": ids, "attention_mask": torch.tensor([[1] * 6, [1, 1, 1, 1, 0, 0]])})
    assert (watch.useful, watch.places) == (10, 12)
    watch._count(model, (), {"input_ids": ids, "position_ids": torch.tensor([[0, 1, 2, 0, 1, 2], [0, 1, 0, 1, 0, 0]])})
    assert (watch.useful, watch.places) == (20, 24)


def test_flops_are_those_of_the_formula():
    about = {"parameters": 120, "multiplying": 100, "width": 8}
    assert flops_per_token(about, "full", 0, 16) == 6 * 100 + 12 * 8 * 16
    assert flops_per_token(about, "lora", 10, 16) == 4 * 100 + 6 * 10 + 12 * 8 * 16


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A10G", None),
        ("", None),
    ],
)
def test_the_peak_is_found_by_the_words_of_a_name(name, peak):
    assert peak_of(name) == peak


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    about = make_model("tiny", 512, folder / "model")
    assert about["parameters"] - about["multiplying"] == 512 * 64
    make_documents(folder / "documents", 100, 12)
    return folder


def test_a_made_document_has_the_tokens_that_were_asked_for(home):
    from bench.train_side import plain_rows
    from train.model import load_outline

    rows = list(read_table(home / "documents" / COMPLETIONS, Completion))
    assert {len(row.text) for row in rows} == {99}
    settings = TrainSettings(objective="pretrain", max_tokens=200)
    model = ModelSettings(name=str(home / "model"))
    spec = Spec(examples=home / "documents" / "examples.parquet", model=model, train=settings, seed=0)
    plain = plain_rows(spec, load_outline(str(home / "model")))
    assert [len(row["input_ids"]) for row in plain] == [200] * 6


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.slow
def test_the_gpu_bench_runs_to_its_end_on_a_cpu():
    options = ["--device", "cpu", "--shape", "tiny", "--steps", "4", "--turns", "1", "--method", "lora"]
    done = bench("bench.train_gpu", *options, "--batch", "1", "--documents", "2")
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads(done.stdout)["cells"]
    assert cell["failed"] == {}
    for side in ("wellread", "trl"):
        assert cell["sides"][side]["mfu"] is None
        assert cell["sides"][side]["padding"] == 0.0
        assert cell["sides"][side]["tokens_per_s"] > 0
    assert cell["times_as_fast"] > 0


@pytest.mark.slow
def test_both_sides_of_the_speed_part_learn_the_same(tmp_path, home):
    from ingest.records import Example, write_table
    from tests.train.conftest import make_example

    write_table(tmp_path / "examples.parquet", [make_example(number) for number in range(12)], Example)
    options = ["--examples", str(tmp_path / "examples.parquet"), "--model", str(home / "model"), "--max-tokens", "1024"]
    done = bench("bench.train", "--quick", "--part", "speed", "--steps", "3", *options)
    assert done.returncode == 0, done.stderr
    ((precision, found),) = json.loads(done.stdout)["speed"].items()
    assert precision in ("float32", "bfloat16")
    # Rows, order, first weights and arguments are the same, so the losses are.
    assert found["loss_difference"] < 1e-3
    assert found["padding"]["wellread"] == found["padding"]["trl"]
    assert found["times_as_fast"] > 0


def test_too_few_steps_are_refused():
    done = bench("bench.train", "--steps", "2")
    assert done.returncode == 2
    assert "--steps must be more than 2" in done.stderr
