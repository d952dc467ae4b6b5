"""`wellread models`, `promote`, `rollback`, `export`, `card` and `lineage`, as people type them."""

import json
from pathlib import Path

import pytest

from app.cli import run
from configs.artifacts import Made, Workspace
from tests.train.export_toy import make_workspace, save_base


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]):
    """(exit code, stdout, stderr) of a command."""

    def called(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A workspace in the current folder with two models, which nothing mirrors; their versions, oldest first."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("train.registry._into_mlflow", lambda *_: None)
    Path("wellread.yaml").write_text("root: data\n")
    workspace = Workspace(Path("data"))
    return [
        workspace.build("models", lambda _: Made(figures={"loss_last": 1.5}), inputs={}, settings={"model": name}).id
        for name in ("first", "second")
    ]


def test_names_notes_and_tags_are_given_and_shown(versions: list[str], call) -> None:
    first, second = versions
    assert call("promote", first, "--force", "--note", "the first")[0] == 0
    assert call("models", "challenger", second, "--note", "try it")[:2] == (0, f"challenger is now {second}\n")
    assert call("models", "tag", "champion", "owner=docs team", "stage=test")[0] == 0
    assert call("models", "tag", "champion", "stage=")[:2] == (0, f"{first}: owner=docs team\n")
    rows = json.loads(call("models", "--json")[1])
    assert [(row["id"], row["aliases"], row["tags"]) for row in rows] == [
        (first, ["champion"], {"owner": "docs team"}),
        (second, ["challenger"], {}),
    ]
    assert "the first" in rows[0]["note"]
    assert rows[0]["note"].startswith("forced: ")
    assert rows[1]["note"] == "try it"
    assert "challenger" in call("models")[1]
    assert call("promote", "challenger", "--force")[0] == 0
    assert [row["aliases"] for row in json.loads(call("models", "--json")[1])] == [["previous"], ["champion"]]
    assert call("rollback")[:2] == (0, f"champion is now {first}\n")


def test_mistakes_are_one_line(versions: list[str], call) -> None:
    for arguments, code, text in (
        (("models", "tag", "latest", "owner"), 2, "'owner' is not a tag"),
        (("models", "tag", "latest", "a b=c"), 1, "'a b' cannot be the name of a tag"),
        (("models", "challenger", "base"), 1, "the base model is not a trained one"),
        (("promote", "challenger"), 1, "no model is challenger yet. Run `wellread models challenger"),
        (("export", "nope"), 1, "there is no model 'nope'"),
        (("export", "--format", "onnx"), 1, "there is no export format 'onnx'"),
        (("lineage", "nope"), 1, "there is no version 'nope'"),
    ):
        said = call(*arguments)
        assert (said[0], said[2].count("\n")) == (code, 1), said
        assert text in said[2]


def test_card_and_lineage_are_printed_and_written(versions: list[str], call) -> None:
    _, second = versions
    assert call("card")[1].startswith("---\nlicense: other\n")
    assert call("card", second, "--out", "CARD.md")[:2] == (0, "CARD.md\n")
    assert f"# wellread {second}" in Path("CARD.md").read_text()
    assert json.loads(call("lineage", "--json")[1])["of"] == second
    assert call("lineage", second)[1].startswith(f"models {second}")


@pytest.mark.slow
def test_an_export_is_made_or_refused(tmp_path: Path, call) -> None:
    config = make_workspace(tmp_path / "ws", save_base(tmp_path / "base"))
    small = [
        f"--set={one}" for one in (f"root={config.root}", "export.prompts=2", "export.tokens=4", "model.device=cpu")
    ]
    code, out, _ = call("export", "--format", "gguf", "--quantization", "f32", "--out", str(tmp_path / "out"), *small)
    assert (code, out.splitlines()[-1]) == (0, str(tmp_path / "out"))
    assert (tmp_path / "out" / "model.gguf").exists()
    code, _, err = call(
        "export", "--format", "gguf", "--quantization", "f32", "--set=export.logprob_tolerance=1e-12", *small
    )
    assert (code, "does not answer as the model does" in err) == (3, True)
