"""Bad steps, planted for real: a token that only one example has, and whose embedding is infinite."""

import json
import math
import shutil
from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from configs.errors import ModelError
from configs.training import ModelSettings, TrainSettings, WatchSettings
from ingest.records import Example, write_table
from tests.train.conftest import make_example, make_tokenizer
from train.badsteps import Watched, bad_row, bad_steps, forget_skipped, left_out, named, note, suspects
from train.launch import launch
from train.spec import CHECKPOINTS, FIGURES, LOG, ORDER, PROGRESS, Spec, read_lines, read_progress

PLANTED = make_example(15).id  # with the seed of `make_run`, it is first seen in step 4


@pytest.fixture(scope="module")
def plant(tiny: Path, tmp_path_factory: pytest.TempPathFactory):
    """Writes a spec like `make_run`, of a model and examples that give NaN for `PLANTED` alone."""
    folder = tmp_path_factory.mktemp("planted")
    model, tokenizer = LlamaForCausalLM.from_pretrained(tiny), make_tokenizer()
    model.get_input_embeddings().weight.data[tokenizer("~")["input_ids"][0]] = math.inf
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    rows = [make_example(number, "holdout" if number >= 16 else "train") for number in range(24)]
    rows[15] = replace(rows[15], question=f"{rows[15].question}~")
    write_table(folder / "examples.parquet", rows, Example)

    def make(target: Path, **train: object) -> Path:
        target.mkdir()
        defaults = {"batch_size": 4, "learning_rate": 1e-2, "max_tokens": 1024, "save_steps": 1}
        Spec(
            examples=folder / "examples.parquet",
            model=ModelSettings(name=str(folder / "model"), device="cpu"),
            train=TrainSettings.model_validate({**defaults, **train}),
            seed=3,
        ).write(target)
        return target

    return make


def quiet(*_: object) -> None:
    pass


def state(checkpoint: Path) -> tuple[bytes, dict]:
    optimizer = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    return (checkpoint / "adapter_model.safetensors").read_bytes(), optimizer


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher", [{}, {"launcher": "torchrun", "processes": 2, "batch_size": 2}], ids=["alone", "two processes"]
)
def test_a_step_whose_loss_is_not_a_number_changes_nothing(plant, tmp_path: Path, launcher: dict) -> None:
    folder = plant(tmp_path / "run", max_steps=4, **launcher)
    launch(folder, quiet)
    before, after = (state(folder / CHECKPOINTS / f"checkpoint-{step}") for step in (3, 4))
    assert before[0] == after[0]
    assert all(torch.equal(before[1][key][name], after[1][key][name]) for key in before[1] for name in before[1][key])
    curve = read_progress(folder / PROGRESS)
    assert [math.isfinite(row["loss"]) for row in curve] == [True, True, True, False]
    assert curve[3]["bad"] == "the loss is nan"
    (row,) = bad_steps(folder)
    processes = launcher.get("processes", 1)
    assert (row["step"], len(row["processes"])) == (4, processes)
    assert PLANTED in suspects(row)
    # The processes whose own loss was a number are not suspected.
    assert len(suspects(row)) == 4 // processes
    assert json.loads((folder / FIGURES).read_text())["bad_steps"] == 1
    assert not [*folder.rglob("training_args.bin")]


@pytest.mark.slow
def test_a_run_goes_back_and_leaves_out_the_examples_of_a_bad_step(plant, tmp_path: Path) -> None:
    folder = plant(tmp_path / "run", max_steps=6, save_steps=3, watch={"on_bad_step": "rewind"})
    launch(folder, quiet)
    curve = read_progress(folder / PROGRESS)
    assert [row["step"] for row in curve] == [1, 2, 3, 4, 5, 6]
    assert all(math.isfinite(row["loss"]) for row in curve)
    assert "resuming at step 3" in (folder / LOG).read_text()
    out = left_out(folder)
    assert PLANTED in out
    seen = [row["ids"] for row in read_lines(folder / ORDER.format(process=0))]
    assert not set(out) & {name for ids in seen[3:] for name in ids}
    figures = json.loads((folder / FIGURES).read_text())
    assert (figures["bad_steps"], figures["left_out"]) == (1, 4)


@pytest.mark.slow
def test_one_bad_step_too_many_ends_the_run_with_one_line(plant, tmp_path: Path) -> None:
    folder = plant(tmp_path / "run", max_steps=4, save_steps=4, watch={"max_bad_steps": 0})
    with pytest.raises(ModelError, match=r"stopped at step 4: the loss is nan; examples .*bad_steps\.jsonl") as error:
        launch(folder, quiet)
    assert PLANTED in str(error.value)
    assert not (folder / FIGURES).exists()


@pytest.mark.slow
def test_a_loss_that_jumps_is_left_out(make_run) -> None:
    # Any loss is more than half of the others; ten steps are needed to tell.
    folder = make_run(max_steps=11, save_steps=10, watch={"spike": 0.5})
    launch(folder, quiet)
    (row,) = bad_steps(folder)
    # Nor is it taken for a usual one by a run that goes on just before it.
    shutil.rmtree(folder / CHECKPOINTS / "checkpoint-11")
    launch(folder, quiet)
    assert [again["why"] for again in bad_steps(folder)] == [row["why"]]
    assert row["step"] == 11
    assert "times the median of the steps before" in row["why"]
    curve = read_progress(folder / PROGRESS)
    assert curve[10]["loss"] == row["loss"] == pytest.approx(curve[9]["loss"], rel=0.1)


def test_a_spike_is_measured_against_the_median(tmp_path: Path) -> None:
    watched = Watched(tmp_path, WatchSettings(spike=3.0))
    assert not any(watched.jumps(loss) for loss in (9.0, *[2.0] * 8))
    assert not watched.jumps(100.0)  # nine steps are not enough to know what is usual
    assert not watched.jumps(5.9)
    assert not watched.jumps(math.nan)
    assert watched.jumps(6.1)
    assert watched.spiked == "the loss 6.1 is 3.0 times the median of the steps before"
    # The spike itself is not what the next one is measured against.
    assert 6.1 not in watched.recent


def test_a_run_that_goes_on_knows_what_was_usual(tmp_path: Path) -> None:
    watched = Watched(tmp_path, WatchSettings(spike=3.0))
    watched.recall([{"step": step, "loss": 2.0} for step in range(30)] + [{"step": 31, "loss": 50.0, "bad": "spike"}])
    assert watched.jumps(6.1)


def test_suspects_are_the_passes_that_were_no_number() -> None:
    watched = Watched(Path(), WatchSettings(), recent=deque())
    processes = [[{"ids": ["a"], "loss": 2.0}], [{"ids": ["b"], "loss": "nan"}, {"ids": ["c"], "loss": 1.0}]]
    row = bad_row(7, watched, math.nan, math.inf, processes)
    assert suspects(row) == ["b"]
    assert named(row) == "examples b"
    assert json.loads(json.dumps(row, allow_nan=False))["grad_norm"] == "inf"
    only_gradient = bad_row(7, watched, 2.0, math.inf, [[{"ids": [*"abcdefghij"], "loss": 2.0}]])
    assert only_gradient["why"] == "the norm of the gradient is inf"
    assert named(only_gradient) == "examples a, b, c, d, e, f, g, h and 2 more"


def test_steps_that_are_made_again_are_not_counted_twice(tmp_path: Path) -> None:
    for step, done in ((3, "skip"), (5, "skip"), (6, "rewind")):
        watched = Watched(tmp_path, WatchSettings(on_bad_step=done))
        note(tmp_path, bad_row(step, watched, math.nan, math.nan, [[{"ids": [f"x{step}"], "loss": "nan"}]]))
    forget_skipped(tmp_path, 4)
    assert [row["step"] for row in bad_steps(tmp_path)] == [3, 6]
    assert left_out(tmp_path) == ["x6"]
