"""The stage of the index, with the real embedder: what is taken over, what is refused, and what survives a kill."""

import json
import signal
import subprocess
import sys

import pytest

from configs.artifacts import Workspace
from configs.errors import ArtifactError, GateRefused
from configs.load import SHIPPED, load_config
from ingest.index_stage import open_index, run_index
from ingest.pipeline import run_ingest
from ingest.search.answerable import Answerability

THINGS = "pump lathe drill crane forge press kiln winch anvil chisel gauge valve boiler piston rivet spindle".split()
THINGS += "turbine hammer bellows gear saw clamp vice auger router plane sander welder grinder jig".split()

# Kills itself, as the kernel would, when the second part of the passages has been embedded.
CHILD = """
import os, signal, sys
from configs.load import SHIPPED, load_config
from ingest import embed_parts
from ingest.index_stage import run_index

embed_parts.AT_ONCE = 16

def watch(what, done, total):
    if what == "embedding" and done == 32:
        os.kill(os.getpid(), signal.SIGKILL)

run_index(load_config(SHIPPED / "ci.yaml", sys.argv[1:], {}), watch)
"""


def quiet(_what, _done, _total):
    pass


@pytest.fixture
def docs(tmp_path):
    home = tmp_path / "docs"
    home.mkdir()
    for thing in THINGS:
        write(home, thing, f"the {thing} is stopped with the red button that is left of it")
    return home


def write(home, thing, how):
    care = f"Every working day somebody cleans the {thing} with a dry cloth and looks whether anything is loose."
    (home / f"{thing}.md").write_text(f"# The {thing}\n\n{care}\n\n## Stopping a {thing} at once\n\nIn danger {how}.\n")


def configured(tmp_path, *overrides):
    fixed = [f"root={tmp_path}/root", f"source.folder={tmp_path}/docs", "embed.device=cpu"]
    return load_config(SHIPPED / "ci.yaml", [*fixed, *overrides], {})


def indexed(config, **options):
    run_ingest(config, quiet)
    return run_index(config, quiet, **options)


def swaps(tmp_path):
    return [json.loads(line) for line in (tmp_path / "root" / "index" / "swaps.jsonl").read_text().splitlines()]


def best(config, question):
    return open_index(config).search(question, 1).hits[0].chunk


def test_a_page_that_changes_is_embedded_and_the_rest_taken_over(tmp_path, docs):
    config = configured(tmp_path)
    first = indexed(config)
    assert first.manifest.counts == {"chunks": 60, "embedded": 60, "removed": 0}
    write(docs, "kiln", "the kiln goes out when its gas is shut off behind the door")
    (docs / "drill.md").unlink()
    second = indexed(config)
    assert second.manifest.counts == {"chunks": 58, "embedded": 1, "removed": 4}
    first_swap, swap = swaps(tmp_path)
    assert (first_swap["from"], first_swap["to"]) == (None, first.id)
    assert (swap["from"], swap["to"], swap["recall_at_5"], swap["recall_at_5_before"]) == (
        first.id,
        second.id,
        1.0,
        1.0,
    )
    fitted, kept = (Answerability.load(version.path) for version in (first, second))
    assert (kept.fitted, kept.made_with["changed_since"]) == (fitted.fitted, 4)
    assert "gas is shut off" in best(config, "How does one stop the kiln at once?").text
    assert "drill" not in best(config, "How is the drill stopped?").text
    old = open_index(config, first.path)
    assert "drill" in old.search("How is the drill stopped?", 1).hits[0].chunk.text
    assert indexed(config).reused
    for thing in THINGS[3:10]:
        write(docs, thing, f"a bell rings and the {thing} is left alone by everybody")
    assert "changed_since" not in Answerability.load(indexed(config).path).made_with


def test_an_index_that_finds_less_is_refused_unless_it_is_forced(tmp_path, docs, caplog):
    good = indexed(configured(tmp_path, "retrieve.mode=dense"))
    # Longer than the embedder reads: all questions look the same to it.
    spoilt = configured(tmp_path, "retrieve.mode=dense", f"embed.query_prefix={'the red button ' * 100}")
    with pytest.raises(GateRefused, match=r"finds .* of 60 known pages .* lost: .*wellread index --force"):
        run_index(spoilt, quiet)
    workspace = Workspace(tmp_path / "root")
    assert workspace.current("index").id == good.id
    forced = run_index(spoilt, quiet, force=True)
    assert workspace.current("index").id == forced.id
    swap = swaps(tmp_path)[-1]
    assert swap["recall_at_5"] < 0.5 < swap["recall_at_5_before"]
    assert "60 known pages" in swap["forced"]
    assert "taken by force" in caplog.text
    # A version that is there already is compared, too.
    assert run_index(configured(tmp_path, "retrieve.mode=dense"), quiet).id == good.id
    with pytest.raises(GateRefused):
        run_index(spoilt, quiet)
    assert workspace.current("index").id == good.id


def test_a_run_that_is_killed_while_it_embeds_goes_on_where_it_was(tmp_path, docs, caplog):
    config = configured(tmp_path)
    run_ingest(config, quiet)
    overrides = [f"root={tmp_path}/root", f"source.folder={tmp_path}/docs", "embed.device=cpu"]
    killed = subprocess.run([sys.executable, "-c", CHILD, *overrides], timeout=120)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(ArtifactError, match="no index"):
        open_index(config)
    (partial,) = (tmp_path / "root" / "index").glob(".partial-*")
    before = {path.name: path.stat().st_ino for path in partial.glob("embedded/*.vectors.npy")}
    assert len(before) == 2
    kept = []
    monkey = pytest.MonkeyPatch()
    monkey.setattr("ingest.embed_parts.AT_ONCE", 16)

    def watch(what, done, _total):
        if what == "embedding":
            kept.append({path.name: path.stat().st_ino for path in partial.glob("embedded/*.vectors.npy")})

    made = run_index(config, watch)
    monkey.undo()
    assert made.manifest.counts["embedded"] == 60
    assert before.items() <= kept[-1].items()
    assert "lathe" in best(config, "How is the lathe stopped?").text


def test_questions_about_something_else_are_less_answerable(tmp_path, docs):
    config = configured(tmp_path)
    indexed(config)
    index = open_index(config)
    about, other = (
        index.answerability(index.search(question, 3))
        for question in ("How is the turbine stopped at once?", "Who won the football match in Lisbon yesterday?")
    )
    assert other < index.threshold <= about
    assert (tmp_path / "root" / "index" / index.version / "answerability.svg").read_text().startswith("<svg")


def test_an_index_of_another_embedder_setting_is_refused(tmp_path, docs):
    indexed(configured(tmp_path))
    with pytest.raises(ArtifactError, match="query_prefix differs"):
        open_index(configured(tmp_path, 'embed.query_prefix="question: "'))


def test_pages_that_all_moved_are_not_compared_and_nothing_is_made_up(tmp_path, docs, caplog):
    config = configured(tmp_path)
    indexed(config)
    for path in list(docs.iterdir()):
        path.rename(docs / f"the-{path.name}")
    indexed(config)
    assert "not compared" in caplog.text
    assert swaps(tmp_path)[-1]["items"] == 0
    assert "recall_at_5" not in swaps(tmp_path)[-1]


def test_another_structure_embeds_nothing(tmp_path, docs):
    indexed(configured(tmp_path))
    graph = run_index(configured(tmp_path, "index.kind=hnsw"), quiet)
    assert graph.manifest.counts["embedded"] == 0
    assert open_index(configured(tmp_path, "index.kind=hnsw")).stats().kind == "hnsw"
    assert "lathe" in best(configured(tmp_path), "How is the lathe stopped?").text


@pytest.mark.parametrize("damaged", ["answerability.json", "passages.arrow", "vectors/vectors.json", "lexical/*.npy"])
def test_a_finished_index_that_was_damaged_is_made_again(tmp_path, docs, damaged, caplog):
    config = configured(tmp_path)
    made = indexed(config)
    for path in made.path.glob(damaged):
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ArtifactError):
        open_index(config)
    assert run_index(config, quiet).id == made.id
    assert "is made again" in caplog.text
    assert "lathe" in best(config, "How is the lathe stopped?").text


def test_a_second_run_is_refused_while_one_is_going_on(tmp_path, docs):
    config = configured(tmp_path)
    run_ingest(config, quiet)
    refused = []

    def watch(what, _done, _total):
        if what == "checking":
            write(docs, "kiln", "the gas is shut off")
            run_ingest(config, quiet)
            with pytest.raises(ArtifactError, match="already at work"):
                run_index(config, quiet)
            refused.append(what)

    run_index(config, watch)
    assert refused
