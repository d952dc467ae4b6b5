"""MLflow's record of a run: while it trains, after a kill, and when it is finished."""

import time
from pathlib import Path

import pytest

from configs.artifacts import Made, Version, Workspace
from train.follow import followed

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # mlflow 3.17 with SQLAlchemy 2.1
SETTINGS = {"train": {"learning_rate": 0.1, "lora": {"rank": 4}}, "model": "tiny"}


def rows(count: int) -> list[dict[str, float]]:
    return [
        {"step": step, "of": 9, "loss": 3.0 - step / 10, "learning_rate": 0.01, "time": 1.7e9 + step}
        for step in range(1, count + 1)
    ]


def make_model(root: Path) -> Version:
    return Workspace(root).build(
        "models", lambda _: Made({"steps": 5}, {"loss_last": 2.5}), inputs={"examples": "e1"}, settings=SETTINGS
    )


@pytest.mark.slow
def test_a_run_is_followed_killed_gone_on_with_and_finished(tmp_path, monkeypatch) -> None:
    from train.track import find_run, open_client, track_training

    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")

    (tmp_path / "models").mkdir()
    grown = rows(2)

    def body(version: str) -> None:
        with followed(tmp_path, version, SETTINGS, {"examples": "e1"}, lambda: grown):
            raise KeyboardInterrupt

    version = make_model(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        body(version.id)
    client = open_client(tmp_path)
    run = find_run(client, tmp_path, version.id)
    assert run is not None
    assert run.info.status == "KILLED"
    assert run.data.params["train.lora.rank"] == "4"
    assert run.data.tags["input.examples"] == "e1"
    assert run.data.tags["code_revision"]
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [1, 2]

    grown += [*rows(5)[2:], {"step": 2, "holdout_loss": 2.0}]
    with followed(tmp_path, version.id, SETTINGS, {"examples": "e1"}, lambda: grown):
        time.sleep(2)
    plot = tmp_path / "curves.png"
    plot.write_bytes(b"png")
    finished = track_training(tmp_path, version, grown, [plot])
    assert finished == run.info.run_id == track_training(tmp_path, version, grown, [plot])
    history = client.get_metric_history(finished, "loss")
    assert [(point.step, point.value) for point in history] == [(row["step"], row["loss"]) for row in rows(5)]
    assert [point.step for point in client.get_metric_history(finished, "holdout_loss")] == [2]
    ended = client.get_run(finished)
    assert ended.info.status == "FINISHED"
    assert ended.data.metrics["final_loss_last"] == 2.5
    assert "system/cpu_utilization_percentage" in ended.data.metrics
    assert [file.path for file in client.list_artifacts(finished)] == ["curves.png"]


def test_a_record_that_cannot_be_kept_stops_no_training(tmp_path, caplog) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database")
    with followed(tmp_path, "v1", {}, {}, list):
        trained = True
    assert trained
    assert "the run is not followed in MLflow" in caplog.text
