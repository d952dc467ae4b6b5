"""The stage: tables that are the same bytes every time, what is evaluated on left out, sections as text."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ModelError, SourceError
from ingest.chunk import chunk_document
from ingest.examples.completion import Completion, completions, join_passages
from ingest.examples.endpoint import Endpoint
from ingest.examples.stage import COMPLETIONS, EXAMPLES, REJECTS, REPLIES, Teacher, fill_examples, fingerprints
from ingest.examples.teacher import MIN_PASSAGE_WORDS, Rules
from ingest.records import Example, Reject, read_table
from tests.ingest.samples import document
from tests.ingest.teacher_server import Said, pairs, teaching
from tests.ingest.test_examples import SETTINGS, AnyOrder, corpus

FILES = (EXAMPLES, REJECTS, COMPLETIONS)


@pytest.fixture(scope="module")
def chunks():
    return corpus()


def fill(folder, chunks, **more):
    folder.mkdir(exist_ok=True)
    return fill_examples(folder, chunks, AnyOrder(chunks), **SETTINGS, with_completions=True, **more)


def rows(folder, file, kind):
    return list(read_table(folder / file, kind))


def test_the_same_chunks_and_settings_give_the_same_bytes(tmp_path, chunks):
    counts = fill(tmp_path / "a", chunks)
    assert fill(tmp_path / "b", chunks) == counts
    for file in FILES:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_counts_are_those_of_the_tables(tmp_path, chunks):
    counts = fill(tmp_path / "a", chunks)
    made = rows(tmp_path / "a", EXAMPLES, Example)
    assert counts["train"] == sum(row.split == "train" for row in made)
    assert counts["train"] + counts["holdout"] == len(made)
    assert counts["unanswerable"] == sum(not row.answerable for row in made)
    assert counts["completions"] == len(rows(tmp_path / "a", COMPLETIONS, Completion))
    assert counts.get("rejected_contaminated", 0) == len(rows(tmp_path / "a", REJECTS, Reject))


class Reread:
    """Chunks that are read anew each time, as from a table; nothing needs a list of them."""

    def __init__(self, chunks):
        self.chunks = chunks

    def __iter__(self):
        return iter(self.chunks)


def test_chunks_may_be_a_reader(tmp_path, chunks):
    fill(tmp_path / "a", chunks)
    (tmp_path / "b").mkdir()
    fill_examples(tmp_path / "b", Reread(chunks), AnyOrder(chunks), **SETTINGS, with_completions=True)
    assert (tmp_path / "a" / EXAMPLES).read_bytes() == (tmp_path / "b" / EXAMPLES).read_bytes()


def test_training_rows_that_repeat_an_evaluation_set_are_left_out_and_listed(tmp_path, chunks):
    fill(tmp_path / "free", chunks)
    before = rows(tmp_path / "free", EXAMPLES, Example)
    (row, *_) = (row for row in before if row.split == "train" and row.answerable)
    evaluation = tmp_path / "exam.jsonl"
    quoted = row.answer.rpartition(" ")[0].upper().replace(" ", "  ")
    evaluation.write_text(json.dumps({"question": "Say it.", "answer": f"Well: {quoted}"}) + "\n")
    counts = fill(tmp_path / "exam", chunks, evaluation_sets=[evaluation])
    after = rows(tmp_path / "exam", EXAMPLES, Example)
    gone = {one.id for one in before} - {one.id for one in after}
    assert row.id in gone
    assert {one.split for one in before if one.id in gone} == {"train"}
    listed = rows(tmp_path / "exam", REJECTS, Reject)
    assert counts["rejected_contaminated"] == len(listed)
    named = [reject for reject in listed if reject.sample == row.question]
    assert [reject.rule for reject in named] == ["contaminated"]
    assert named[0].url in {chunk.url for chunk in row.passages if chunk.doc_id == row.doc_id}
    assert named[0].detail.startswith("overlaps with exam.jsonl: ")
    assert len(named[0].detail.removeprefix("overlaps with exam.jsonl: ").split()) == 13


def test_an_evaluation_set_that_is_missing_is_told_before_a_teacher_is_paid(tmp_path, chunks):
    with teaching(lambda _request, _n: Said()) as server:
        with pytest.raises(SourceError, match=r"gone\.jsonl"):
            fill(tmp_path / "a", chunks, evaluation_sets=[tmp_path / "gone.jsonl"], teacher=teacher(server.url))
        assert not server.requests
    with pytest.raises(SourceError, match=r"gone\.jsonl: No such file.*examples\.evaluation_sets"):
        fingerprints([tmp_path / "gone.jsonl"])


def test_a_changed_evaluation_set_has_another_fingerprint(tmp_path):
    file = tmp_path / "exam.jsonl"
    prints = []
    for text in ("a", "b", "a"):
        file.write_text(text)
        prints.append(fingerprints([file])[str(file)])
    assert prints[0] == prints[2] != prints[1]


def teacher(url, **more):
    where = Endpoint(url, "teach-1", concurrency=1, backoff_s=0.01, timeout_s=20)
    return Teacher(replace(where, **more), pairs=1, max_passages=4, rules=Rules())


def long_corpus():
    """Passages that are long enough for a teacher; each has its topic in every sentence."""
    rows = []
    for topic in ("vacuum", "analyze", "reindex", "cluster", "backup", "restore"):
        body = f"The {topic} command reads every row of a table. " * 4 + f"Afterwards {topic} writes what has changed."
        doc = document(f"https://x.org/{topic}", topic.upper(), (1, topic.upper(), body))
        rows += chunk_document(doc, lambda text: len(text.split()), max_tokens=128, min_tokens=2)
    assert all(len(chunk.text.split()) >= MIN_PASSAGE_WORDS for chunk in rows)
    return rows


def answering(request, _before):
    topic = request["messages"][1]["content"].split("The ")[1].split()[0]
    return Said(pairs((f"What does one get from {topic}?", f"Afterwards {topic} writes what has changed.")))


def test_what_a_teacher_wrote_is_among_the_examples(tmp_path):
    chunks = long_corpus()
    with teaching(answering) as server:
        counts = fill(tmp_path / "a", chunks, teacher=teacher(server.url))
    made = rows(tmp_path / "a", EXAMPLES, Example)
    written = [row for row in made if row.made_by == "teacher"]
    assert 1 <= len(written) <= len(server.requests) == 4
    assert counts["kind_written"] == sum(row.answerable for row in written)
    by_id = {chunk.id: chunk for chunk in chunks}
    for row in written:
        assert row.question.startswith("What does one get from") and by_id[row.section].doc_id == row.doc_id


KILLED = """
import sys
from pathlib import Path
from tests.ingest.test_examples_stage import fill, long_corpus, teacher

fill(Path(sys.argv[2]), long_corpus(), teacher=teacher(sys.argv[1]))
"""


def test_killed_and_run_again_it_is_like_an_unbroken_run(tmp_path):
    def killing(request, before):
        if before == 2:
            os.kill(process.pid, signal.SIGKILL)
        return answering(request, before)

    with teaching(killing) as server:
        process = subprocess.Popen([sys.executable, "-c", KILLED, server.url, str(tmp_path / "a")], cwd=Path.cwd())
        assert process.wait() == -signal.SIGKILL
        fill(tmp_path / "a", long_corpus(), teacher=teacher(server.url))
        assert len(server.requests) == 5
    with teaching(answering) as server:
        fill(tmp_path / "b", long_corpus(), teacher=teacher(server.url))
    for file in (*FILES, REPLIES):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_teacher_that_fails_leaves_its_replies_for_the_next_run(tmp_path):
    def failing(request, before):
        return answering(request, before) if before < 2 else Said(status=500)

    with teaching(failing) as server, pytest.raises(ModelError, match="answered 500"):
        fill(tmp_path / "a", long_corpus(), teacher=teacher(server.url, retries=0))
    assert len((tmp_path / "a" / REPLIES).read_text().splitlines()) == 2
    assert not (tmp_path / "a" / EXAMPLES).exists()


def test_sections_are_whole_and_have_the_half_of_their_document(tmp_path, chunks):
    fill(tmp_path / "a", chunks)
    found = rows(tmp_path / "a", COMPLETIONS, Completion)
    halves = {row.doc_id: row.split for row in rows(tmp_path / "a", EXAMPLES, Example)}
    assert len({row.id for row in found}) == len(found)
    assert [row.doc_id for row in found] == [key for key, _ in groupby(row.doc_id for row in found) for _ in range(3)]
    for row in found:
        assert row.text.startswith(f"{row.headings[-1]}\n\n")
        assert halves.get(row.doc_id, row.split) == row.split


PARTS = st.sampled_from(["One two three.", "- item of a list", "| a | b |", "Four five?"])


@given(st.lists(PARTS, min_size=1, max_size=9))
def test_joined_passages_are_the_text_that_was_cut(paragraphs):
    body = "\n\n".join(paragraphs)
    doc = document("u", "T", (1, "H", body))
    passages = list(chunk_document(doc, lambda text: len(text.split()), max_tokens=12, min_tokens=2))
    assert join_passages(passages) == body


def test_a_long_paragraph_is_joined_with_spaces():
    body = "The first sentence has seven words here. The second one follows it. So does the third one."
    doc = document("u", "T", (1, "H", body), (2, "Short", "Too short."))
    chunks = list(chunk_document(doc, lambda text: len(text.split()), max_tokens=12, min_tokens=2))
    assert len(chunks) > 2
    (only,) = completions(chunks, lambda _chunk: "train")
    assert only.text == f"H\n\n{body}"
