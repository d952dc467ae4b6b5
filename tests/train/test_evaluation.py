"""The parts of an evaluation: sections and documents, probes, general questions, slices, and what a killed run left."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from configs.artifacts import Made, Version, Workspace
from configs.errors import ArtifactError
from configs.evaluation import FigureName
from configs.schema import Config
from ingest.examples import ABSTENTION
from ingest.records import Document, Example, write_table
from tests.train.conftest import make_chunk, make_example
from train.evaluation.figures import COSTS, LABELS, NAMES
from train.evaluation.general import General, read_general
from train.evaluation.held_out import held_out_documents, sections_of
from train.evaluation.jsonl import Kept, read_rows
from train.evaluation.measure import Work, measure_answers, measure_general
from train.evaluation.probes import judged, read_probes
from train.evaluation.slices import OTHERS, slices_of
from train.evaluation.stage import GENERATED, held_out_rows, rows_of, run_eval
from train.model import load_model
from train.settings import evaluation_settings

SETTINGS = {
    "max_examples": 5,
    "max_new_tokens": 8,
    "batch_size": 2,
    "documents": 2,
    "window": 64,
    "stride": 32,
    "probes": 3,
    "general": 3,
}


def config_of(root: Path, model: object, **evaluate: object) -> Config:
    return Config.model_validate(
        {"root": root, "model": {"name": str(model), "device": "cpu"}, "evaluate": {**SETTINGS, **evaluate}}
    )


def with_examples(root: Path, examples: Path) -> Version:
    def fill(folder: Path) -> Made:
        shutil.copy(examples, folder / "examples.parquet")
        return Made({"n": 24})

    return Workspace(root).build("examples", fill, inputs={}, settings={})


def example_of(number: int, *paths: str, **changes: object) -> Example:
    """An example about the page of the first path, shown between pages of the others."""
    chunks = tuple(replace(make_chunk(path, f"Text of {path}."), url=f"https://x.test/{path}") for path in paths)
    return replace(make_example(number, "holdout"), passages=chunks[::-1], doc_id=chunks[0].doc_id, **changes)


def test_figures_have_names_and_directions() -> None:
    assert set(LABELS) == set(NAMES) == set(FigureName.__args__)
    assert set(NAMES) > COSTS


def test_a_section_is_the_first_part_of_the_path_in_which_pages_differ() -> None:
    rows = [
        example_of(1, "docs/api/read", "docs/guide/start"),
        example_of(2, "docs/api/write%20all"),
        example_of(3, "docs/guide/start"),
        replace(example_of(4, "docs/guide/start"), doc_id=""),
    ]
    assert list(sections_of(rows).values()) == ["api", "api", "guide", "(none)"]
    assert list(sections_of([*rows, example_of(5, "docs")]).values())[-1] == "/"


def test_questions_about_one_page_are_grouped_by_heading() -> None:
    rows = [example_of(1, "docs/one"), example_of(2, "docs/one")]
    rows[0] = replace(rows[0], passages=(replace(rows[0].passages[0], headings=("Install", "Linux")),))
    assert list(sections_of(rows).values()) == ["Install", "docs/one"]


def test_held_out_documents_are_those_without_a_training_example(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    texts = {name: Document(name, f"https://x.test/{name}", name, f"All of {name}.", ()) for name in "abcd"}
    documents = workspace.build(
        "documents",
        lambda folder: Made({"n": write_table(folder / "documents.parquet", texts.values(), Document)}),
        inputs={},
        settings={},
    )
    rows = [replace(example_of(n, name), doc_id=name) for n, name in enumerate("abc")]
    rows.append(replace(rows[1], id="other", split="train"))

    def examples_of(inputs: dict[str, str], rows: list[Example]) -> Version:
        return workspace.build(
            "examples",
            lambda folder: Made({"n": write_table(folder / "examples.parquet", rows, Example)}),
            inputs=inputs,
            settings={"rows": len(rows)},
        )

    found = examples_of({"documents": documents.id}, rows)
    assert [one.text for one in held_out_documents(workspace, found, 9)] == ["All of a.", "All of c."]
    assert [one.text for one in held_out_documents(workspace, found, 1)] == ["All of a."]
    assert held_out_documents(workspace, found, 0) == []
    # Where the documents are gone, the passages that the questions are about stand for them.
    gone = examples_of({"documents": "gone"}, [example_of(1, "p", "q"), example_of(2, "r")])
    assert {one.text for one in held_out_documents(workspace, gone, 9)} == {"Text of p.", "Text of r."}


def test_guards_judge_the_answers_to_probes() -> None:
    toxic, leaking = read_probes(2)
    assert (toxic.kinds, leaking.kinds) == (("toxicity",), ("pii",))
    assert judged(leaking, "Write to ada.rennick@brightmill.example.com.") == {"pii_leak_rate": 1.0}
    assert judged(leaking, ABSTENTION) == {"pii_leak_rate": 0.0}
    assert judged(toxic, "You are a worthless idiot and everybody hates you.") == {"toxicity_rate": 1.0}
    assert judged(toxic, "I would rather not insult anybody.") == {"toxicity_rate": 0.0}


def test_every_shipped_probe_about_passages_has_something_to_leak() -> None:
    probes = read_probes(99)
    assert len(probes) == 30
    assert sum(probe.kinds == ("pii",) for probe in probes[:12]) == 6
    told = [probe for probe in probes if probe.kinds == ("pii",) and probe.passages]
    assert [probe.id for probe in told if not judged(probe, probe.passages[0])["pii_leak_rate"]] == []


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('{"prompt": "a"}\nnot json\n', "line 2 of .* is not a JSON object"),
        ('{"text": "a"}\n', "line 1 of .* has no prompt"),
        ('{"prompt": "a", "kind": "rude"}\n', "has the kind 'rude'. Kinds: toxicity, pii"),
        ('{"prompt": "a", "passages": "b"}\n', "are not a list of texts"),
        ('{"prompt": "a", "passages": [1]}\n', "are not a list of texts"),
        ('{"prompt": "a", "id": "1"}\n{"prompt": "b", "id": "1"}\n', "the id '1' occurs more than once"),
    ],
    ids=["no JSON", "no prompt", "unknown kind", "text for passages", "number for a passage", "id twice"],
)
def test_a_wrong_file_of_probes_names_its_line(tmp_path: Path, lines: str, says: str) -> None:
    (tmp_path / "own.jsonl").write_text(lines)
    with pytest.raises(ArtifactError, match=says):
        read_probes(9, tmp_path / "own.jsonl")


def test_own_probes_are_judged_for_both_unless_they_say_for_what(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text('{"prompt": "Who is it?", "passages": ["Ben."]}\n\n{"prompt": "b", "kind": "pii", "id": "x"}\n')
    first, second = read_probes(9, file)
    assert set(judged(first, "Nobody.")) == {"toxicity_rate", "pii_leak_rate"}
    assert "Ben." in first.messages()[1]["content"]
    assert (first.id, second.id, set(judged(second, ""))) == ("line-1", "x", {"pii_leak_rate"})


def test_a_probe_file_that_is_missing_or_no_text_is_one_clear_line(tmp_path: Path) -> None:
    config = config_of(tmp_path, "any", probe_file=str(tmp_path / "none.jsonl"))
    with pytest.raises(ArtifactError, match=r"cannot read .*none\.jsonl: No such file"):
        evaluation_settings(config)
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "caf\xe9"}\n')
    with pytest.raises(ArtifactError, match="is not UTF-8 text"):
        read_probes(9, tmp_path / "latin.jsonl")


def test_what_the_prompts_say_is_part_of_an_evaluations_name(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    settings = config_of(tmp_path, "any", probe_file=str(file))
    file.write_text('{"prompt": "a"}\n')
    before = evaluation_settings(settings)
    file.write_text('{"prompt": "b"}\n')
    assert evaluation_settings(settings) != before
    assert evaluation_settings(config_of(tmp_path, "any", probes=0))["probes"] == [0]


@pytest.mark.parametrize(
    ("match", "answers", "answer", "right"),
    [
        ("says", ["4", "four"], "It is 4.", True),
        ("says", ["4", "four"], "It is 14.", False),
        ("says", ["blue pot"], "Under the Blue  pot!", True),
        ("exact", ["yes"], "Yes.", True),
        ("exact", ["yes"], "Yes, I do.", False),
        ("pattern", ["[A-Z]+[.!]?"], "HELLO!\n", True),
        ("pattern", ["[A-Z]+[.!]?"], "Hello", False),
    ],
)
def test_a_general_answer_is_right_as_its_question_says(
    match: str, answers: list[str], answer: str, right: bool
) -> None:
    assert General("1", "fact", "?", match, tuple(answers)).right(answer) is right


def test_the_shipped_general_set_is_forty_questions_of_four_kinds() -> None:
    questions = read_general(99)
    assert len({one.id for one in questions}) == 40
    assert {one.match for one in questions} == {"says", "exact", "pattern"}
    assert sorted(one.kind for one in questions[:4]) == ["arithmetic", "fact", "format", "reading"]


def test_slices_are_counted_marked_when_small_and_rare_sections_go_together() -> None:
    def row(number: int, section: str, f1: float) -> dict[str, object]:
        answer = {"section": section, "kind": "heading", "answerable": True, "values": {"answer_f1": f1}}
        return {"id": str(number), **answer}

    rows = [row(n, "big", 1.0) for n in range(10)] + [row(10 + n, f"s{n:02}", 0.5) for n in range(12)]
    slices = slices_of({"one": {"answers": rows}, "two": {"answers": rows[:3]}})
    sections = [one for one in slices if one.by == "site section"]
    assert [(one.value, one.rows, one.small) for one in (sections[0], sections[-1])] == [
        ("big", 10, False),
        (OTHERS, 2, True),
    ]
    assert len(sections) == 12
    assert sections[0].figures == {"one": {"answer_f1": 1.0}, "two": {"answer_f1": 1.0}}
    assert sections[1].figures == {"one": {"answer_f1": 0.5}, "two": {}}
    assert [(one.by, one.value) for one in slices[12:]] == [("question type", "heading"), ("answerable", "answerable")]


def test_kept_rows_outlive_a_torn_line(tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    Kept(file).add([{"id": "a", "answer": "one\u2028line"}, {"id": "b", "answer": "two"}])
    with file.open("a") as out:
        out.write('{"id": "c", "ans')
    kept = Kept(file)
    kept.add([{"id": "d", "answer": "four"}])
    assert list(Kept(file).rows) == ["a", "b", "d"]
    assert read_rows(file)[0]["answer"] == "one\u2028line"


def test_a_killed_evaluation_goes_on_where_it_was_and_gives_the_same_rows(tmp_path: Path, tiny, examples) -> None:
    """Stopped inside the second batch: the first is not answered again, and all batches are as they would have been."""
    version = with_examples(tmp_path, examples)
    loaded = load_model(str(tiny), "cpu")
    chosen, _ = held_out_rows(version, loaded, 2000, 5, "off")

    def measured(kept: Kept, stop_at: int = 99) -> list[dict[str, object]]:
        def progress(_what: str, done: int, _total: int | None) -> None:
            told.append(done)
            if done >= stop_at:
                raise KeyboardInterrupt

        return measure_answers(Work(loaded, kept, 2, progress), chosen, {}, 8)

    told: list[int] = []
    whole = measured(Kept(tmp_path / "whole.jsonl"))
    broken = tmp_path / "broken.jsonl"
    with pytest.raises(KeyboardInterrupt):
        measured(Kept(broken), stop_at=2)
    first = broken.read_text()
    assert len(first.splitlines()) == 2
    assert measured(Kept(broken)) == whole
    assert broken.read_text().startswith(first)
    assert told == [2, 4, 5, 2, 2, 4, 5]


def test_general_questions_are_asked_without_documents(tmp_path: Path, tiny) -> None:
    work = Work(load_model(str(tiny), "cpu"), Kept(tmp_path / "kept.jsonl"), 4)
    rows = measure_general(work, read_general(2), 4)
    assert [row["topic"] for row in rows] == ["fact", "arithmetic"]
    assert [row["values"] for row in rows] == [{"general_accuracy": 0.0}] * 2


def test_a_stopped_stage_keeps_what_it_has_answered(tmp_path: Path, tiny, examples) -> None:
    with_examples(tmp_path, examples)
    config = config_of(tmp_path, tiny, documents=1, probes=1, general=1)

    def stop(what: str, _done: int, _total: int | None) -> None:
        if what == "measure documents":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_eval(config, "base", stop)
    (left,) = (tmp_path / "evaluations").glob(f".partial-*/{GENERATED}")
    # Marked, to see that these very answers are taken over.
    rows = [{**row, "answer": "marked"} if "answer" in row else row for row in read_rows(left)]
    left.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told: list[str] = []
    version = run_eval(config, "base", lambda what, _done, _total: told.append(what))
    assert {row["answer"] for row in rows_of(version)["answers"]} == {"marked"}
    assert not (version.path / GENERATED).exists()
    assert list(dict.fromkeys(told)) == [
        "load",
        "measure answers",
        "measure documents",
        "measure probes",
        "measure questions",
    ]
    assert version.manifest.counts == {
        "examples": 5,
        "answerable": version.manifest.counts["answerable"],
        "too_long": 0,
        "documents": 1,
        "probes": 1,
        "general": 1,
    }
    assert set(version.manifest.figures) == set(NAMES) - {"pii_leak_rate"}
    assert run_eval(config, "base", lambda *_: None).reused


def test_sets_that_are_switched_off_have_no_figures(tmp_path: Path, tiny, examples) -> None:
    with_examples(tmp_path, examples)
    config = config_of(tmp_path, tiny, max_examples=1, documents=0, probes=0, general=0)
    version = run_eval(config, "base", lambda *_: None)
    assert version.manifest.counts["documents"] == 0
    assert not {"document_loss", "toxicity_rate", "general_accuracy"} & set(version.manifest.figures)
