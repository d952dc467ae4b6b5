"""The vector index in PostgreSQL, against a real server that is started here, with a folder of its own.

Where the tests run as root, pgserver runs the server as the user `pgserver`, whom it makes, and lets everybody read the
folders above the server's: so these are not pytest's.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import ArtifactError, ConfigError, ModelError, WellreadError
from ingest.vectors.base import Kind
from ingest.vectors.pgvector import FEW, PgVectorIndex, forget
from ingest.vectors.stored import VECTORS_FILE
from tests.ingest.postgres_server import Server, server
from tests.ingest.vector_contract import DIMENSIONS, assert_agrees, filled, numbers, some_vectors
from tests.ingest.vector_server_contract import ServerContract, Store, held_of, put, told_by

__all__ = ["server"]

SECRET = "s3cr3t-w0rd"  # noqa: S105


def store_of(server: Server, folder: Path, database: str = "postgres", kind: Kind = "exact") -> Store:
    """A collection on the server, named after the folder."""
    url, collection, others = server.url(database=database), folder.name[-30:], count()
    create = partial(PgVectorIndex.create, url, kind=kind, links=8, build=32, search=40)
    mine = f"FROM wellread_collections WHERE collection = '{collection}'"
    return Store(
        folder=folder,
        create=partial(create, collection),
        create_another=lambda dimensions: create(f"{collection}-{next(others)}", dimensions),
        load=partial(PgVectorIndex.load, url=url),
        forget=partial(forget, url, collection),
        tables=lambda: [name for (name,) in server.do(f"SELECT name {mine}", database=database)],
        lose=lambda table: server.do(f'DELETE FROM "{table}" WHERE id = 100', database=database),  # noqa: S608
    )


class TestExact(ServerContract):
    @pytest.fixture
    def store(self, server: Server, tmp_path: Path) -> Store:
        return store_of(server, tmp_path)


class TestHnsw(ServerContract):
    @pytest.fixture
    def store(self, server: Server, tmp_path: Path) -> Store:
        return store_of(server, tmp_path, "indexed", "hnsw")


def test_with_many_allowed_that_hnsw_does_not_meet_all_are_compared(server: Server, tmp_path: Path) -> None:
    index = store_of(server, tmp_path, "indexed", "hnsw").create(DIMENSIONS)
    vectors = some_vectors(FEW + 1000)
    query = vectors[:1]
    index.add(np.arange(len(vectors)), vectors)
    index.save(tmp_path)
    far = np.argsort(vectors @ query[0])[: FEW + 10]
    held = dict(zip(far.tolist(), vectors[far], strict=True))
    assert_agrees(index, held, query, 5, allowed=far)
    assert index.search(query, 1)[1].tolist() == [[0]]
    assert index.stats().kind == "hnsw"


def test_the_more_candidates_the_more_is_found(server: Server, tmp_path: Path) -> None:
    index = store_of(server, tmp_path, "indexed", "hnsw").create(DIMENSIONS)
    vectors, queries = filled(index, 2000), some_vectors(100, seed=1)
    index.save(tmp_path)
    true = np.argmax(queries @ vectors.T, axis=1) + 100
    few, many = (PgVectorIndex.load(tmp_path, server.url(database="indexed"), search=search) for search in (1, 400))
    hits = [np.mean(opened.search(queries, 1)[1][:, 0] == true) for opened in (few, many)]
    assert hits[0] < hits[1]
    assert hits[1] > 0.9


def test_all_but_a_few_are_searched_by_hnsw(server: Server, tmp_path: Path) -> None:
    index = store_of(server, tmp_path, "indexed", "hnsw").create(DIMENSIONS)
    vectors = filled(index, FEW + 1000)
    index.save(tmp_path)
    allowed = np.arange(150, 100 + len(vectors))[::-1]
    opened = PgVectorIndex.load(tmp_path, server.url(database="indexed"), search=400)
    queries = vectors[:60]
    true = np.argsort(-(queries @ vectors[50:].T), axis=1)[:, :5] + 150
    found = opened.search(queries, 5, allowed)[1]
    assert np.isin(found, allowed).all()
    assert np.mean([len(np.intersect1d(one, other)) for one, other in zip(found, true, strict=True)]) > 4.5


def test_tables_from_before_there_were_owners_are_those_of_nobody(server: Server, tmp_path: Path) -> None:
    server.do("CREATE DATABASE older")
    store = store_of(server, tmp_path, "older")
    store.create_owned("")
    server.do("ALTER TABLE wellread_collections DROP COLUMN owner", database="older")
    store.forget([], owner="one")
    assert len(store.load(tmp_path / "of-")) == 5
    store.forget([])
    assert store.tables() == []


def test_when_most_is_dead_what_lives_is_found(server: Server, tmp_path: Path) -> None:
    index = store_of(server, tmp_path, "indexed", "hnsw").create(DIMENSIONS)
    vectors = filled(index, 1500)
    index.save(tmp_path)
    near = np.argsort(vectors @ -vectors[0])[:-20] + 100
    index.remove(near[::-1][:1400])
    index.save(tmp_path)
    assert len(index) == 100
    left = np.setdiff1d(np.arange(100, 1600), near[::-1][:1400])
    assert_agrees(index, dict(zip(left.tolist(), vectors[left - 100], strict=True)), vectors[:3], 50)


WRITER = """
import sys
from pathlib import Path
import numpy as np
from ingest.vectors.pgvector import PgVectorIndex
index = PgVectorIndex.load(Path(sys.argv[1]), sys.argv[2])
index.remove(np.arange(100, 105))
for start in range(10**6):
    index.add(np.arange(3) + 1000 + start, np.eye(16, dtype=np.float32)[:3])
    print("added", flush=True)
"""


def writing(folder: Path, url: str) -> "subprocess.Popen[str]":
    """A process that changes the index saved in a folder, and never saves it. Returns when it has begun."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, folder, url], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "added\n"
    return writer


def once_free(write: Callable[[], Any]) -> Any:
    """What `write` gives, once the server has noticed that the writer before is gone."""
    for _ in range(100):
        try:
            return write()
        except ArtifactError as error:
            if "another process" not in str(error):
                raise
            time.sleep(0.1)
    return write()


def test_a_writer_that_is_killed_leaves_the_old_version(server: Server, tmp_path: Path) -> None:
    store = store_of(server, tmp_path)
    index = store.create(DIMENSIONS)
    held = dict(enumerate(filled(index, 20), start=100))
    one = store.saved(index, "one")
    with writing(one, server.url()) as writer:
        with pytest.raises(ArtifactError, match="another process"):
            put(store.load(one), held_of([1]))
        assert_agrees(store.load(one), held, some_vectors(4), 30)
        writer.send_signal(signal.SIGKILL)
    assert_agrees(store.load(one), held, some_vectors(4), 30)
    again = store.load(one)
    once_free(lambda: put(again, held_of([1])))
    assert_agrees(store.load(store.saved(again, "two")), held | held_of([1]), some_vectors(4), 30)
    assert again.stats().removed == 0


def test_after_the_server_crashed_the_old_version_answers(server: Server, tmp_path: Path) -> None:
    store = store_of(server, tmp_path)
    index = store.create(DIMENSIONS)
    held = dict(enumerate(filled(index, 20), start=100))
    one = store.saved(index, "one")
    opened, update = store.load(one), store.load(one)
    put(update, held_of([1, 2]))
    server.do("CHECKPOINT")  # so that there is little to recover
    server.crash()
    with pytest.raises(ArtifactError, match="cannot be reached"):
        opened.search(some_vectors(1), 1)
    server.start()
    assert_agrees(opened, held, some_vectors(4), 30)
    for write in (lambda: put(update, held_of([3])), lambda: update.save(tmp_path / "two")):
        with pytest.raises(ArtifactError, match=r"failed: .*run this again"):
            write()
    assert not (tmp_path / "two").exists()
    again = store.load(one)
    again.remove(numbers(100))
    assert len(store.load(store.saved(again, "two"))) == len(held) - 1


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}@127.0.0.1:1/x",
        f"postgresql://u:{SECRET}@nosuch.invalid/x",
        f"postgresql://u:{SECRET}@127.0.0.1:{SECRET}/x",
        f"postgresql://u:{SECRET}@127.0.0.1/x?{SECRET}={SECRET}",
        f"postgresql://u:{SECRET}%zz@127.0.0.1/x",
        f"postgresql://u:a/{SECRET}@127.0.0.1/x",
        f"postgresql://u:1/{SECRET}@127.0.0.1/x",
        f"postgresql://u:a#{SECRET}@127.0.0.1/x",
        f"postgresql://u:a@{SECRET}@127.0.0.1/x",
        f"postgresql://u:{SECRET}/x",
        f"postgresql://[u:{SECRET}@127.0.0.1/x",
        f"postgres//u:{SECRET}@127.0.0.1/x",
        f"mysql://u:{SECRET}@127.0.0.1/x",
        f"host=127.0.0.1 password={SECRET}",
        "",
    ],
)
def test_an_error_never_tells_the_password(url: str) -> None:
    with pytest.raises(WellreadError) as told:
        PgVectorIndex.create(url, "x", DIMENSIONS)
    assert not any(SECRET in text for text in told_by(told.value))
    assert "\n" not in str(told.value)
    assert told.value.remedy


def test_a_wrong_password_is_told_and_the_right_one_is_not_saved(server: Server, tmp_path: Path) -> None:
    server.do(f"CREATE ROLE alice LOGIN PASSWORD '{SECRET}'", "CREATE DATABASE hers OWNER alice")
    server.do("CREATE EXTENSION vector", database="hers")
    server.ask_for_passwords("alice")
    for password in ("wrong-" + SECRET[::-1], ""):
        with pytest.raises(ArtifactError, match="refuses the user or the password") as told:
            PgVectorIndex.create(server.url("alice", "hers", password), "alice", DIMENSIONS)
        assert not password or password not in str(told.value)
    index = PgVectorIndex.create(server.url("alice", "hers", SECRET), "alice", DIMENSIONS)
    index.save(tmp_path)
    assert SECRET not in (tmp_path / VECTORS_FILE).read_text()
    assert "alice@" not in (tmp_path / VECTORS_FILE).read_text()
    len(index)
    for shown in (index, index._server, index._reference, *index._server._idle, *index._server._opened):
        assert SECRET not in repr(shown)
    server.do("ALTER ROLE alice PASSWORD 'another'")
    with pytest.raises(ArtifactError) as told:
        PgVectorIndex.load(tmp_path, server.url("alice", "hers", SECRET))
    assert not any(SECRET in text for text in told_by(told.value))


def test_an_administrator_is_told_what_to_run(server: Server) -> None:
    server.do("CREATE ROLE bob LOGIN", "CREATE DATABASE bare")
    with pytest.raises(ArtifactError, match="CREATE EXTENSION IF NOT EXISTS vector") as told:
        PgVectorIndex.create(server.url("bob", "bare"), "bob", DIMENSIONS)
    for statement in told.value.remedy.partition(": ")[2].split("; "):
        server.do(statement.rstrip(";"), database="bare")
    assert len(PgVectorIndex.create(server.url("bob", "bare"), "bob", DIMENSIONS)) == 0


def test_what_pgvector_cannot_do_is_told(server: Server) -> None:
    with pytest.raises(ConfigError, match=r"2001 dimensions.*at most 2000.*index.kind=exact"):
        PgVectorIndex.create(server.url(), "wide", 2001, "hnsw")
    with pytest.raises(ConfigError, match="ivfpq"):
        PgVectorIndex.create(server.url(), "quantised", 16, "ivfpq")
    for name in ("", 'a"b', "a.b", "x" * 41):
        with pytest.raises(ConfigError, match="cannot name a collection"):
            PgVectorIndex.create(server.url(), name, 16)
    with pytest.raises(ArtifactError, match='database "nosuch" does not exist'):
        PgVectorIndex.create(server.url(database="nosuch"), "x", 16)


def test_many_dimensions_are_searched_exactly(server: Server, tmp_path: Path) -> None:
    index = PgVectorIndex.create(server.url(), "wide", 2001)
    vectors = filled(index, 4)
    index.save(tmp_path)
    assert_agrees(PgVectorIndex.load(tmp_path, server.url()), dict(enumerate(vectors, start=100)), vectors, 4)


def test_a_database_that_never_held_an_index_is_told(server: Server, tmp_path: Path) -> None:
    store = store_of(server, tmp_path)
    one = store.saved(store.create(DIMENSIONS), "one")
    server.do("CREATE DATABASE empty")
    with pytest.raises(ArtifactError, match=r"is gone. Run `wellread index`"):
        PgVectorIndex.load(one, server.url(database="empty"))


def test_missing_packages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pgvector", None)
    with pytest.raises(ModelError, match="make install EXTRAS=docs,postgres"):
        PgVectorIndex.create("postgresql://localhost/x", "x", 16)
