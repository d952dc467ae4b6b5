"""`wellread eval retrieval`: figures of a test collection and of the current index, and one line for each mistake."""

import json

import pytest
import pytrec_eval
from typer.main import get_command

from app.console import guarded
from app.evaluate import eval_app
from configs.load import load_config
from ingest.index_stage import run_index
from ingest.pipeline import run_ingest

DOCUMENTS = {
    "pump": "A centrifugal pump moves water by spinning an impeller inside a housing.",
    "lathe": "A lathe turns a piece of metal or wood against a cutting tool.",
    "kiln": "A kiln is an oven that is hot enough to harden clay into pottery.",
    "loom": "A loom holds threads under tension so that cloth can be woven.",
}
QUERIES = {"q1": "what moves water", "q2": "oven for pottery", "q3": "how is cloth made"}
QRELS = [("q1", "pump", 1), ("q2", "kiln", 2), ("q2", "lathe", 0), ("q3", "loom", 1)]
PAGE = """<!doctype html><html lang="en"><title>{0}</title><main><h1>{0}</h1><p>{1}</p><h2>Care of the {2}</h2>
<p>Clean the {2} every week, and oil whatever turns in it before the season starts, as the maker advises.</p>
{3}</main></html>"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """One place for all that is embedded."""
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collection")
    rows = {
        "corpus.jsonl": [{"_id": name, "title": name.title(), "text": text} for name, text in DOCUMENTS.items()],
        "queries.jsonl": [{"_id": name, "text": text} for name, text in QUERIES.items()],
    }
    for name, lines in rows.items():
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "qrels.tsv").write_text("".join("\t".join(map(str, row)) + "\n" for row in QRELS))
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    for name, text in DOCUMENTS.items():
        link = '<p>Water comes from <a href="pump.html">the machine that moves water</a>.</p>' if name == "kiln" else ""
        (folder / f"{name}.html").write_text(PAGE.format(f"The {name} handbook", f"{text} " * 3, name, link))
    return folder


@pytest.fixture
def run(capsys, root):
    command = get_command(eval_app)

    def asked(*arguments, root=root):
        settings = ("--set", f"root={root}", "--set", "embed.device=cpu")
        words = ["retrieval", *map(str, arguments), *settings]
        code = guarded(lambda: command.main(words, standalone_mode=False), debug=False)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return asked


def files_of(folder, **other):
    names = {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"}
    paths = {name: folder / file for name, file in names.items()} | other
    return [word for name, path in paths.items() for word in (f"--{name}", path)]


def test_a_collection_is_measured_and_the_second_time_nothing_is_embedded(run, collection, tmp_path):
    code, out, err = run(*files_of(collection), "--json", "--runs", tmp_path / "runs")
    assert code == 0
    measured = json.loads(out)
    assert (measured["documents"], measured["queries"], measured["notes"]) == (4, 3, [])
    assert list(measured["metrics"]) == ["hits", "dense", "lexical"]
    assert measured["metrics"]["hits"]["ndcg@10"] == 1
    assert set(measured["metrics"]["dense"]) == {"ndcg@10", "recall@10", "recall@100", "mrr@10", "map"}
    assert measured["latency"]["p99_ms"] >= measured["latency"]["p50_ms"] > 0
    assert measured["gains"]["lexical"]["mean"] >= 0
    assert "embedding" in err
    again_code, again, again_err = run(*files_of(collection), "--json")
    assert (again_code, "embedding" in again_err) == (0, False)
    assert json.loads(again)["metrics"] == measured["metrics"]


def test_what_is_written_scores_the_same_in_trec_eval(run, collection, tmp_path):
    _, out, _ = run(*files_of(collection), "--json", "--runs", tmp_path)
    qrels = {query: {} for query in QUERIES}
    for query, document, grade in QRELS:
        qrels[query][document] = grade
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "map"})
    for name, figures in json.loads(out)["metrics"].items():
        with (tmp_path / f"{name}.run").open() as lines:
            values = evaluator.evaluate(pytrec_eval.parse_run(lines)).values()
        assert sum(one["ndcg_cut_10"] for one in values) / 3 == pytest.approx(figures["ndcg@10"], abs=1e-6)
        assert sum(one["map"] for one in values) / 3 == pytest.approx(figures["map"], abs=1e-6)


def test_a_collection_reads_well(run, collection):
    code, out, _ = run(*files_of(collection))
    assert code == 0
    for part in ("4 documents, 3 queries", "ndcg@10", "hits", "over lexical alone: nDCG@10 +", "a search takes p50 ms"):
        assert part in out


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"qrels": "gone.tsv"}, 1, "cannot read gone.tsv: No such file or directory"),
        ({"corpus": "bad.jsonl"}, 1, "bad.jsonl, line 1: not JSON"),
    ],
)
def test_a_bad_file_is_one_line(run, collection, tmp_path, monkeypatch, change, code, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.jsonl").write_text("{nonsense\n")
    found, out, err = run(*files_of(collection, **change), "--json")
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert said in err


def test_a_collection_that_lacks_a_file_is_wrong_usage(run, collection):
    code, out, err = run("--corpus", collection / "corpus.jsonl")
    assert (code, out) == (2, "")
    assert "--queries and --qrels missing" in err


def test_without_an_index_there_is_nothing_to_measure(run, tmp_path):
    code, out, err = run(root=tmp_path)
    assert (code, out) == (1, "")
    assert "wellread index" in err


def test_the_current_index_is_asked_what_its_pages_say_of_themselves(run, root, site):
    settings = [f"root={root}", f"source.folder={site}", "embed.device=cpu"]
    config = load_config(None, settings)
    run_ingest(config, lambda *_: None)
    version = run_index(config, lambda *_: None)
    code, out, _ = run("--json")
    assert code == 0
    measured = json.loads(out)
    assert measured["index"] == version.id
    assert {kind: one["items"] for kind, one in measured["kinds"].items()} == {"heading": 8, "anchor": 1}
    for one in measured["kinds"].values():
        assert one["metrics"]["hits"]["recall@5"] == 1
        assert set(one["metrics"]["hits"]) == {"recall@1", "recall@5", "recall@10", "mrr@10"}
    assert all(set(miss) == {"item", "rank", "found"} for miss in measured["misses"])

    code, out, err = run("--hold-out", "--json", "--questions", 4)
    held = json.loads(out)
    assert (code, held["kinds"]["heading"]["items"], held["settings"]["hold_out"]) == (0, 4, True)
    assert "embedding" in err

    code, out, _ = run()
    assert code == 0
    assert f"8 questions from headings, index {version.id}" in out
