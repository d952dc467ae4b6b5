"""Test collections are read in all their spellings, and each mistake in them is one clear line."""

import gzip
import json

import pytest

from configs.errors import SourceError
from ingest.relevance.beir import Entry, read_collection, read_qrels

CORPUS = [{"_id": "d1", "title": "Pumps", "text": "A pump moves water."}, {"_id": "d2", "text": "A lathe turns."}]
QUERIES = [{"_id": "q1", "text": "what moves water"}, {"_id": "q2", "text": "what turns"}]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq2\td2\t1\n"


@pytest.fixture
def files(tmp_path):
    """Writes a collection and reads it; arguments replace files."""

    def read(corpus=CORPUS, queries=QUERIES, qrels=QRELS):
        paths = [tmp_path / name for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv")]
        for path, content in zip(paths, (corpus, queries, qrels), strict=True):
            lines = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
            path.write_text(lines)
        return read_collection(*paths)

    return read


def test_a_collection_is_read(files):
    read = files()
    assert read.documents == {"d1": Entry("Pumps", "A pump moves water."), "d2": Entry("", "A lathe turns.")}
    assert read.queries == {"q1": "what moves water", "q2": "what turns"}
    assert read.qrels == {"q1": {"d1": 2}, "q2": {"d2": 1}}
    assert read.notes == ()


def test_documents_keep_their_ids_as_addresses(files):
    empty = [{"_id": "d3", "title": "", "text": " "}, {"_id": "d4", "title": "Only a title", "text": ""}]
    documents = list(files(CORPUS + empty).as_documents())
    assert [(one.url, one.title, one.text) for one in documents] == [
        ("d1", "Pumps", "A pump moves water."),
        ("d2", "", "A lathe turns."),
        ("d4", "Only a title", "Only a title"),
    ]
    assert all(one.text[part.start : part.end] == one.text for one in documents for part in one.sections)


@pytest.mark.parametrize(
    "text",
    ["q1\td1\t2\nq2\td2\t1\n", "q1 0 d1 2\nq2 0 d2 1", "q1\tQ0\td1\t2\r\n\r\nq2\tQ0\td2\t1\r\n", "\ufeff" + QRELS],
)
def test_qrels_have_several_spellings(tmp_path, text):
    (tmp_path / "qrels").write_text(text)
    assert read_qrels(tmp_path / "qrels") == {"q1": {"d1": 2}, "q2": {"d2": 1}}


def test_gzipped_files_are_read_whatever_they_are_called(tmp_path):
    packed = gzip.compress(QRELS.encode())
    for name in ("qrels.tsv.gz", "qrels.tsv"):
        (tmp_path / name).write_bytes(packed)
        assert read_qrels(tmp_path / name)["q1"] == {"d1": 2}


def test_numbers_are_ids_too(files):
    read = files([{"_id": 7, "text": "A pump."}], [{"_id": 1, "text": "pump"}], "1\t7\t1\n")
    assert (list(read.documents), read.qrels) == (["7"], {"1": {"7": 1}})


def test_what_does_not_fit_together_is_counted(files):
    read = files(
        [*CORPUS, {"_id": "d3", "text": ""}],
        [*QUERIES, {"_id": "q3", "text": "unjudged"}, {"_id": "q4", "text": "hopeless"}],
        QRELS + "q1\tgone\t1\nnobody\td1\t1\nq4\td1\t0\n",
    )
    assert list(read.queries) == ["q1", "q2", "q4"]
    assert read.qrels["q1"] == {"d1": 2, "gone": 1}
    assert read.notes == (
        "1 judged queries are not in the queries' file and were left out",
        "1 queries have no judgements and were not searched",
        "1 judgements name a document that is not in the corpus, which counts as not found",
        "1 documents have no text",
        "1 queries have no relevant document and count as 0",
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"corpus": ""}, "corpus.jsonl is empty"),
        ({"corpus": '{"_id": "d1", "text": "x"}\n{"_id": \n'}, "corpus.jsonl, line 2: not JSON"),
        ({"corpus": "[1]\n"}, "corpus.jsonl, line 1: list instead of an object"),
        ({"corpus": [{"_id": "d1"}]}, "corpus.jsonl, line 1: there is no 'text'"),
        ({"corpus": [{"id": "d1", "text": "x"}]}, "there is no '_id'. It has 'id', 'text'"),
        ({"corpus": [{"_id": "d1", "text": 5}]}, "'text' is int"),
        ({"corpus": [{"_id": True, "text": "x"}]}, "'_id' is bool"),
        ({"corpus": [*CORPUS, CORPUS[0]]}, "corpus.jsonl, line 3: the id 'd1' was there before"),
        ({"queries": [{"_id": "q1", "text": " "}]}, "the query 'q1' is empty"),
        ({"qrels": "\n"}, "qrels.tsv holds no judgements"),
        ({"qrels": "query\tdocument\tgrade\n"}, "qrels.tsv holds no judgements"),
        ({"qrels": "q1\td1\n"}, "qrels.tsv, line 1: 2 columns"),
        ({"qrels": QRELS + "q1\td2\tgood\n"}, "qrels.tsv, line 4: the grade 'good' is not a whole number"),
        ({"qrels": QRELS + "q1\td1\t0\n"}, "line 4: document 'd1' was judged otherwise for query 'q1' before"),
        ({"qrels": "other\td1\t1\n"}, "none of the 1 queries"),
        ({"qrels": "q1\tother\t1\n"}, "no document judged in"),
    ],
)
def test_a_mistake_is_one_line_that_says_where(files, wrong, said):
    with pytest.raises(SourceError) as caught:
        files(**wrong)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (gzip.compress(QRELS.encode(), mtime=0)[:-9], "cannot read"),
        (b"q1\td\xff\t1\n", "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, content, said):
    path = tmp_path / "qrels.tsv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=said) as caught:
        read_qrels(path)
    assert str(path) in str(caught.value)
