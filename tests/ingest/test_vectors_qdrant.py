"""The vector index on Qdrant: in the client's local mode, which is the same interface over the client's own engine, and
on the server that WELLREAD_TEST_QDRANT_URL names, where it names one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from configs.errors import ArtifactError, ConfigError, ModelError, WellreadError
from ingest.vectors.base import Kind
from ingest.vectors.qdrant import QdrantIndex, forget
from ingest.vectors.qdrant_server import LEASE, RENEWED, Server
from ingest.vectors.qdrant_tables import id_of, point, tables, where
from tests.ingest.vector_contract import DIMENSIONS, LARGEST_ID, assert_agrees, filled, numbers, some_vectors
from tests.ingest.vector_server_contract import ServerContract, Store, held_of, put, told_by

SECRET = "s3cr3t-w0rd"  # noqa: S105
pytestmark = [
    # Local mode says that it compares all vectors, whatever it is asked for.
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]
OWNERS = ("", "one", "two")
SERVERS = ["local", *filter(None, [os.environ.get("WELLREAD_TEST_QDRANT_URL")])]


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Any]:
    """What an index is opened with: a client in local mode, or a URL."""
    if request.param != "local":
        yield request.param
        return
    client = QdrantClient(":memory:")
    yield client
    client.close()


def store_of(server: Any, folder: Path, kind: Kind = "exact") -> Store:
    """A collection on the server, named after the folder."""
    collection, others = folder.name[-30:], count()
    client = QdrantClient(server) if isinstance(server, str) else server
    create = partial(QdrantIndex.create, server, kind=kind)
    lost = models.FilterSelector(filter=where(ids=[100]))
    return Store(
        folder=folder,
        create=partial(create, collection),
        create_another=lambda dimensions: create(f"{collection}-{next(others)}", dimensions),
        load=partial(QdrantIndex.load, url=server),
        forget=partial(forget, server, collection),
        tables=lambda: [name for owner in OWNERS for name in tables(client, collection, owner)],
        lose=lambda table: client.delete(table, lost),
    )


@pytest.fixture
def store(server: Any, tmp_path: Path, kind: Kind) -> Iterator[Store]:
    yield store_of(server, tmp_path, kind)
    client = QdrantClient(server) if isinstance(server, str) else server
    for found in client.get_collections().collections:
        if found.name.startswith(f"wellread.{tmp_path.name[-30:]}"):
            client.delete_collection(found.name)


class TestExact(ServerContract):
    @pytest.fixture
    def kind(self) -> Kind:
        return "exact"


class TestHnsw(ServerContract):
    @pytest.fixture
    def kind(self) -> Kind:
        return "hnsw"


def test_ids_and_generations_make_points_and_back() -> None:
    for one, generation in ((0, 1), (7, 2**31), (LARGEST_ID, 1), (LARGEST_ID, 3)):
        assert id_of(point(one, generation)) == one
    assert len({point(one, generation) for one in (0, 1, 2) for generation in (1, 2, 3)}) == 9


WRITER = """
import sys
import warnings
from pathlib import Path
import numpy as np
from qdrant_client import QdrantClient
from ingest.vectors.qdrant import QdrantIndex
warnings.simplefilter("ignore")
index = QdrantIndex.load(Path(sys.argv[1]), QdrantClient(path=sys.argv[2]))
index.remove(np.arange(100, 105))
for start in range(10**6):
    index.add(np.arange(3) + 1000 + start, np.eye(16, dtype=np.float32)[:3])
    print("added", flush=True)
"""


def test_a_writer_that_is_killed_leaves_the_old_version(tmp_path: Path) -> None:
    there, folder = tmp_path / "local", tmp_path / "index"
    with closing(QdrantClient(path=str(there))) as client:
        index = QdrantIndex.create(client, "killed", DIMENSIONS)
        held = dict(enumerate(filled(index, 20), start=100))
        index.save(folder)
    with subprocess.Popen([sys.executable, "-c", WRITER, folder, there], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "added\n"
        writer.send_signal(signal.SIGKILL)
    with closing(QdrantClient(path=str(there))) as client:
        index = QdrantIndex.load(folder, client)
        assert client.collection_exists("wellread.killed.lock")
        assert_agrees(index, held, some_vectors(4), 30)
        put(index, held_of([1]))
        index.save(folder)
        assert_agrees(QdrantIndex.load(folder, client), held | held_of([1]), some_vectors(4), 30)
        assert index.stats().removed == 0
        assert not client.collection_exists("wellread.killed.lock")


def locked_by(client: QdrantClient, **about: Any) -> None:
    """Make the lock of the collection `x` somebody's."""
    vectors = models.VectorParams(size=1, distance=models.Distance.DOT)
    client.create_collection("wellread.x.lock", vectors_config=vectors, metadata={"lock": "theirs", **about})


def test_a_lock_of_another_machine_is_taken_over_only_when_it_is_old() -> None:
    with closing(QdrantClient(":memory:")) as client:
        locked_by(client, host="elsewhere", pid=1, since=time.time())
        with pytest.raises(ArtifactError, match=r"is writing.*delete the Qdrant collection wellread\.x\.lock"):
            QdrantIndex.create(client, "x", DIMENSIONS)
        client.delete_collection("wellread.x.lock")
        locked_by(client, host="elsewhere", pid=1, since=time.time() - LEASE - 1)
        assert len(QdrantIndex.create(client, "x", DIMENSIONS)) == 0


def test_writing_renews_the_lock() -> None:
    with closing(QdrantClient(":memory:")) as client:
        index = QdrantIndex.create(client, "x", DIMENSIONS)

        def since() -> float:
            return float(client.get_collection("wellread.x.lock").config.metadata["since"])

        for write in (lambda: filled(index, 3), lambda: index.remove(numbers(100))):
            client.update_collection("wellread.x.lock", metadata={"since": time.time() - LEASE - 1})
            write()
            assert time.time() - since() < RENEWED
        there = since()
        filled(index, 3)
        assert since() == there
        index.close()


def test_a_writer_whose_lock_is_gone_cannot_go_on() -> None:
    with closing(QdrantClient(":memory:")) as client:
        index = QdrantIndex.create(client, "x", DIMENSIONS)
        client.delete_collection("wellread.x.lock")
        with pytest.raises(ArtifactError, match="took over"):
            filled(index, 3)


def test_tables_from_before_there_were_owners_are_those_of_nobody(tmp_path: Path) -> None:
    with closing(QdrantClient(":memory:")) as client:
        index = QdrantIndex.create(client, "x", DIMENSIONS)
        filled(index, 3)
        index.save(tmp_path)
        (table,) = tables(client, "x", "")
        client.get_collection(table).config.metadata.pop("owner")
        forget(client, "x", [], owner="one")
        assert len(QdrantIndex.load(tmp_path, client)) == 3
        forget(client, "x", [])
        assert tables(client, "x", "") == []


def test_a_search_says_how_far_and_leaves_out_rather_than_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(QdrantClient(":memory:")) as client:
        index = QdrantIndex.create(client, "x", DIMENSIONS, "hnsw")
        vectors = filled(index, 20)
        index.save(tmp_path)
        asked: list[Any] = []
        ask = client.query_batch_points
        monkeypatch.setattr(client, "query_batch_points", lambda table, all_: asked.extend(all_) or ask(table, all_))
        opened = QdrantIndex.load(tmp_path, client, search=77)
        for allowed in (np.arange(100, 105), np.arange(101, 200), np.arange(100, 200)):
            opened.search(vectors[:1], 3, allowed)
        assert [one.params.hnsw_ef for one in asked] == [77] * 3
        named = [
            [condition.match.any for condition in (*one.filter.must, *one.filter.must_not) if condition.key == "id"]
            for one in asked
        ]
        assert named == [[[100, 101, 102, 103, 104]], [[100]], []]


def test_a_writer_whose_lock_was_taken_over_cannot_go_on(tmp_path: Path) -> None:
    with closing(QdrantClient(":memory:")) as client:
        index = QdrantIndex.create(client, "x", DIMENSIONS)
        filled(index, 3)
        client.delete_collection("wellread.x.lock")
        locked_by(client, host="elsewhere", pid=1, since=time.time())
        for write in (lambda: put(index, held_of([1])), lambda: index.save(tmp_path)):
            with pytest.raises(ArtifactError, match="took over"):
                write()
        index.close()
        assert client.collection_exists("wellread.x.lock")
    assert list(tmp_path.iterdir()) == []


@contextmanager
def answering(status: int, body: bytes = b"{}") -> Iterator[str]:
    """A server that gives one answer to everything. Its address, with a key."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://:{SECRET}@127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, b"{}", "refuses the key"),
        (403, b"{}", "refuses the key"),
        (500, b'{"status": {"error": "No space left on device"}}', "No space left on device"),
        (502, b"<html>", "502 Bad Gateway"),
        (200, b"<html>", "Expecting value"),
    ],
)
def test_a_server_that_refuses_is_told(status: int, body: bytes, message: str) -> None:
    with answering(status, body) as url, pytest.raises(ArtifactError, match=message) as told:
        QdrantIndex.create(url, "x", DIMENSIONS)
    assert not any(SECRET in text for text in told_by(told.value))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{SECRET}@127.0.0.1:1",
        f"https://{SECRET}@nosuch.invalid:6333",
        f"https://:{SECRET}@127.0.0.1:{SECRET}",
        f"https://:a/{SECRET}@127.0.0.1",
        f"https://:{SECRET}%0a@127.0.0.1:1",
        f"https://:{SECRET}ä@127.0.0.1:1",
        f"postgresql://u:{SECRET}@127.0.0.1",
        "",
    ],
)
def test_an_error_never_tells_the_key(url: str) -> None:
    with pytest.raises(WellreadError) as told:
        QdrantIndex.create(url, "x", DIMENSIONS)
    assert not any(SECRET in text for text in told_by(told.value))
    assert told.value.remedy


def test_a_server_never_shows_the_key() -> None:
    server = Server(f"https://:{SECRET}@127.0.0.1:1")
    for shown in (server, server.client, server.place):
        assert SECRET not in repr(shown)


def test_what_qdrant_cannot_do_is_told() -> None:
    with pytest.raises(ConfigError, match="ivfpq"):
        QdrantIndex.create("http://127.0.0.1:1", "x", DIMENSIONS, "ivfpq")


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(ModelError, match="make install EXTRAS=docs,qdrant"):
        QdrantIndex.create("http://127.0.0.1:1", "x", DIMENSIONS)
