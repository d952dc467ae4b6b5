"""A vector index on a Qdrant server (`ingest.vectors.base.VectorIndex`).

What is added or removed is written at once, as the next generation of a table (`ingest.vectors.qdrant_tables`); `save`
lets that generation be seen, in one step. An update that is killed leaves points that nobody sees, and the next writer
takes them back. A change writes what changed, and nothing else.

Known limits: a collection has one writer at a time. Qdrant indexes in the background, so the first searches after
`save` may compare all vectors. Of an update that the server failed in the middle of nothing is seen, and it is to be
done again from the start.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from configs.errors import ConfigError
from ingest.vectors import qdrant_tables
from ingest.vectors.base import Ids, Kind, Stats, Vectors
from ingest.vectors.checks import checked, checked_queries
from ingest.vectors.qdrant_server import Lock, Server
from ingest.vectors.qdrant_tables import where
from ingest.vectors.server import Limit, Reference, checked_name, gathered, padded, parts, references

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

STORE: Literal["qdrant"] = "qdrant"
_QUERIES_AT_ONCE = 32


class QdrantIndex:
    """See the module. Made by `create` or `load`.

    Args:
        server: where `reference` is.
        lock: of the collection, if it was taken.
    """

    def __init__(self, server: Server, reference: Reference, lock: Lock | None = None) -> None:
        self.dimensions = reference.dimensions
        self._server = server
        self._client = server.client
        self._reference = reference
        self._lock = lock
        self._table = reference.table
        self._size: int | None = None
        self._everything: Ids | None = None

    @classmethod
    def create(
        cls,
        url: "str | QdrantClient",
        collection: str,
        dimensions: int,
        kind: Kind = "exact",
        *,
        links: int = 32,
        build: int = 200,
        search: int = 128,
        owner: str = "",
    ) -> "QdrantIndex":
        """A new, empty index. It is the collection's only writer until it is saved or closed.

        Args:
            url: `https://:key@host:port`, or a client that is connected.
            collection: the name that all versions of this index have in common.
            links, build, search: M, efConstruction and efSearch of HNSW.
            owner: whose it is, of those who use this collection's name; see `forget`.

        Raises:
            ConfigError: Qdrant cannot do this, or the URL is not one.
            ArtifactError: the server cannot be reached or refuses, or another process is writing the collection.
            ModelError: the client is not installed.
        """
        if kind == "ivfpq":
            raise ConfigError("index.kind is ivfpq, which Qdrant does not have", "Set index.kind=hnsw")
        server = Server(url)
        with server.told():
            lock = Lock(server, checked_name(collection))
            graph = links if kind == "hnsw" else 0
            name = qdrant_tables.make(server.client, collection, owner, dimensions, graph, build)
        return cls(server, Reference(STORE, server.place, collection, name, 1, dimensions, kind, search), lock)

    @classmethod
    def load(cls, folder: Path, url: "str | QdrantClient", *, search: int | None = None) -> "QdrantIndex":
        """Open what was saved in a folder.

        Args:
            search: efSearch from now on; None takes what it was saved with.

        Raises:
            VectorsLost: the server does not hold what the file says.
            ArtifactError: the file is damaged or of another store, or the server cannot be reached.
            ConfigError: the URL is not one.
            ModelError: the client is not installed.
        """
        server = Server(url)
        saved = Reference.read(folder, STORE)
        reference = replace(saved, place=server.place, search=search or saved.search)
        index = cls(server, reference)
        with server.told():
            if not server.client.collection_exists(reference.table):
                raise reference.lost("is gone")
            if reference.generation not in qdrant_tables.generations(server.client, reference.table):
                raise reference.lost(f"has no generation {reference.generation} any more")
            size: Any = server.client.get_collection(reference.table).config.params.vectors
        if size.size != reference.dimensions:
            raise reference.lost(f"has {size.size} dimensions, not {reference.dimensions}")
        if len(index) != reference.vectors:
            raise reference.lost(f"holds {len(index)} vectors, not {reference.vectors}")
        return index

    def __len__(self) -> int:
        if self._size is None:
            self._size = self._count(self._seen())
        return self._size

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """See `VectorIndex.add`."""
        ids, vectors = checked(ids, vectors, self.dimensions)
        for part in parts(len(ids)):
            with self._server.told():
                generation = self._begun()
                self._client.set_payload(self._table, {"died": generation}, self._older(ids[part].tolist()))
                put = zip(ids[part].tolist(), vectors[part].tolist(), strict=True)
                qdrant_tables.put(self._client, self._table, generation, put)

    def remove(self, ids: Ids) -> int:
        """See `VectorIndex.remove`."""
        removed = 0
        distinct = np.unique(np.asarray(ids, np.int64))
        for part in parts(len(distinct)):
            with self._server.told():
                generation = self._begun()
                these = distinct[part].tolist()
                older, newer = self._older(these), where(ids=these, born={"gte": generation})
                removed += self._count(older) + self._count(newer)
                self._client.set_payload(self._table, {"died": generation}, older)
                self._client.delete(self._table, newer)
        return removed

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[Vectors, Ids]:
        """See `VectorIndex.search`."""
        queries = checked_queries(queries, self.dimensions)
        limit = Limit.of(allowed, len(self), self._all_ids)
        found, wanted = self._seen(limit.only, limit.but), min(k, limit.count)
        if not wanted:
            return padded([()] * len(queries), k)
        starts = range(0, len(queries), _QUERIES_AT_ONCE)
        nearest = (self._nearest(queries[start : start + _QUERIES_AT_ONCE], found, wanted) for start in starts)
        return padded([pairs for part in nearest for pairs in part], k)

    def get(self, ids: Ids) -> Vectors:
        """See `VectorIndex.get`."""

        def fetch(these: list[int]) -> dict[int, Any]:
            with self._server.told():
                scrolled = qdrant_tables.scroll(self._client, self._table, self._seen(these))
                return dict(pair for pairs in scrolled for pair in pairs)

        return gathered(ids, self.dimensions, fetch)

    def save(self, folder: Path) -> None:
        """See `VectorIndex.save`. The folder gets a small file that says where the vectors are."""
        if self._lock is not None:
            with self._server.told():
                self._lock.check()
                qdrant_tables.save(self._client, self._table, self._reference.generation)
            self._lock.release()
            self._lock = None
        self._reference = replace(self._reference, vectors=len(self))
        self._reference.write(folder)

    def stats(self) -> Stats:
        """See `VectorIndex.stats`. Bytes are not known."""
        stored = self._count(None)
        return Stats(STORE, self._reference.kind, self.dimensions, len(self), stored - len(self))

    def close(self) -> None:
        """Let others write; what was not saved is given up. An index that is thrown away does this itself."""
        if self._lock is not None:
            self._lock.release()

    def _seen(self, ids: list[int] | None = None, but: list[int] | None = None) -> "models.Filter":
        return qdrant_tables.seen(self._reference.generation, ids, but)

    def _all_ids(self) -> Ids:
        """The ids of all that is found, read once for each generation."""
        if self._everything is None:
            with self._server.told():
                self._everything = qdrant_tables.ids_of(self._client, self._table, self._seen())
        return self._everything

    def _begun(self) -> int:
        """The generation to write. The first change since the last `save` begins it."""
        if self._lock is None:
            lock = Lock(self._server, self._reference.collection)
            generation = qdrant_tables.begin(self._client, self._table, self._reference.generation)
            self._reference = replace(self._reference, generation=generation)
            self._lock = lock
        self._lock.check()
        self._size = self._everything = None
        return self._reference.generation

    def _older(self, ids: list[int]) -> "models.Filter":
        """Those of these ids that live and were not born in the generation that is being written."""
        return where(ids=ids, born={"lt": self._reference.generation}, never={"gte": 0})

    def _count(self, found: "models.Filter | None") -> int:
        with self._server.told():
            return int(self._client.count(self._table, found, exact=True).count)

    def _nearest(
        self, queries: Vectors, found: "models.Filter", wanted: int, *, exact: bool = False
    ) -> list[list[tuple[int, float]]]:
        from qdrant_client import models

        exact = exact or self._reference.kind == "exact"
        params = models.SearchParams(exact=exact, hnsw_ef=max(self._reference.search, wanted))
        requests = [
            models.QueryRequest(query=query.tolist(), filter=found, limit=wanted, params=params) for query in queries
        ]
        with self._server.told():
            answers = self._client.query_batch_points(self._table, requests)
        points = [[(qdrant_tables.id_of(one.id), one.score) for one in answer.points] for answer in answers]
        if exact or all(len(one) == wanted for one in points):
            return points
        return self._nearest(queries, found, wanted, exact=True)


def forget(url: "str | QdrantClient", collection: str, kept: Iterable[Path], owner: str = "") -> None:
    """Take from the server what no folder refers to: tables, and in tables that stay, the vectors of generations.

    Args:
        kept: every folder that an index of this owner was saved in and that may be opened again.
        owner: only tables that were made for it are touched.

    Raises:
        ArtifactError: as `QdrantIndex.create`; or a folder's file is damaged. Nothing was taken then.
    """
    referred = references(kept, STORE, collection)
    server = Server(url)
    with server.told():
        lock = Lock(server, checked_name(collection))
        for name in qdrant_tables.tables(server.client, collection, owner):
            lock.check()
            qdrant_tables.keep(server.client, name, referred.get(name, ()))
        lock.release()
