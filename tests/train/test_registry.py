"""Names of models: promote, roll back, resolve without MLflow; the mirror in MLflow; the gate."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli import run
from configs.artifacts import Made, Version, Workspace
from configs.errors import ArtifactError, GateRefused
from configs.evaluation import Condition
from configs.schema import Config
from train.evaluation.gate import reasons_against, refuse
from train.promotion import Judged, run_promote
from train.registry import Registry
from train.settings import evaluation_settings, model_settings

MODEL = "tiny"


GATE = [Condition(figure="answer_f1", max_drop=0.1)]


def make_model(root: Path, number: int) -> Version:
    settings = {"model": MODEL, "train": {"learning_rate": 0.1, "lora": {"rank": number}}}
    figures = {"loss_last": 1.0 / number}
    return Workspace(root).build(
        "models", lambda _: Made(figures=figures), inputs={"examples": "e1"}, settings=settings
    )


def make_evaluation(root: Path, model: Version | None, f1: float, examples: str = "e1", **evaluate: object) -> Version:
    inputs = {"examples": examples} | ({"models": model.id} if model else {})
    chosen = config(root, **evaluate)
    settings = model_settings(chosen) | {"evaluate": evaluation_settings(chosen)}
    made = Made({"examples": chosen.evaluate.max_examples}, {"answer_f1": f1, "perplexity": 2.0})
    return Workspace(root).build("evaluations", lambda _: made, inputs=inputs, settings=settings)


def config(root: Path, **evaluate: object) -> Config:
    gate = [{"figure": "answer_f1", "max_drop": 0.1}]
    return Config.model_validate(
        {"root": root, "model": {"name": MODEL}, "evaluate": {"max_examples": 4, "gate": gate, **evaluate}}
    )


def no_mirror(*_: object) -> None:
    """A registry without MLflow: these tests are about names."""


def test_promote_and_roll_back(tmp_path: Path) -> None:
    registry = Registry(tmp_path, no_mirror)
    assert registry.resolve("champion") is None
    first, second = make_model(tmp_path, 1), make_model(tmp_path, 2)
    registry.promote(first.id)
    assert registry.promote(second.id).aliases == ("champion",)
    assert registry.promote(second.id).aliases == ("champion",)
    assert registry.aliases() == {"champion": second.id, "previous": first.id}
    assert registry.rollback().id == first.id
    assert registry.aliases() == {"champion": first.id, "previous": second.id}
    assert [(model.id, model.aliases) for model in registry.list()] == [
        (first.id, ("champion",)),
        (second.id, ("previous",)),
    ]
    rows = [json.loads(line) for line in (tmp_path / "promotions.jsonl").read_text().splitlines()]
    assert [row["action"] for row in rows] == ["promote", "promote", "rollback"]


def test_a_challenger_is_tried_beside_the_champion_until_it_is_promoted(tmp_path: Path) -> None:
    registry = Registry(tmp_path, no_mirror)
    first, second = make_model(tmp_path, 1), make_model(tmp_path, 2)
    registry.promote(first.id)
    assert registry.challenge(second.id, "fewer steps").aliases == ("challenger",)
    assert registry.get(second.id).note == "fewer steps"
    with pytest.raises(ArtifactError, match=f"{first.id} is the champion"):
        registry.challenge(first.id)
    assert registry.aliases() == {"champion": first.id, "challenger": second.id}
    assert registry.promote(second.id, "answers better").aliases == ("champion",)
    assert registry.aliases() == {"champion": second.id, "previous": first.id}
    assert [model.note for model in registry.list()] == ["", "answers better"]


def test_going_back_to_a_challenger_makes_it_no_challenger_any_more(tmp_path: Path) -> None:
    registry = Registry(tmp_path, no_mirror)
    first, second = make_model(tmp_path, 1), make_model(tmp_path, 2)
    registry.promote(first.id)
    registry.promote(second.id)
    registry.challenge(first.id)
    assert registry.rollback().aliases == ("champion",)
    assert registry.aliases() == {"champion": first.id, "previous": second.id}


def test_tags_are_kept_beside_the_versions_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    registry = Registry(tmp_path, no_mirror)
    model = make_model(tmp_path, 1)
    assert registry.tag(model.id, {"owner": "docs", "stage": "test"}).tags == {"owner": "docs", "stage": "test"}
    assert registry.tag(model.id, {"stage": ""}).tags == {"owner": "docs"}
    with pytest.raises(ArtifactError, match="'a/b' cannot be the name of a tag"):
        registry.tag(model.id, {"a/b": "c"})
    # A line that a crash cut off takes none of the others with it.
    registry.promote(model.id, "kept")
    with (tmp_path / "promotions.jsonl").open("a") as log:
        log.write('{"at": "20')
    assert registry.get(model.id).note == "kept"
    (tmp_path / "tags.json").write_text("[1")
    with pytest.raises(ArtifactError, match=r"tags\.json is damaged"):
        registry.list()


def test_names_that_stand_for_nothing(tmp_path: Path) -> None:
    registry = Registry(tmp_path, no_mirror)
    with pytest.raises(ArtifactError, match="no previous model"):
        registry.rollback()
    with pytest.raises(ArtifactError, match="models version nope is not in"):
        registry.promote("nope")
    with pytest.raises(ArtifactError, match=r"no alias 'best'\. Known: champion"):
        registry.resolve("best")
    (tmp_path / "aliases.json").write_text("{")
    with pytest.raises(ArtifactError, match="is damaged"):
        registry.resolve("champion")


def test_a_mirror_that_fails_does_not_undo_a_promotion(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("database is locked")

    model = make_model(tmp_path, 1)
    assert Registry(tmp_path, broken).promote(model.id).aliases == ("champion",)
    assert "database is locked" in caplog.text


def test_resolving_imports_neither_mlflow_nor_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from train.registry import Registry;"
        f"Registry(Path({str(tmp_path)!r})).resolve('champion');"
        "print([name for name in ('mlflow', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # mlflow 3.17 with SQLAlchemy 2.1
def test_mlflow_holds_the_run_and_mirrors_the_names(tmp_path: Path) -> None:
    from train.track import open_client, track_training

    first, second = make_model(tmp_path, 1), make_model(tmp_path, 2)
    curve = [{"step": n, "loss": 3.0 - n, "learning_rate": 0.1, "tokens": 5, "seconds": 1} for n in (1, 2)]
    run = track_training(tmp_path, first, curve)
    assert track_training(tmp_path, first, curve) == run
    client = open_client(tmp_path)
    assert [point.value for point in client.get_metric_history(run, "loss")] == [2.0, 1.0]
    data = client.get_run(run).data
    assert data.params["train.lora.rank"] == "1"
    assert data.tags["wellread.model"] == first.id
    assert data.tags["input.examples"] == "e1"
    registry = Registry(tmp_path)
    registry.register(first)
    registry.promote(first.id)
    registry.promote(second.id)
    registry.rollback()
    registry.challenge(second.id, "tried beside the first")
    registry.tag(second.id, {"owner": "docs", "stage": "test"})
    registry.tag(second.id, {"stage": ""})
    mirrored = client.get_model_version_by_alias("wellread", "challenger")
    assert mirrored.description == "tried beside the first"
    assert {name: value for name, value in mirrored.tags.items() if name.startswith("tag.")} == {"tag.owner": "docs"}
    registry.promote(second.id)
    registry.rollback()
    assert set(client.get_registered_model("wellread").aliases) == {"champion", "previous"}
    assert client.get_model_version_by_alias("wellread", "champion").tags["wellread.model"] == first.id
    assert client.get_model_version_by_alias("wellread", "champion").run_id == run
    assert client.get_model_version_by_alias("wellread", "previous").tags["wellread.model"] == second.id


def test_the_gate_names_its_reasons() -> None:
    good, bad = {"answer_f1": 0.5, "perplexity": 3.0}, {"answer_f1": 0.3, "perplexity": 3.0}
    assert reasons_against(good, bad, [Condition(figure="answer_f1", max_drop=0.0)]) == []
    assert reasons_against({"answer_f1": 0.41, "perplexity": 9.0}, good, GATE) == []
    assert reasons_against(bad, good, GATE) == ["its answer F1 0.300 is 0.200 below 0.500, and 0.100 is allowed"]
    assert reasons_against({"answer_f1": 0.9, "perplexity": float("nan")}, good, GATE) == [
        "its perplexity is missing or not a number"
    ]
    with pytest.raises(GateRefused) as refusal:
        refuse("m1", ["it is worse"])
    assert refusal.value.exit_code == 3


def test_promotion_passes_the_gate_or_is_forced_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.registry._into_mlflow", no_mirror)
    settings = config(tmp_path)
    first, second = make_model(tmp_path, 1), make_model(tmp_path, 2)
    with pytest.raises(GateRefused, match="have not been evaluated on the same examples"):
        run_promote(settings, first.id)
    make_evaluation(tmp_path, None, 0.30)
    make_evaluation(tmp_path, first, 0.50)
    assert run_promote(settings, first.id).aliases == ("champion",)
    make_evaluation(tmp_path, second, 0.90, examples="others")
    with pytest.raises(GateRefused, match="have not been evaluated on the same examples"):
        run_promote(settings, second.id)
    make_evaluation(tmp_path, second, 0.35)
    with pytest.raises(GateRefused, match=r"answer F1 0.350 is 0.150 below 0.500"):
        run_promote(settings, second.id)
    assert run_promote(settings, second.id, force=True).aliases == ("champion",)
    last = json.loads((tmp_path / "promotions.jsonl").read_text().splitlines()[-1])
    assert last["note"].startswith("forced: the gate refuses")
    with pytest.raises(ArtifactError, match="base model is not a trained one"):
        run_promote(settings, "base")


def test_only_evaluations_with_the_settings_in_force_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.registry._into_mlflow", no_mirror)
    model = make_model(tmp_path, 1)
    base, few = make_evaluation(tmp_path, None, 0.3), make_evaluation(tmp_path, model, 0.5)
    with pytest.raises(GateRefused) as refusal:
        run_promote(config(tmp_path, max_examples=500), model.id)
    assert f"(evaluation {few.id} has evaluate.max_examples 4, not 500)" in refusal.value.problem
    assert f"`wellread eval --model {model.id}` and `wellread eval --model reference`" in refusal.value.remedy
    # The candidate alone is not enough; the message is then about the other model's evaluation.
    make_evaluation(tmp_path, model, 0.5, max_examples=500)
    with pytest.raises(GateRefused, match=rf"evaluation {base.id} has evaluate\.max_examples 4, not 500"):
        run_promote(config(tmp_path, max_examples=500), model.id)
    # Newer evaluations with other settings do not stand in the way, nor does what decides no figure.
    told: list[Judged] = []
    assert run_promote(config(tmp_path, batch_size=1, resamples=100), model.id, judged=told.append).id == model.id
    assert [str(one) for one in told] == [f"4 examples, evaluations {few.id} and {base.id}"]


def test_the_champion_is_not_promoted_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_model(tmp_path, 1)
    Registry(tmp_path, no_mirror).promote(model.id)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    assert run(["promote", "champion", "--set", f"root={tmp_path}"]) == 0
    assert capsys.readouterr().out == f"{model.id} is the champion already\n"
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()} == before
