"""The stage of the index with its vectors in a real PostgreSQL server."""

from pathlib import Path

import pytest

from configs.artifacts import Workspace
from configs.errors import ArtifactError
from configs.load import SHIPPED, load_config
from configs.schema import Config
from ingest.index_stage import open_index, run_index
from ingest.pipeline import run_ingest
from tests.ingest.postgres_server import Server, server

__all__ = ["server"]

THINGS = "pump lathe drill crane forge press kiln winch anvil chisel gauge valve".split()


def quiet(_what, _done, _total):
    pass


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    home = tmp_path / "docs"
    home.mkdir()
    for thing in THINGS:
        text = f"Every working day somebody cleans the {thing} with a dry cloth and looks whether anything is loose."
        stop = f"In danger the {thing} is stopped with the red button."
        (home / f"{thing}.md").write_text(f"# The {thing}\n\n{text}\n\n## Stopping a {thing} at once\n\n{stop}\n")
    return home


def configured(tmp_path: Path, *overrides: str, root: str = "root") -> Config:
    fixed = [f"root={tmp_path}/{root}", f"source.folder={tmp_path}/docs", "embed.device=cpu"]
    return load_config(SHIPPED / "ci.yaml", [*fixed, *overrides], {})


def on(server: Server) -> list[str]:
    return ["index.store=pgvector", f'index.url="{server.url()}"']


def best(config: Config, question: str) -> str:
    return open_index(config).search(question, 1).hits[0].chunk.text


def test_vectors_move_to_a_server_and_back_without_being_made_again(tmp_path, docs, server):
    files, served = configured(tmp_path), configured(tmp_path, *on(server))
    run_ingest(files, quiet)
    first = run_index(files, quiet)
    moved = run_index(served, quiet)
    assert moved.manifest.counts == {"chunks": 24, "embedded": 0, "removed": 0}
    assert "crane" in best(served, "How is the crane stopped?")
    with pytest.raises(ArtifactError, match="kept in pgvector, and index"):
        open_index(files)
    assert run_index(files, quiet).id == first.id
    assert "crane" in best(files, "How is the crane stopped?")
    assert server.url() not in "".join(path.read_text() for path in (tmp_path / "root" / "index").glob("*/*.json"))


def test_a_change_writes_what_changed_and_the_old_version_still_answers(tmp_path, docs, server):
    config = configured(tmp_path, *on(server), "index.collection=changing")
    run_ingest(config, quiet)
    old = run_index(config, quiet)
    (docs / "crane.md").unlink()
    run_ingest(config, quiet)
    new = run_index(config, quiet)
    assert new.manifest.counts == {"chunks": 22, "embedded": 0, "removed": 2}
    assert "crane" not in best(config, "How is the crane stopped?")
    assert "crane" in open_index(config, old.path).search("How is the crane stopped?", 1).hits[0].chunk.text


def test_what_the_server_lost_is_made_again(tmp_path, docs, server, caplog):
    config = configured(tmp_path, *on(server), "index.collection=lost")
    run_ingest(config, quiet)
    made = run_index(config, quiet)
    for (name,) in server.do("SELECT name FROM wellread_collections WHERE collection = 'lost'"):
        server.do(f'DROP TABLE "{name}"', f"DELETE FROM wellread_collections WHERE name = '{name}'")  # noqa: S608
    with pytest.raises(ArtifactError, match="is gone"):
        open_index(config)
    again = run_index(config, quiet)
    assert (again.id, again.manifest.counts["embedded"]) == (made.id, 24)
    assert "is made again" in caplog.text
    assert "crane" in best(config, "How is the crane stopped?")


def test_two_workspaces_may_share_a_collection(tmp_path, docs, server):
    one, other = (configured(tmp_path, *on(server), "index.collection=shared", root=root) for root in ("one", "other"))
    for config in (one, other, one):
        run_ingest(config, quiet)
        run_index(config, quiet)
    owners = {(tmp_path / root / "index" / "owner").read_text() for root in ("one", "other")}
    assert len(owners) == 2
    for config in (one, other):
        assert "crane" in best(config, "How is the crane stopped?")


def test_a_server_that_is_not_there_changes_nothing(tmp_path, docs):
    run_ingest(configured(tmp_path), quiet)
    made = run_index(configured(tmp_path), quiet)
    away = configured(tmp_path, "index.store=pgvector", 'index.url="postgresql://u:s3cret@127.0.0.1:1/db"')
    with pytest.raises(ArtifactError) as caught:
        run_index(away, quiet)
    assert "s3cret" not in str(caught.value)
    assert Workspace(tmp_path / "root").current("index").id == made.id
