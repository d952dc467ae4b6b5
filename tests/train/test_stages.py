"""The stages of the room on the tiny model, one after the other, as the command line runs them."""

import json
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from configs.artifacts import Made, Workspace
from configs.errors import ArtifactError
from configs.schema import Config
from configs.training import TrainSettings
from train.evaluation.stage import run_eval
from train.model import load_trained
from train.promotion import run_promote
from train.stage import run_train


def make_config(root: Path, model: str, **train: object) -> Config:
    training = {"max_steps": 4, "batch_size": 4, "learning_rate": 1e-2, "max_tokens": 1024, **train}
    return Config.model_validate(
        {
            "root": root,
            "model": {"name": model, "device": "cpu"},
            "train": training,
            "evaluate": {"max_examples": 4, "max_new_tokens": 8, "batch_size": 2, "gate": []},
        }
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # mlflow 3.17 with SQLAlchemy 2.1
def test_train_evaluate_promote(tmp_path: Path, tiny: Path, examples: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = make_config(tmp_path, str(tiny), method="full")
    workspace = Workspace(tmp_path)
    workspace.build(
        "examples", lambda folder: Made({"n": int(bool(shutil.copy(examples, folder)))}), inputs={}, settings={}
    )
    told: list[tuple[str, int, int | None]] = []
    model = run_train(config, lambda *what: told.append(what))
    assert ("train", 4, 4) in told
    figures = model.manifest.figures
    assert figures["loss_last"] < figures["loss_first"]
    assert figures["holdout_loss_after"] < figures["holdout_loss_before"]
    assert figures["tokens_per_second"] > 0
    assert model.manifest.counts["steps"] == 4
    assert model.manifest.counts["trainable_parameters"] > 10_000
    assert not (model.path / "checkpoints").exists()
    assert load_trained(model.path, "cpu").max_context == 2048
    assert (model.path / "curves.png").exists()
    assert run_train(config, lambda *_: None).reused
    # Neither who trains nor how it is watched makes another model; what was set is on record.
    watched = make_config(tmp_path, str(tiny), method="full", batch_size=2, accumulate=2, max_restarts=1)
    assert run_train(watched, lambda *_: None).id == model.id
    caplog.set_level("INFO", "train")
    mpi = make_config(tmp_path, str(tiny), method="full", batch_size=2, launcher="mpi", processes=2)
    assert run_train(mpi, lambda *_: None).id == model.id
    assert "trained before, by local with 1 process; mpi was not started" in caplog.messages
    assert model.manifest.settings["train"]["batch_size"] == 4
    before, after = run_eval(config, "base", lambda *_: None), run_eval(config, "latest", lambda *_: None)
    # While there is no champion, the gate's reference is the base model.
    assert run_eval(config, "reference", lambda *_: None).id == before.id
    assert after.manifest.figures["perplexity"] < before.manifest.figures["perplexity"]
    rows = [json.loads(line) for line in (after.path / "answers.jsonl").read_text().splitlines()]
    assert len(rows) == after.manifest.counts["examples"] == 4
    assert json.loads((after.path / "figures.json").read_text()) == after.manifest.figures
    assert run_promote(config).id == model.id
    assert run_eval(config, "champion", lambda *_: None).reused
    assert run_eval(config, "reference", lambda *_: None).id == after.id
    further = run_train(make_config(tmp_path, str(tiny), method="full", start="champion", max_steps=1), lambda *_: None)
    assert further.manifest.inputs["models"] == model.id
    assert further.manifest.figures["holdout_loss_before"] == pytest.approx(figures["holdout_loss_after"], abs=1e-4)


@pytest.mark.parametrize(
    ("train", "problem"),
    [
        ({"objective": "dpo", "data": "mine"}, r"train\.data is only read by objective: sft \(objective is dpo\)"),
        ({"objective": "pretrain", "data": "mine"}, r"train\.data is only .* \(objective is pretrain\)"),
        ({"preference": {"data": "mine"}}, r"train\.preference\.data is only .*: dpo or ipo \(objective is sft\)"),
    ],
)
def test_a_file_that_the_objective_does_not_read_is_refused(train: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        TrainSettings.model_validate(train)


def test_names_without_a_model_say_what_to_run(tmp_path: Path) -> None:
    config = make_config(tmp_path, "any")
    with pytest.raises(ArtifactError, match="Run `wellread examples` first"):
        run_train(config, lambda *_: None)
    Workspace(tmp_path).build("examples", lambda _: Made(), inputs={}, settings={})
    with pytest.raises(ArtifactError, match="Run `wellread train` first"):
        run_eval(config, "latest", lambda *_: None)
    with pytest.raises(ArtifactError, match="no model is champion yet"):
        run_eval(config, "champion", lambda *_: None)
