"""Models side by side on the tiny model: figures, intervals, the reports, and the command line around them."""

import json
import re
import shutil
from copy import deepcopy
from pathlib import Path

import pytest

from app.cli import run
from configs.artifacts import Made, Version, Workspace
from configs.errors import ArtifactError
from configs.schema import Config
from ingest.records import Example, read_table, write_table
from tests.train.conftest import make_tokenizer
from train.evaluation.compare import compare, run_comparison
from train.evaluation.figures import NAMES
from train.evaluation.report import write_report
from train.evaluation.stage import rows_of

EVIL = "<script>alert(1)</script> | **bold** [x](javascript:alert(1))"
EVALUATE = {
    "max_examples": 4,
    "max_new_tokens": 6,
    "batch_size": 4,
    "documents": 1,
    "window": 64,
    "stride": 64,
    "probes": 2,
    "general": 2,
    "resamples": 200,
}


def save_other_model(folder: Path, tiny: Path) -> None:
    """A `models` version with full weights of its own: the tiny model with its layers exchanged."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny)
    layers = model.model.layers
    first = {name: value.clone() for name, value in layers[0].state_dict().items()}
    layers[0].load_state_dict(layers[1].state_dict())
    layers[1].load_state_dict(first)
    model.save_pretrained(folder / "model")
    make_tokenizer().save_pretrained(folder / "model")
    (folder / "spec.json").write_text(json.dumps({"model": {"name": str(tiny)}}))


@pytest.fixture(scope="module")
def config(tmp_path_factory, tiny, examples) -> Config:
    root = tmp_path_factory.mktemp("root")
    workspace = Workspace(root)
    rows = list(read_table(examples, Example))
    # What pages say must not become markup.
    rows = [Example(**{**vars(row), "question": f"{row.question} {EVIL}"}) for row in rows]
    workspace.build(
        "examples",
        lambda folder: Made({"n": write_table(folder / "examples.parquet", rows, Example)}),
        inputs={},
        settings={},
    )

    def fill(folder: Path) -> Made:
        save_other_model(folder, tiny)
        return Made()

    workspace.build("models", fill, inputs={}, settings={"model": str(tiny)})
    return Config.model_validate({"root": root, "model": {"name": str(tiny), "device": "cpu"}, "evaluate": EVALUATE})


@pytest.fixture(scope="module")
def options(config: Config) -> list[str]:
    sets = {"root": config.root, "model.name": config.model.name, "model.device": "cpu"}
    sets |= {f"evaluate.{name}": value for name, value in EVALUATE.items()}
    return [part for name, value in sets.items() for part in ("--set", f"{name}={value}")]


@pytest.fixture(scope="module")
def evaluated(config: Config):
    """The comparison, its report's folder, and what was told on the way."""
    told: list[str] = []
    comparison, folder = run_comparison(config, [], [], lambda what, _done, _total: told.append(what))
    return comparison, folder, told


def test_without_names_the_newest_model_stands_beside_the_base(evaluated) -> None:
    comparison, _, told = evaluated
    assert [one.name for one in comparison.models] == ["base", "latest"]
    assert [(one.ours, one.theirs) for one in comparison.gains] == [("latest", "base")]
    assert {"base: measure answers", "latest: measure probes"} <= set(told)
    (gain,) = comparison.gains
    assert set(gain.differences) == set(NAMES) - {"perplexity", "document_perplexity"}
    for name, apart in gain.differences.items():
        assert apart.low <= apart.mean <= apart.high
        before, after = (one.figures[name].value for one in comparison.models)
        assert apart.mean == pytest.approx(after - before, abs=1e-5)
    for one in comparison.models:
        for figure in one.figures.values():
            assert figure.low <= figure.value <= figure.high
    assert [check.figure for check in gain.checks][:2] == ["answer F1", "answer F1"]


def test_a_second_comparison_measures_nothing(config: Config, evaluated) -> None:
    told: list[str] = []
    _, folder = run_comparison(config, ["latest"], ["base"], lambda what, _done, _total: told.append(what))
    assert told == []
    assert folder == evaluated[1]


def test_names_of_one_evaluation_are_one_column_and_not_compared_with_itself(config: Config, evaluated) -> None:
    versions = {version.manifest.inputs.get("models", ""): version for version in _evaluations(config)}
    latest = next(version for model, version in versions.items() if model)
    comparison = compare(config, {"champion": latest, "latest": latest}, ["latest"], ["champion"])
    assert [one.name for one in comparison.models] == ["champion = latest"]
    assert comparison.gains == []


def test_evaluations_of_other_examples_are_not_compared(config: Config, evaluated) -> None:
    one = _evaluations(config)[0]
    other = Version(one.path, one.manifest.model_copy(update={"inputs": {"examples": "others"}, "version": "x"}))
    with pytest.raises(ArtifactError, match="measured on different examples"):
        compare(config, {"base": one, "latest": other}, ["latest"], ["base"])


def test_the_html_report_needs_nothing_else_and_shows_no_markup_of_pages(evaluated) -> None:
    _, folder, _ = evaluated
    html = (folder / "report.html").read_text()
    assert "<script" not in html
    assert "javascript:alert" not in re.sub(r"\[x\]\(javascript:alert\(1\)\)", "", html)
    assert not re.search(r"(?:src|href)=\"(?!data:)", html)
    assert html.count("data:image/png;base64,") == 3
    for shown in ("latest against base", "answer F1", "citation recall", "Slices", "(few)", "condition of the gate"):
        assert shown in html


def test_the_markdown_report_has_its_plots_beside_it_and_whole_tables(evaluated) -> None:
    _, folder, _ = evaluated
    text = (folder / "report.md").read_text()
    assert [name for name in re.findall(r"!\[.*?\]\((.*?)\)", text) if not (folder / name).exists()] == []
    assert (folder / "figures.png").read_bytes().startswith(b"\x89PNG")
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) >= 4
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table


def test_what_models_and_pages_say_is_escaped_in_both_reports(evaluated, tmp_path: Path) -> None:
    comparison = deepcopy(evaluated[0])
    for row in comparison.models[1].rows["answers"]:
        if "answer_f1" in row["values"]:
            row["values"]["answer_f1"] = -1.0
        row["answer"] = f"{EVIL}\n\x1b[31m# heading\nnext"
    write_report(tmp_path, comparison)
    text, html = (tmp_path / "report.md").read_text(), (tmp_path / "report.html").read_text()
    assert "worse than those of base" in html
    assert "<script" not in text + html
    assert "\x1b" not in text + html
    assert "&lt;script&gt;" in html
    # No line begins as a heading, and no link is left, where a model wrote one.
    assert "\n# heading" not in text
    assert "](javascript" not in text
    assert r"\*\*bold\*\*" in text


def test_the_command_line_shows_models_side_by_side(evaluated, options, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["eval", "model", *options]) == 0
    shown = capsys.readouterr()
    for part in ("personal data leaks", "latest against base", "no clear difference", "The gate would", "report.html"):
        assert part in shown.out
    assert run(["eval", "model", "latest", "--against", "base", "--json", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["models"]] == ["base", "latest"]
    assert found["gains"][0]["differences"]["answer_f1"].keys() >= {"mean", "low", "high"}
    assert Path(found["report"], "report.html").exists()


def test_one_model_is_measured_as_before(evaluated, options, capsys) -> None:
    assert run(["eval", "--model", "base", "--json", *options]) == 0
    version = json.loads(capsys.readouterr().out)
    assert version["reused"] is True
    assert set(version["figures"]) == set(NAMES)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["eval", "model", "nosuch"], "there is no model 'nosuch'"),
        (["eval", "model", "--against", "champion"], "no model is champion yet"),
    ],
    ids=["unknown model", "no champion"],
)
def test_a_name_that_stands_for_nothing_is_one_line(evaluated, options, capsys, arguments, says) -> None:
    assert run([*arguments, *options]) == 1
    shown = capsys.readouterr().err
    assert says in shown
    assert "Traceback" not in shown


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # mlflow 3.17 with SQLAlchemy 2.1
def test_promote_prints_the_conditions_and_a_refusal_changes_nothing(
    config: Config, evaluated, options, capsys, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    root = tmp_path / "root"
    shutil.copytree(config.root, root)
    options = [*options, "--set", f"root={root}"]
    gate = ["--set", "evaluate.gate=[{figure: answer_f1, at_least: 2}, {figure: loss, max_rise: 9, bound: low}]"]
    assert run(["promote", *options, *gate]) == 3
    shown = capsys.readouterr()
    assert "FAILED" in shown.out
    assert "passed" in shown.out
    assert "is below 2" in shown.err
    assert not (root / "aliases.json").exists()
    gate = ["--set", "evaluate.gate=[{figure: loss, max_rise: 9, bound: low}]"]
    assert run(["promote", *options, *gate]) == 0
    shown = capsys.readouterr()
    assert "champion is now" in shown.out
    assert "Measured on 4 examples, evaluations " in shown.out
    assert json.loads((root / "aliases.json").read_text())["champion"] == evaluated[0].models[1].model


def test_rows_of_a_damaged_evaluation_are_one_clear_line(config: Config, evaluated, tmp_path: Path) -> None:
    one = _evaluations(config)[0]
    (tmp_path / "answers.jsonl").write_text('{"id": "a"}\n{"question": "b"}\n')
    with pytest.raises(ArtifactError, match=r"line 2 of .* has no id"):
        rows_of(Version(tmp_path, one.manifest))


def _evaluations(config: Config) -> list[Version]:
    return Workspace(config.root).versions("evaluations")
