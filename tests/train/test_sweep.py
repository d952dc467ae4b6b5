"""The search for hyperparameters: over a bowl with a known bottom, and over real training runs."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.artifacts import Made, Workspace
from configs.errors import ArtifactError, ConfigError, ModelError
from configs.schema import Config
from configs.training import TrainSettings
from train.sweep.stage import run_sweep
from train.sweep.study import STUDY, TRIALS, Measured, best_of, search, sweep_id

RATE = {"train.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}}
CHOICES = {"train.lora.rank": {"choices": [4, 8, 16]}, "train.method": {"choices": ["lora", "full"]}}


def make_config(root: Path, **sweep: Any) -> Config:
    asked = {"space": CHOICES, "sampler": "grid", "trials": 20, **sweep}
    return Config.model_validate({"root": root, "sweep": asked})


class Bowl:
    """A training whose loss is least at rank 8 with `lora`; tells its loss in three steps."""

    def __init__(self, fails: int = 0, killed_at: int = 0) -> None:
        self.seen: list[tuple[str, int]] = []
        self.fails, self.killed_at = fails, killed_at
        self.lock, self.at_once, self.most = threading.Lock(), 0, 0

    def __call__(self, config: Config, measured: Measured) -> tuple[str, Mapping[str, float]]:
        with self.lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        try:
            return self.trained(config, measured)
        finally:
            with self.lock:
                self.at_once -= 1

    def trained(self, config: Config, measured: Measured) -> tuple[str, Mapping[str, float]]:
        train = config.train
        self.seen.append((train.method, train.lora.rank))
        if len(self.seen) == self.killed_at:
            raise KeyboardInterrupt
        if train.lora.rank == self.fails:
            raise ModelError("no memory for this", "Take less")
        loss = abs(train.lora.rank - 8) + (0.5 if train.method == "full" else 0.0)
        for step in (1, 2, 3):
            measured(step, loss + 1 / step)
        return f"{train.method}-{train.lora.rank}", {"holdout_loss_after": loss}


def quiet(*_: object) -> None:
    """Nobody looks."""


def test_a_grid_tries_every_combination_once_and_finds_the_bottom(tmp_path) -> None:
    bowl = Bowl()
    swept = search(make_config(tmp_path, prune=False), tmp_path / "s", bowl, quiet)
    assert sorted(bowl.seen) == sorted((method, rank) for method in ("lora", "full") for rank in (4, 8, 16))
    assert swept.best is not None
    assert swept.best.user_attrs["model"] == "lora-8"
    rows = [json.loads(line) for line in (tmp_path / "s" / TRIALS).read_text().splitlines()]
    assert [row["value"] for row in rows if row["model"] == "lora-8"] == [0.0]
    search(make_config(tmp_path, prune=False), tmp_path / "s", bowl, quiet)
    assert len(bowl.seen) == 6


def test_hopeless_trials_are_pruned(tmp_path) -> None:
    swept = search(make_config(tmp_path, prune=True), tmp_path / "s", Bowl(), quiet)
    states = [trial.state.name for trial in swept.trials]
    assert states.count("PRUNED") >= 1
    assert swept.best is not None
    assert swept.best.value == 0.0


def test_a_goal_ends_the_search(tmp_path) -> None:
    bowl = Bowl()
    search(make_config(tmp_path, sampler="random", goal=4.0, trials=50), tmp_path / "s", bowl, quiet)
    assert len(bowl.seen) < 50


@pytest.mark.parametrize("sampler", ["random", "bayes"])
def test_ranges_are_searched_and_more_trials_are_added_later(tmp_path, sampler: str) -> None:
    rates: list[float] = []

    def train(config: Config, _: Measured) -> tuple[str, Mapping[str, float]]:
        rates.append(config.train.learning_rate)
        return "m", {"holdout_loss_after": abs(config.train.learning_rate - 1e-2)}

    search(make_config(tmp_path, sampler=sampler, space=RATE, trials=4), tmp_path / "s", train, quiet)
    search(make_config(tmp_path, sampler=sampler, space=RATE, trials=7), tmp_path / "s", train, quiet)
    assert len(set(rates)) == 7
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)


def test_several_at_once_are_no_more_than_allowed(tmp_path) -> None:
    bowl = Bowl()
    search(make_config(tmp_path, parallel=2, prune=False), tmp_path / "s", bowl, quiet)
    assert len(bowl.seen) == 6
    assert bowl.most <= 2


def test_a_stopped_search_goes_on_with_the_trial_that_was_under_way(tmp_path) -> None:
    bowl = Bowl(killed_at=3)
    with pytest.raises(KeyboardInterrupt):
        search(make_config(tmp_path, prune=False), tmp_path / "s", bowl, quiet)
    assert (tmp_path / "s" / STUDY).exists()
    swept = search(make_config(tmp_path, prune=False), tmp_path / "s", bowl, quiet)
    assert bowl.seen.count(bowl.seen[2]) == 2
    assert len(bowl.seen) == 7
    assert len(swept.trials) == 6


def test_a_trial_that_fails_costs_no_other(tmp_path) -> None:
    swept = search(make_config(tmp_path, prune=False), tmp_path / "s", Bowl(fails=8), quiet)
    assert [trial.state.name for trial in swept.trials].count("FAIL") == 2
    assert swept.best is not None
    only = make_config(tmp_path, space={"train.lora.rank": {"choices": [8]}})
    with pytest.raises(ModelError, match="none of 1 trials was completed; the last: no memory for this"):
        best_of(search(only, tmp_path / "t", Bowl(fails=8), quiet))


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"space": {"train.rank": {"choices": [1]}}}, "unknown key train.rank"),
        ({"space": {"train.lora.rank": {"choices": [8, 0]}}}, "train.lora.rank = 0"),
        ({"space": RATE, "sampler": "grid"}, "train.learning_rate is a range"),
    ],
)
def test_a_space_that_cannot_be_searched_is_one_line(tmp_path, sweep: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search(make_config(tmp_path, **sweep), tmp_path / "s", Bowl(), quiet)


def test_jobs_that_are_handed_over_are_no_trials(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("SLURM_JOB_NUM_NODES", raising=False)
    Workspace(tmp_path).build("examples", lambda _: Made(), inputs={}, settings={})
    config = make_config(tmp_path).model_copy(update={"train": TrainSettings(launcher="slurm")})
    with pytest.raises(ConfigError, match=r"train\.launcher = 'slurm' hands jobs over"):
        run_sweep(config, quiet)
    assert not (tmp_path / "sweeps").exists()


def test_a_figure_that_there_never_is_is_refused_before_the_first_trial(tmp_path) -> None:
    bowl = Bowl()
    with pytest.raises(ConfigError, match=r"unknown figure sweep.figure = 'speed'.*answer_f1.*holdout_loss_after"):
        search(make_config(tmp_path, figure="speed"), tmp_path / "s", bowl, quiet)
    assert bowl.seen == []
    assert not (tmp_path / "s").exists()


def test_a_sweep_is_named_by_what_its_trials_have_in_common(tmp_path) -> None:
    base = sweep_id(make_config(tmp_path), "e1")
    assert sweep_id(make_config(tmp_path, trials=3, parallel=2, goal=1.0), "e1") == base
    assert sweep_id(make_config(tmp_path, space=RATE), "e1") != base
    assert sweep_id(make_config(tmp_path), "e2") != base


def test_the_same_sweep_twice_at_once_is_refused(tmp_path) -> None:
    config = make_config(tmp_path, prune=False)

    def train(*_: object) -> tuple[str, Mapping[str, float]]:
        with pytest.raises(ArtifactError, match="is at work on the same sweep"):
            search(config, tmp_path / "s", Bowl(), quiet)
        return "m", {"holdout_loss_after": 1.0}

    search(config, tmp_path / "s", train, quiet)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # mlflow 3.17 with SQLAlchemy 2.1
def test_a_sweep_of_real_trainings_registers_the_best(tmp_path, tiny, examples) -> None:
    """Two learning rates: the smaller one learns next to nothing in six steps."""
    workspace = Workspace(tmp_path)
    workspace.build(
        "examples", lambda folder: Made({"n": int(bool(shutil.copy(examples, folder)))}), inputs={}, settings={}
    )
    tree = {
        "root": tmp_path,
        "model": {"name": str(tiny), "device": "cpu"},
        "train": {"max_steps": 6, "batch_size": 4, "max_tokens": 1024, "watch": {"eval_steps": 3}},
        "sweep": {"sampler": "grid", "space": {"train.learning_rate": {"choices": [1e-2, 1e-7]}}},
    }
    file = tmp_path / "wellread.yaml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(tree, default=str))))
    done = subprocess.run(
        [sys.executable, "-m", "app.entry", "train", "sweep", "--config", str(file), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    best = next(row for row in told["trials"] if row["trial"] == told["best"])
    assert best["train.learning_rate"] == 1e-2
    assert workspace.current("models").id == told["model"] == best["model"]
    assert [version.id for version in workspace.versions("models")] == [told["model"]]  # those that lost are gone
    assert (next((tmp_path / "sweeps").iterdir()) / "trials.png").exists()
    from train.track import EXPERIMENT, open_client

    client = open_client(tmp_path)
    runs = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    nested = [run for run in runs if run.data.tags.get("mlflow.parentRunId")]
    assert len(nested) == 2
    assert all("holdout_loss" in run.data.metrics for run in nested)
    parent = client.get_run(nested[0].data.tags["mlflow.parentRunId"])
    assert parent.data.metrics["best_value"] == best["value"]
