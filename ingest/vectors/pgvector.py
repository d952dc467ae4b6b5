"""A vector index in PostgreSQL with pgvector (`ingest.vectors.base.VectorIndex`).

What is added or removed is written at once, as the next generation of a table (`ingest.vectors.pgtables`); `save` lets
that generation be seen, in one step. An update that is killed leaves rows that nobody sees, and the next writer takes
them back. A change writes what changed, and nothing else.

HNSW (Malkov and Yashunin 2016) is built by the first `save`: over a full table that is faster than row by row. What it
finds is filtered afterwards, by generation and by `allowed`; where less is left than there is to find, all vectors are
compared.

Known limits: HNSW takes at most 2,000 dimensions; a collection has one writer at a time.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, LiteralString

import numpy as np

from configs.errors import ArtifactError, ConfigError
from ingest.vectors import pgtables
from ingest.vectors.base import Ids, Kind, Stats, Vectors
from ingest.vectors.checks import checked, checked_queries
from ingest.vectors.pgtables import written
from ingest.vectors.postgres import Connections
from ingest.vectors.server import Limit, Reference, checked_name, gathered, padded, references

if TYPE_CHECKING:
    import psycopg

STORE: Literal["pgvector"] = "pgvector"
MOST_SEARCH = 1000
"""Candidates that pgvector's HNSW can look at."""
FEW = 5000
"""Allowed vectors up to which they are compared one by one."""
_NEAREST: LiteralString = """
    SELECT id, -(vec <#> %(query)b) FROM {table}
    WHERE {seen} AND (%(only)s::int8[] IS NULL OR id = ANY(%(only)s::int8[]))
    AND (%(but)s::int8[] IS NULL OR id <> ALL(%(but)s::int8[])) ORDER BY (vec <#> %(query)b)"""
# HNSW can only give this very order: where zero is added to it, all that passes the filters is compared.
_BY_INDEX: LiteralString = _NEAREST + " LIMIT %(k)s"
_EXACT: LiteralString = _NEAREST + " + 0 LIMIT %(k)s"


class PgVectorIndex:
    """See the module. Made by `create` or `load`.

    Args:
        server: connections to where `reference` is.
        writer: the connection that has the collection's lock, if it was taken.
    """

    def __init__(self, server: Connections, reference: Reference, writer: "psycopg.Connection | None" = None) -> None:
        self.dimensions = reference.dimensions
        self._server = server
        self._reference = reference
        self._writer = writer
        self._table = reference.table
        self._sizes: tuple[int, int] | None = None
        self._everything: Ids | None = None

    @classmethod
    def create(
        cls,
        url: str,
        collection: str,
        dimensions: int,
        kind: Kind = "exact",
        *,
        links: int = 32,
        build: int = 200,
        search: int = 128,
        owner: str = "",
    ) -> "PgVectorIndex":
        """A new, empty index. It is the collection's only writer until it is saved or closed.

        Args:
            url: `postgresql://user:password@host:port/database`.
            collection: the name that all versions of this index have in common.
            links, build, search: M, efConstruction and efSearch of HNSW.
            owner: whose it is, of those who use this collection's name; see `forget`.

        Raises:
            ConfigError: pgvector cannot do this, or the URL is not one.
            ArtifactError: the server cannot be reached or refuses, or another process is writing the collection.
            ModelError: the driver is not installed.
        """
        if kind == "ivfpq":
            raise ConfigError("index.kind is ivfpq, which pgvector does not have", "Set index.kind=hnsw")
        server = Connections(url)
        writer = pgtables.locked(server, checked_name(collection))
        with server.told():
            name = pgtables.make(writer, collection, owner, dimensions, links if kind == "hnsw" else 0, build)
        return cls(server, Reference(STORE, server.place, collection, name, 1, dimensions, kind, search), writer)

    @classmethod
    def load(cls, folder: Path, url: str, *, search: int | None = None) -> "PgVectorIndex":
        """Open what was saved in a folder. Counts its vectors, which reads the table once.

        Args:
            search: efSearch from now on; None takes what it was saved with.

        Raises:
            VectorsLost: the server does not hold what the file says.
            ArtifactError: the file is damaged or of another store, or the server cannot be reached.
            ConfigError: the URL is not one.
            ModelError: the driver is not installed.
        """
        reference = Reference.read(folder, STORE)
        server = Connections(url)
        index = cls(server, replace(reference, place=server.place, search=search or reference.search))
        ((there,),) = server.rows("SELECT to_regclass('wellread_collections') IS NOT NULL", {})
        query = "SELECT dimensions, generations FROM wellread_collections WHERE name = %(name)s"
        for dimensions, generations in server.rows(query, {"name": reference.table}) if there else []:
            if reference.generation not in generations:
                raise index._reference.lost(f"has no generation {reference.generation} any more")
            if dimensions != reference.dimensions:
                raise index._reference.lost(f"has {dimensions} dimensions, not {reference.dimensions}")
            if len(index) != reference.vectors:
                raise index._reference.lost(f"holds {len(index)} vectors, not {reference.vectors}")
            return index
        raise index._reference.lost("is gone")

    def __len__(self) -> int:
        return self._counted()[0]

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """See `VectorIndex.add`."""
        ids, vectors = checked(ids, vectors, self.dimensions)
        if not len(ids):
            return
        writer = self._begun()
        with self._server.told(), writer.transaction():
            self._bury(writer, ids)
            copied = written("COPY {table} (id, born, vec) FROM STDIN (FORMAT BINARY)", self._table)
            with writer.cursor() as cursor, cursor.copy(copied) as rows:
                rows.set_types(["int8", "int4", "vector"])
                for one, vector in zip(ids.tolist(), vectors, strict=True):
                    rows.write_row((one, self._reference.generation, vector))

    def remove(self, ids: Ids) -> int:
        """See `VectorIndex.remove`."""
        if not len(ids):
            return 0
        writer = self._begun()
        with self._server.told(), writer.transaction():
            return self._bury(writer, ids)

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[Vectors, Ids]:
        """See `VectorIndex.search`."""
        queries = checked_queries(queries, self.dimensions)
        limit = Limit.of(allowed, len(self), self._all_ids)
        return padded([self._nearest(query, k, limit) for query in queries], k)

    def get(self, ids: Ids) -> Vectors:
        """See `VectorIndex.get`."""
        query = written("SELECT id, vec FROM {table} WHERE id = ANY(%(ids)s::int8[]) AND {seen}", self._table)
        return gathered(
            ids, self.dimensions, lambda these: {one: vec.to_numpy() for one, vec in self._rows(query, ids=these)}
        )

    def save(self, folder: Path) -> None:
        """See `VectorIndex.save`. The folder gets a small file that says where the vectors are."""
        if self._writer is not None:
            with self._server.told():
                pgtables.save(self._writer, self._table, self._reference.generation)
            self._writer.close()
            self._writer = None
        self._reference = replace(self._reference, vectors=len(self))
        self._reference.write(folder)

    def stats(self) -> Stats:
        """See `VectorIndex.stats`."""
        seen, stored = self._counted()
        ((size,),) = self._rows("SELECT pg_total_relation_size(quote_ident(%(table)s))", table=self._table)
        return Stats(STORE, self._reference.kind, self.dimensions, seen, stored - seen, bytes=size)

    def close(self) -> None:
        """Close the connections; what was not saved is given up. An index that is thrown away does this itself."""
        self._server.close()

    def _begun(self) -> "psycopg.Connection":
        """The connection to write with. The first change since the last `save` begins a generation."""
        if self._writer is None:
            writer = pgtables.locked(self._server, self._reference.collection)
            try:
                with self._server.told():
                    generation = pgtables.begin(writer, self._table, self._reference.generation)
            except ArtifactError:
                writer.close()
                raise
            self._reference = replace(self._reference, generation=generation)
            self._writer = writer
        self._sizes = self._everything = None
        return self._writer

    def _bury(self, writer: "psycopg.Connection", ids: Ids) -> int:
        values = {"ids": np.asarray(ids, np.int64).tolist(), "now": self._reference.generation}
        taken = "DELETE FROM {table} WHERE id = ANY(%(ids)s::int8[]) AND born = %(now)s"
        died = "UPDATE {table} SET died = %(now)s WHERE id = ANY(%(ids)s::int8[]) AND died IS NULL"
        return sum(writer.execute(written(query, self._table), values).rowcount for query in (taken, died))

    def _counted(self) -> tuple[int, int]:
        """How many vectors are found, and how many are stored."""
        if self._sizes is None:
            query = "SELECT count(*) FILTER (WHERE {seen}), count(*) FROM {table}"
            ((seen, stored),) = self._rows(written(query, self._table))
            self._sizes = seen, stored
        return self._sizes

    def _all_ids(self) -> Ids:
        """The ids of all that is found; read once for each generation, as one value, since rows take much longer."""
        if self._everything is None:
            query = "SELECT coalesce(string_agg(int8send(id), ''::bytea), ''::bytea) FROM {table} WHERE {seen}"
            ((ids,),) = self._rows(written(query, self._table))
            self._everything = np.sort(np.frombuffer(ids, ">i8").astype(np.int64))
        return self._everything

    def _nearest(self, query: Vectors, k: int, limit: Limit) -> list[tuple[int, float]]:
        wanted = min(k, limit.count)
        if not wanted:
            return []
        seen, stored = self._counted()
        values: dict[str, Any] = {"query": query, "k": wanted, "only": limit.only, "but": limit.but}
        if self._reference.kind == "hnsw" and wanted <= MOST_SEARCH and (limit.count > FEW or limit.count == seen):
            # Of so many candidates, as many as asked for are among those that are looked for.
            search = math.ceil(max(self._reference.search, wanted) * stored / limit.count)
            found = self._rows(written(_BY_INDEX, self._table), min(search, MOST_SEARCH), **values)
            if len(found) == wanted:
                return found
        return self._rows(written(_EXACT, self._table), **values)

    def _rows(self, statement: Any, candidates: int = 0, **values: Any) -> list[Any]:
        return self._server.rows(statement, {"at": self._reference.generation, **values}, candidates)


def forget(url: str, collection: str, kept: Iterable[Path], owner: str = "") -> None:
    """Take from the server what no folder refers to: tables, and in tables that stay, the vectors of generations.

    Args:
        kept: every folder that an index of this owner was saved in and that may be opened again.
        owner: only tables that were made for it are touched.

    Raises:
        ArtifactError: as `PgVectorIndex.create`; or a folder's file is damaged. Nothing was taken then.
    """
    referred = references(kept, STORE, collection)
    server = Connections(url)
    writer = pgtables.locked(server, checked_name(collection))
    with server.told():
        for name in pgtables.tables(writer, collection, owner):
            pgtables.keep(writer, name, referred.get(name, ()))
    server.close()
