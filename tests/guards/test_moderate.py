"""Moderation of many texts: order, bad records, the three kinds of files, and work that was cut off at any byte."""

import csv
import datetime
import io
import json
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import ArtifactError, ConfigError, SourceError
from guards.base import NO_CONTEXT, Action, Failure, Outcome, Verdict
from guards.detectors.pii import PiiGuard
from guards.files.read import read_items
from guards.files.resume import Job, moderate_file
from guards.files.write import line_of
from guards.moderate import Columns, Shape, as_json, counted, explanation, kept_name, moderate, summary
from guards.policy import Policy
from guards.replacements import KEY_VARIABLE
from guards.stage import Stage
from tests.guards.samples import BrokenGuard, PatternGuard, stage_of

STAGE = stage_of(PatternGuard("secret"), PatternGuard("bomb", Action.BLOCK, "threat"))
POLICY = Policy("sample", "v1", {"input": STAGE}, Stage([]))
ROWS = [
    {"id": n, "text": f"post {n}" + (" secret" if n % 3 == 0 else " bomb" if n % 5 == 0 else "")} for n in range(40)
]


def decided(records, stage=STAGE, **options):
    return list(moderate(records, stage, **options))


def test_a_decision_holds_the_redacted_text_and_every_verdict():
    [row] = decided([{"id": "a", "text": "the secret"}])
    assert {name: row[name] for name in ("id", "allowed", "action", "text", "failures")} == {
        "id": "a",
        "allowed": True,
        "action": "redact",
        "text": "the <SECRET>",
        "failures": [],
    }
    assert [verdict["action"] for verdict in row["verdicts"]] == ["redact", "allow"]
    assert row["verdicts"][0]["spans"] == [[4, 10, "secret"]]


def test_a_refused_text_is_null():
    assert [(row["allowed"], row["action"], row["text"]) for row in decided([{"text": "a bomb"}])] == [
        (False, "block", None)
    ]


def test_a_guard_that_breaks_refuses_the_text_and_is_told_apart():
    [row] = decided([{"text": "x"}], stage_of(BrokenGuard()), shape=Shape(explain=True))
    assert (row["allowed"], row["text"]) == (False, None)
    assert row["failures"] == [{"guard": "broken", "error": "RuntimeError", "closed": True}]
    assert "secret detail" not in json.dumps(row)
    assert "The guard broken broke" in row["explanation"]
    assert summary(counted(row)) == {
        "texts": 1,
        "actions": {"block": 1},
        "categories": {},
        "failures": {"broken": 1},
    }


def test_an_explanation_names_guard_reason_score_threshold_and_place():
    [row] = decided([{"text": "a secret"}], shape=Shape(explain=True))
    assert row["explanation"] == "Redacted for secret by secret: found (score 1, threshold 1; characters 2-8)"
    assert decided([{"text": "a"}], shape=Shape(explain=True))[0]["explanation"] == "Nothing found by 2 guards."
    open_failure = explanation(Outcome("x", failures=(Failure("pii", "no answer", closed=False),)))
    assert open_failure == "The guard pii broke (no answer), and the policy lets the text pass then."
    assert explanation(Outcome("x")) == "No guard looked at it."


def test_what_json_has_no_word_for_becomes_null():
    verdict = Verdict(Action.ALLOW, "c", float("inf"), float("nan"), "", "d", "1")
    assert [as_json(Outcome("x", (verdict,)))["verdicts"][0][name] for name in ("score", "threshold")] == [None, None]


def test_a_text_without_an_id_has_its_number():
    assert [row["id"] for row in decided([{"text": "a"}, {"id": None, "text": "b"}, {"id": 0, "text": "c"}])] == [
        1,
        2,
        0,
    ]


def test_other_fields_are_kept_on_demand_and_never_take_a_decisions_place():
    record = {"id": 1, "text": "x", "user": "ann", "action": "post", "action_in": "own"}
    [row] = decided([record], shape=Shape(keep=True))
    assert (row["user"], row["action"], row["action_in"], row["action_in_in"]) == ("ann", "allow", "post", "own")
    assert "user" not in decided([record])[0]


@given(st.sets(st.sampled_from(["text", "text_in", "text_in_in", "x", "x_in", "id", "error_in", "_in", ""])))
def test_kept_names_never_meet(names):
    assert len({kept_name(name) for name in names}) == len(names)


BAD = [
    ([1], "is a number"),
    ([None], "is null"),
    ([{}], "has no 'text'"),
    ([{"text": None}], "has null as 'text'"),
    ([{"text": 5}], "has a number as 'text'"),
    ([{"text": ["a"]}], "has a list as 'text'"),
    ([{"text": {"a": 1}}], "has an object as 'text'"),
    ([{"text": True}], "has true or false as 'text'"),
    ([{"text": "a", "passages": "b"}], "has text as 'passages'"),
    ([{"text": "a", "passages": [1]}], "has a list as 'passages'"),
]


@pytest.mark.parametrize(("records", "says"), BAD, ids=[says for _, says in BAD])
def test_a_bad_record_stops_the_work_after_what_came_before_it(records, says):
    found = moderate([{"text": "fine"}, *records], STAGE)
    assert next(found)["allowed"]
    with pytest.raises(SourceError, match="record 2") as caught:
        next(found)
    assert says in str(caught.value)
    first, second = decided([*records, {"text": "fine"}], shape=Shape(skip_bad=True))
    assert (first["allowed"], first["text"]) == (False, None)
    assert f"record 1 {says}" in first["error"]
    assert second["allowed"]


def test_passages_reach_the_guards():
    class Passages:
        name = "passages"

        def check(self, text, context=NO_CONTEXT):
            return Verdict(Action.ALLOW, "passages", len(context.passages), 0, "", self.name, "1")

    rows = decided([{"text": "a", "passages": ["b", "c"]}, {"text": "a", "passages": None}], stage_of(Passages()))
    assert [row["verdicts"][0]["score"] for row in rows] == [2, 0]


class Slow:
    """Takes longer for some texts than for those after them."""

    name = "slow"

    def check(self, text, context=NO_CONTEXT):
        time.sleep(0.02 if text.endswith("0") else 0)
        return Verdict(Action.ALLOW, "slow", 0, 1, "", self.name, "1")


def test_threads_keep_the_order():
    rows = decided(ROWS, stage_of(Slow()), workers=4)
    assert [row["id"] for row in rows] == [row["id"] for row in ROWS]
    assert decided(ROWS, workers=3) == decided(ROWS)


def test_with_threads_an_answer_does_not_wait_for_the_next_question():
    answered = threading.Event()

    def records():
        yield {"text": "first"}
        assert answered.wait(10)
        yield {"text": "second"}

    found = moderate(records(), STAGE, workers=3)
    assert next(found)["text"] == "first"
    answered.set()
    assert [row["text"] for row in found] == ["second"]


def test_with_threads_a_bad_record_comes_after_the_good_ones():
    found = moderate([*ROWS[:9], {}], STAGE, workers=3)
    assert [next(found)["id"] for _ in range(9)] == list(range(9))
    with pytest.raises(SourceError, match="record 10"):
        next(found)


def test_threads_do_not_read_far_ahead():
    read = []
    found = moderate((read.append(n) or {"text": "x"} for n in range(1000)), STAGE, workers=2)
    next(found)
    time.sleep(0.1)
    assert len(read) < 20
    found.close()


@given(st.text(st.characters(), max_size=40))
def test_any_text_comes_back_as_valid_json(text):
    [row] = decided([{"text": text}], stage_of(PatternGuard("zzz")))
    assert json.loads(line_of(row).decode())["text"] == text


# --- files ---------------------------------------------------------------------------------------------------------


def job(source, out, **options):
    return Job(Path(source), Path(out), POLICY, "input", **options)


def as_jsonl(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def as_csv(file, rows, delimiter=","):
    with file.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return file


def as_parquet(file, rows):
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=7)
    return file


FILES = {"jsonl": as_jsonl, "csv": as_csv, "parquet": as_parquet}


def rows_of(file):
    """The rows of an output, whatever its kind."""
    if file.suffix == ".parquet":
        return pq.read_table(file).to_pylist()
    lines = file.read_text(encoding="utf-8")
    if file.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(lines, newline="")))
    return [json.loads(line) for line in lines.splitlines()]


def table(file):
    """(id, action, text) of every row; ids as text."""
    return [(str(row["id"]), row["action"], row["text"] or None) for row in rows_of(file)]


@pytest.mark.parametrize("out", FILES)
@pytest.mark.parametrize("source", FILES)
def test_every_kind_of_file_can_become_every_other(tmp_path, source, out):
    given_file = FILES[source](tmp_path / f"posts.{source}", ROWS)
    counts = moderate_file(job(given_file, tmp_path / f"out.{out}"))
    expected = decided(ROWS)
    assert table(tmp_path / f"out.{out}") == [(str(row["id"]), row["action"], row["text"]) for row in expected]
    assert counts == sum((counted(row) for row in expected), Counter())
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {given_file.name, f"out.{out}", f".out.{out}.guard.json"}


def test_verdicts_are_columns_of_their_own_in_parquet_and_json_in_csv(tmp_path):
    source = as_jsonl(tmp_path / "in.jsonl", ROWS)
    moderate_file(job(source, tmp_path / "out.parquet"))
    moderate_file(job(source, tmp_path / "out.csv"))
    row = pq.read_table(tmp_path / "out.parquet").to_pylist()[3]
    assert row["verdicts"][0]["spans"] == [{"start": 7, "end": 13, "category": "secret"}]
    with (tmp_path / "out.csv").open(newline="") as handle:
        cells = list(csv.DictReader(handle))[3]
    assert json.loads(cells["verdicts"])[0]["spans"] == [[7, 13, "secret"]]
    assert (cells["allowed"], cells["failures"]) == ("true", "[]")


@pytest.mark.parametrize("out", FILES)
@pytest.mark.parametrize("source", FILES)
def test_kept_columns_come_back(tmp_path, source, out):
    rows = [{"post": f"p{n}", "body": "a secret", "user": "ann", "text": "own"} for n in range(3)]
    given_file = FILES[source](tmp_path / f"posts.{source}", rows)
    made = tmp_path / f"out.{out}"
    moderate_file(job(given_file, made, columns=Columns("body", "post"), shape=Shape(keep=True)))
    found = rows_of(made)
    assert [(row["id"], row["text"], row["user"], row["text_in"]) for row in found] == [
        (f"p{n}", "a <SECRET>", "ann", "own") for n in range(3)
    ]
    assert "body" not in found[0]


def test_columns_keep_their_types_from_parquet_to_parquet(tmp_path):
    at = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    rows = [
        {"id": n, "text": "x" * n, "at": at, "tags": ["a"], "rate": float("nan"), "raw": b"\x00"} for n in range(600)
    ]
    source = as_parquet(tmp_path / "in.parquet", rows)
    moderate_file(job(source, tmp_path / "out.parquet", shape=Shape(keep=True)))
    given_table, made = pq.read_table(source), pq.read_table(tmp_path / "out.parquet")
    for name in ("id", "at", "tags", "rate", "raw"):
        assert made.schema.field(name).type == given_table.schema.field(name).type
        assert made.column(name).combine_chunks().equals(given_table.column(name).combine_chunks()) or name == "rate"
    assert made.column("text").to_pylist() == given_table.column("text").to_pylist()
    moderate_file(job(source, tmp_path / "out.jsonl", shape=Shape(keep=True)))
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert (first["at"], first["rate"], first["raw"]) == ("2026-01-02T00:00:00+00:00", None, "AA==")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_csv_may_be_separated_by_other_signs(tmp_path, delimiter):
    source = as_csv(tmp_path / "in.csv", [{"id": "1", "text": 'a, b; c\t|d\nnext "line"'}], delimiter)
    assert [item.text for item in read_items(source, Columns())] == ['a, b; c\t|d\nnext "line"']


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"\xef\xbb\xbfid,text\r\n1,a\r\n\r\n2,b\r\n", ["a", "b"]),
        (b"text\n\x00\n", ["\x00"]),
        (b"id,text\n1,\n", [""]),
        (b"text,id\n" + b"x" * 300_000 + b",1\n", ["x" * 300_000]),
        (b"id,text\n", []),
    ],
    ids=["bom and crlf", "nul", "empty cell", "a long cell", "only a header"],
)
def test_odd_csv_files(tmp_path, content, texts):
    (tmp_path / "in.csv").write_bytes(content)
    items = list(read_items(tmp_path / "in.csv", Columns()))
    assert [(item.text, item.problem) for item in items] == [(text, "") for text in texts]


def test_a_csv_in_another_encoding(tmp_path):
    source = tmp_path / "in.csv"
    source.write_bytes("id,text\n1,café\n2,tea\n".encode("cp1252"))
    first, second = read_items(source, Columns())
    assert "--encoding" in first.problem
    assert second.text == "tea"
    assert [item.text for item in read_items(source, Columns(), encoding="cp1252")] == ["café", "tea"]
    source.write_bytes("id,text\n1,café\n".encode("utf-16"))
    assert [item.text for item in read_items(source, Columns(), encoding="utf-16")] == ["café"]
    with pytest.raises(ConfigError, match="no encoding 'nosuch'"):
        list(read_items(source, Columns(), encoding="nosuch"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"not json", "is not JSON: expecting value"),
        (b"\xff\xfe", "is not UTF-8"),
        (b'{"text": NaN}', "is not JSON: there is no NaN"),
        (b'{"text": "a", "n": 1e999}', "a number is too large"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"text": ' + b"1" * 5000 + b"}", "is not JSON"),
        (b"{}", "has no 'text'"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else None,
)
def test_a_bad_line_is_named_and_those_after_it_are_read(tmp_path, line, says):
    (tmp_path / "in.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\n' + line + b'\n{"text": "b"}')
    first, bad, last = read_items(tmp_path / "in.jsonl", Columns())
    assert (first.text, bad.place, last.text, last.id) == ("a", "line 3", "b", 4)
    assert says in bad.problem


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"id,text\n1,a,b\n2,c\n", "has 3 cells, and the header has 2"),
        (b'id,text\n1,"a"b\n2,c\n', "is not CSV"),
    ],
)
def test_a_bad_row_of_a_csv(tmp_path, content, says):
    (tmp_path / "in.csv").write_bytes(content)
    bad, good = read_items(tmp_path / "in.csv", Columns())
    assert (bad.place, good.text) == ("line 2", "c")
    assert says in bad.problem


def test_a_line_that_is_too_long_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr("guards.files.read.LONGEST", 64)
    (tmp_path / "in.jsonl").write_bytes(b'{"text": "' + b"x" * 500 + b'"}\n{"text": "b"}\n' + b"y" * 64)
    first, second, third = read_items(tmp_path / "in.jsonl", Columns())
    assert ("is longer than" in first.problem, second.text, second.place) == (True, "b", "line 2")
    assert "is longer than" in third.problem


@pytest.mark.parametrize(
    ("cell", "passages"), [("", ()), ("one", ("one",)), ('["one", "two"]', ("one", "two")), ("[1] note", ("[1] note",))]
)
def test_passages_in_a_cell(tmp_path, cell, passages):
    source = as_csv(tmp_path / "in.csv", [{"text": "a", "passages": cell}])
    assert [item.passages for item in read_items(source, Columns())] == [passages]


def test_a_quote_that_is_never_closed_is_told(tmp_path):
    (tmp_path / "in.csv").write_bytes(b'id,text\n1,"a\n2,b\n')
    [bad] = read_items(tmp_path / "in.csv", Columns())
    assert bad.place == "line 2"
    assert "is not CSV" in bad.problem


def test_text_in_parquet_that_is_not_utf8_is_one_bad_row(tmp_path):
    texts = pa.array([b"a", b"\xff", b"b"]).view(pa.string())
    pq.write_table(pa.table({"text": texts}), tmp_path / "in.parquet")
    assert [(item.text, item.problem) for item in read_items(tmp_path / "in.parquet", Columns())] == [
        ("a", ""),
        ("", "is not UTF-8"),
        ("b", ""),
    ]


@pytest.mark.parametrize(
    ("name", "content", "columns", "says"),
    [
        ("in.csv", b"id,body\n", Columns(), ["no column 'text'", "it has id, body", "--text-column"]),
        ("in.csv", b"", Columns(), ["no column 'text'", "it is empty"]),
        ("in.csv", b"text,n\n", Columns(id="post"), ["no column 'post'", "--id-column"]),
        ("in.csv", b"text,text\n", Columns(), ["two columns named 'text'"]),
        ("in.parquet", b"not parquet", Columns(), ["in.parquet", "Parquet"]),
        ("in.txt", b"", Columns(), ["in.txt", ".parquet"]),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_with_its_remedy(tmp_path, name, content, columns, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((ConfigError, SourceError)) as caught:
        list(read_items(tmp_path / name, columns))
    assert [part for part in says if part not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


def test_a_parquet_column_that_is_not_text(tmp_path):
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "in.parquet")
    with pytest.raises(ConfigError, match="holds int64, not text"):
        list(read_items(tmp_path / "in.parquet", Columns()))
    pq.write_table(pa.table({"text": pa.array(["a", "a"]).dictionary_encode()}), tmp_path / "in.parquet")
    assert [item.text for item in read_items(tmp_path / "in.parquet", Columns())] == ["a", "a"]


@pytest.mark.parametrize("out", FILES)
def test_an_empty_file_gives_an_empty_one(tmp_path, out):
    (tmp_path / "in.jsonl").touch()
    assert moderate_file(job(tmp_path / "in.jsonl", tmp_path / f"out.{out}")) == Counter()
    assert table(tmp_path / f"out.{out}") == []


@pytest.mark.parametrize("out", FILES)
def test_bad_rows_that_are_passed_over_stand_in_their_place(tmp_path, out):
    rows = [{"text": "a"}, {"id": "x", "text": None}, {"text": "\ud800 secret"}]
    source = as_jsonl(tmp_path / "in.jsonl", rows)
    counts = moderate_file(job(source, tmp_path / f"out.{out}", shape=Shape(skip_bad=True)))
    assert summary(counts)["actions"] == {"allow": 1, "error": 1, "redact": 1}
    found = rows_of(tmp_path / f"out.{out}")
    assert [str(row["id"]) for row in found] == ["1", "x", "3"]
    assert "line 2 has null" in found[1]["error"]
    # JSON can hold half a pair of surrogates; the others cannot.
    lone = {"jsonl": 0xD800}.get(out, 0xFFFD)
    assert found[2]["text"] == f"{chr(lone)} <SECRET>"


def test_a_bad_row_is_told_before_any_work_and_leaves_nothing(tmp_path):
    source = as_jsonl(tmp_path / "in.jsonl", [*ROWS, {"id": 1}])
    with pytest.raises(SourceError, match="line 41 has no 'text'"):
        moderate_file(job(source, tmp_path / "out.jsonl"))
    assert [file.name for file in tmp_path.iterdir()] == ["in.jsonl"]


class Stopping:
    """Lets a number of texts pass, then stops the program as Ctrl-C does."""

    name = "stopping"

    def __init__(self, after):
        self.left = after
        self.seen = []

    def check(self, text, context=NO_CONTEXT):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.seen.append(text)
        return Verdict(Action.ALLOW, "stopping", 0, 1, "", self.name, "1")


def with_guards(work, *guards):
    return replace(work, policy=replace(work.policy, stages={"input": stage_of(*guards)}))


@pytest.mark.parametrize("out", FILES)
def test_work_that_was_stopped_goes_on_where_it_was(tmp_path, out):
    source = as_jsonl(tmp_path / "in.jsonl", ROWS)
    work = job(source, tmp_path / f"out.{out}")
    whole = job(source, tmp_path / f"whole.{out}")
    stopping, going_on, never = Stopping(25), Stopping(-1), Stopping(-1)
    with pytest.raises(KeyboardInterrupt):
        moderate_file(with_guards(work, stopping))
    assert not work.out.exists()
    counts = moderate_file(with_guards(work, going_on))
    assert stopping.seen + going_on.seen == [row["text"] for row in ROWS]
    assert moderate_file(with_guards(whole, never)) == counts
    assert work.out.read_bytes() == whole.out.read_bytes()
    # Once more: nothing to do.
    assert moderate_file(with_guards(work, Stopping(0))) == counts


@given(st.integers(0, 5000), st.sampled_from([b"", b"\x00\x00\x00", b'{"id": 1, "allo']))
@settings(max_examples=30, deadline=None)
def test_a_part_that_was_cut_off_at_any_byte_is_mended(tmp_path_factory, cut, torn):
    folder = tmp_path_factory.mktemp("cut")
    source = as_jsonl(folder / "in.jsonl", ROWS[:8])
    work = job(source, folder / "out.jsonl")
    with pytest.raises(KeyboardInterrupt):
        moderate_file(with_guards(work, PatternGuard("secret"), Stopping(6)))
    part = folder / ".out.jsonl.guard-part"
    part.write_bytes(part.read_bytes()[:cut] + torn)
    moderate_file(with_guards(work, PatternGuard("secret"), Stopping(-1)))
    expected = decided(ROWS[:8], stage_of(PatternGuard("secret"), Stopping(-1)))
    assert work.out.read_bytes() == b"".join(map(line_of, expected))


def test_a_run_that_was_killed_before_the_last_rename_only_renames(tmp_path):
    source = as_jsonl(tmp_path / "in.jsonl", ROWS)
    work = job(source, tmp_path / "out.csv")
    counts = moderate_file(work)
    made = work.out.read_bytes()
    work.out.rename(tmp_path / ".out.csv.guard-new.csv")
    assert moderate_file(with_guards(work, Stopping(0))) == counts
    assert work.out.read_bytes() == made


@pytest.fixture
def half(tmp_path):
    """Work that was stopped half way."""
    work = job(as_jsonl(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl")
    with pytest.raises(KeyboardInterrupt):
        moderate_file(with_guards(work, Stopping(20)))
    return work


CHANGES = {
    "policy": lambda work: replace(work, policy=replace(work.policy, version="v2")),
    "stage": lambda work: replace(work, stage="output", policy=replace(work.policy, stages={"output": STAGE})),
    "choice of columns": lambda work: replace(work, columns=Columns(id="post")),
    "set of options": lambda work: replace(work, shape=Shape(explain=True)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed_and_begun_anew_on_demand(half, change):
    changed = CHANGES[change](half)
    with pytest.raises(ArtifactError, match=f"another {change}") as caught:
        moderate_file(changed)
    assert "--restart" in str(caught.value)
    work = replace(half, policy=replace(changed.policy, stages={"input": STAGE, "output": STAGE}), shape=changed.shape)
    assert sum(moderate_file(work, restart=True).values()) > len(ROWS)


def test_hashes_need_a_key_that_outlives_the_process(tmp_path, monkeypatch):
    source = as_jsonl(tmp_path / "in.jsonl", [{"text": "mail ada@example.org"}] * 3)
    hashing = PiiGuard(action=Action.REDACT, mode="patterns", redact_as="hash")
    work = with_guards(job(source, tmp_path / "out.jsonl"), hashing)
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=f"{KEY_VARIABLE} is not set"):
        moderate_file(work)
    monkeypatch.setenv(KEY_VARIABLE, "one")
    moderate_file(work)
    assert len({text for _, _, text in table(work.out)}) == 1
    monkeypatch.setenv(KEY_VARIABLE, "two")
    with pytest.raises(ArtifactError, match="another hash key"):
        moderate_file(work)


def test_a_changed_input_is_noticed(half):
    before = half.source.read_text()
    half.source.write_text(before.replace("post 7", "post 8"))
    with pytest.raises(ArtifactError, match="another input"):
        moderate_file(half)
    half.source.write_text(before)
    moderate_file(with_guards(half, Stopping(-1)))


def test_an_input_that_changes_on_the_way_is_noticed(tmp_path):
    work = job(as_jsonl(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl")

    def grow(what, done, total):
        if (what, done) == ("checking", 30):
            work.source.write_text(work.source.read_text() + '{"text": "late"}\n')

    with pytest.raises(SourceError, match="changed while it was read"):
        moderate_file(work, grow)
    assert not work.out.exists()


def test_what_somebody_else_wrote_is_not_overwritten(tmp_path):
    work = job(as_jsonl(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl")
    work.out.write_text("precious")
    with pytest.raises(ArtifactError, match="exists already"):
        moderate_file(work)
    moderate_file(work, restart=True)
    work.out.write_text("edited")
    with pytest.raises(ArtifactError, match="was changed after it was made"):
        moderate_file(work)
    work.out.unlink()
    moderate_file(work)
    assert len(table(work.out)) == len(ROWS)


def test_a_link_stays_one(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "out.jsonl").symlink_to(tmp_path / "far" / "real.jsonl")
    moderate_file(job(as_jsonl(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"))
    assert (tmp_path / "out.jsonl").is_symlink()
    assert len(table(tmp_path / "far" / "real.jsonl")) == len(ROWS)


@pytest.mark.parametrize(
    ("source", "out", "says"),
    [
        ("in.jsonl", "in.jsonl", "is the input, too"),
        ("in.jsonl", "nosuch/out.jsonl", "cannot write nosuch/out.jsonl"),
        ("in.jsonl", "folder.csv", "folder.csv is not a file"),
        ("in.jsonl", "out.xlsx", "out.xlsx does not end in one of"),
        ("nosuch.jsonl", "out.jsonl", "cannot read nosuch.jsonl"),
        ("folder.csv", "out.jsonl", "folder.csv is not a file"),
    ],
)
def test_paths_that_cannot_be_used(tmp_path, monkeypatch, source, out, says):
    monkeypatch.chdir(tmp_path)
    as_jsonl(tmp_path / "in.jsonl", ROWS)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises((ConfigError, ArtifactError, SourceError), match=says):
        moderate_file(job(source, out))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder.csv", "in.jsonl"]


def test_two_runs_never_write_the_same_output(tmp_path):
    work = job(as_jsonl(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl")
    refused = []

    def again(what, done, total):
        if (what, done) == ("checking", 5):
            with pytest.raises(ArtifactError) as caught:
                moderate_file(work)
            refused.append(str(caught.value))

    moderate_file(work, again)
    assert "another process is writing" in refused[0]
    assert len(table(work.out)) == len(ROWS)
