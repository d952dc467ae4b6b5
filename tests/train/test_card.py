"""The model card says what is known, and that the rest is not; the lineage leads from the source to the exports."""

import json
from pathlib import Path

import pytest
import yaml

from configs.artifacts import Made, Version, Workspace
from configs.errors import ArtifactError
from configs.schema import Config
from train.card import base_licence, model_card
from train.lineage import lineage
from train.registry import Registry

SITE = "https://docs.test/"


def make(
    workspace: Workspace, stage: str, inputs: dict[str, str], settings: dict[str, object], **made: object
) -> Version:
    return workspace.build(stage, lambda _: Made(**made), inputs=inputs, settings=settings)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """The manifests of a workspace in which one model was made."""
    workspace = Workspace(tmp_path)
    pages = make(workspace, "pages", {}, {"site": SITE}, counts={"pages": 5})
    documents = make(workspace, "documents", {"pages": pages.id}, {}, counts={"documents": 4})
    chunks = make(workspace, "chunks", {"documents": documents.id}, {}, counts={"chunks": 1234})
    index = make(workspace, "index", {"chunks": chunks.id}, {}, counts={"chunks": 1234})
    examples = make(workspace, "examples", {"index": index.id}, {}, counts={"train": 90, "holdout": 10})
    train = {"objective": "sft", "method": "lora", "learning_rate": 3e-4, "lora": {"rank": 8, "variant": "dora"}}
    settings = {"model": "maker/tiny|chat", "train": train, "seed": 7}
    make(workspace, "models", {"examples": examples.id}, settings, counts={"steps": 3}, figures={"loss_last": 1.25})
    return workspace


def evaluated(workspace: Workspace) -> Version:
    model = workspace.current("models")
    inputs = {"examples": workspace.current("examples").id, "models": model.id}
    return make(workspace, "evaluations", inputs, {}, counts={"examples": 10}, figures={"answer_f1": 0.421})


def card_of(workspace: Workspace, **settings: object) -> str:
    config = Config.model_validate({"root": workspace.root, **settings})
    return model_card(config, workspace.current("models"))


def test_a_card_holds_the_facts_and_names_what_is_unknown(workspace: Workspace) -> None:
    text = card_of(workspace)
    front = yaml.safe_load(text.split("---\n")[1])
    assert (front["license"], front["base_model"]) == ("other", "maker/tiny|chat")
    assert "- Base model maker/tiny|chat: unknown." in text
    assert "Documents that it was trained on: unknown." in text
    assert f"| examples | {workspace.current('examples').id} |" in text
    assert "90 train, 10 holdout" in text
    assert "| lora.variant | dora |" in text
    assert "| loss_last | 1.25 |" in text
    assert "It has not been evaluated" in text
    assert "## Approval" not in text


def test_a_card_shows_evaluation_approval_and_licence_once_they_are_there(workspace: Workspace, tmp_path: Path) -> None:
    evaluation = evaluated(workspace)
    registry = Registry(workspace.root, lambda *_: None)
    model = workspace.current("models")
    registry.promote(model.id, "read by two people")
    registry.tag(model.id, {"owner": "docs-team"})
    text = card_of(workspace)
    assert f"Evaluation {evaluation.id}" in text
    assert "| answer_f1 | 0.421 |" in text
    assert "It has not been evaluated" not in text
    assert "Aliases when this card was written: champion." in text
    assert "Note of its promotion: read by two people" in text
    assert "- owner: docs-team" in text


def test_notes_and_tags_bring_no_html_into_a_card(workspace: Workspace) -> None:
    registry = Registry(workspace.root, lambda *_: None)
    model = workspace.current("models")
    registry.promote(model.id, "read by <b>two</b>\n# people & more")
    registry.tag(model.id, {"owner": "<i>docs"})
    text = card_of(workspace)
    assert "Note of its promotion: read by &lt;b&gt;two&lt;/b&gt; # people &amp; more\n" in text
    assert "- owner: &lt;i&gt;docs" in text


def test_a_figure_of_one_row_says_so(workspace: Workspace) -> None:
    model = workspace.current("models")
    row = {"id": "a", "values": {"answer_f1": 0.5}, "tokens": 3}

    def fill(folder: Path) -> Made:
        (folder / "answers.jsonl").write_text(json.dumps(row) + "\n")
        return Made(figures={"answer_f1": 0.5})

    inputs = {"examples": workspace.current("examples").id, "models": model.id}
    workspace.build("evaluations", fill, inputs=inputs, settings={})
    assert "(1 row) |" in card_of(workspace)


def test_the_licence_of_a_base_model_is_read_where_its_makers_state_it(tmp_path: Path) -> None:
    assert base_licence("embedded:SmolLM2-135M-Instruct") == "apache-2.0"
    assert base_licence(str(tmp_path)) == "unknown"
    for text in ("no front matter", "---\nlicense: [\n---\n", "---\n- a list\n---\n"):
        (tmp_path / "README.md").write_text(text)
        assert base_licence(str(tmp_path)) == "unknown"
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n")
    assert base_licence(str(tmp_path)) == "mit"


def test_lineage_leads_from_the_source_to_what_came_of_the_model(workspace: Workspace) -> None:
    evaluation = evaluated(workspace)
    model = workspace.current("models")
    inputs = {"models": model.id, "examples": workspace.current("examples").id}
    export = make(workspace, "exports", inputs, {"format": "gguf", "quantization": "q8_0"})
    Registry(workspace.root, lambda *_: None).promote(model.id)
    graph = lineage(workspace.root, model.id)
    assert [node.kind for node in graph.nodes] == (
        "source pages documents chunks index examples models evaluations exports".split()
    )
    assert {(SITE, workspace.current("pages").id), (model.id, evaluation.id)} <= set(graph.edges)
    lines = list(graph.lines())
    assert lines[0] == f"source {SITE}"
    assert f"models {model.id} [champion]" in lines[6]
    assert lines[6].endswith("<-")
    assert "1,234 chunks" in lines[3]
    assert (lines[7].strip().startswith("├─ evaluations"), lines[8].strip().startswith("└─ exports")) == (True, True)
    assert "answer F1 0.421" in lines[7]
    assert export.id in lines[8]
    assert graph.as_json()["of"] == model.id


def test_lineage_of_data_holds_every_model_made_of_it_and_that_of_a_model_no_other(workspace: Workspace) -> None:
    first = workspace.current("models")
    examples = workspace.current("examples")
    second = make(workspace, "models", {"examples": examples.id}, {"model": "other"})
    kinds = [node.id for node in lineage(workspace.root, examples.id).nodes if node.kind == "models"]
    assert kinds == [first.id, second.id]
    assert first.id not in {node.id for node in lineage(workspace.root, second.id).nodes}
    with pytest.raises(ArtifactError, match="there is no version 'nope'"):
        lineage(workspace.root, "nope")
