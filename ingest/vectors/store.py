"""Which store holds an index's vectors: plain settings in, a `VectorIndex` out."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from configs.errors import ConfigError
from ingest.vectors.base import Kind, VectorIndex
from ingest.vectors.faiss_index import FaissIndex
from ingest.vectors.kinds import Params, Wanted, kind_of
from ingest.vectors.stored import stored_in


@dataclass(frozen=True)
class Store:
    """Where vectors are kept, and how they are searched; `configs.retrieval.IndexSettings` says what each is.

    Attributes:
        collection: the name that all versions of an index have in common on a server.
        owner: whose vectors they are there; those of others are never touched.
    """

    name: Literal["faiss", "pgvector", "qdrant"] = "faiss"
    # It may hold a password.
    url: str | None = field(default=None, repr=False)
    collection: str = "wellread"
    kind: Wanted = "auto"
    params: Params = field(default_factory=Params)
    compact_at: float = 0.2
    owner: str = ""

    def create(self, dimensions: int, count: int) -> VectorIndex:
        """A new, empty index.

        Args:
            count: about how many vectors it will hold.

        Raises:
            ConfigError: the store cannot do what is asked of it, or has no URL.
            ArtifactError: the server cannot be reached, or another process is writing the collection.
            ModelError: the server's client is not installed.
        """
        if self.name == "faiss":
            return FaissIndex.create(dimensions, self.kind, self.params)
        how = self.params
        of: dict[str, Any] = {"links": how.m, "build": how.build, "search": how.search, "owner": self.owner}
        if self.name == "pgvector":
            from ingest.vectors.pgvector import PgVectorIndex

            return PgVectorIndex.create(self._url, self.collection, dimensions, self._kind(count), **of)
        from ingest.vectors.qdrant import QdrantIndex

        return QdrantIndex.create(self._url, self.collection, dimensions, self._kind(count), **of)

    def of(self, folder: Path) -> "Store":
        """The same with the store that the vectors of a folder are in.

        Raises:
            ArtifactError: the folder does not say.
        """
        return replace(self, name=stored_in(folder))

    def takes(self, vectors: VectorIndex, folder: Path, count: int) -> bool:
        """Whether vectors that were loaded from a folder can be brought up to date, or have to be copied.

        Args:
            count: how many it will hold.
        """
        if stored_in(folder) != self.name:
            return False
        return self.name == "faiss" or vectors.stats().kind == self._kind(count)

    def load(self, folder: Path) -> VectorIndex:
        """Open what was saved in a folder.

        Raises:
            ArtifactError: it is damaged, was kept in another store, or the server does not hold it any more.
            ConfigError, ModelError: as `create`.
        """
        if self.name == "faiss":
            return FaissIndex.load(folder, self.kind, self.params)
        if self.name == "pgvector":
            from ingest.vectors.pgvector import PgVectorIndex

            return PgVectorIndex.load(folder, self._url, search=self.params.search)
        from ingest.vectors.qdrant import QdrantIndex

        return QdrantIndex.load(folder, self._url, search=self.params.search)

    def tidy(self, vectors: VectorIndex) -> None:
        """Build anew what has changed too much, before it is saved. Servers do so themselves."""
        if isinstance(vectors, FaissIndex) and vectors.needs_compaction(self.compact_at):
            vectors.compact()

    def forget(self, kept: Iterable[Path]) -> None:
        """Take from the server what no folder refers to any more.

        Args:
            kept: every folder that an index of this collection was saved in.
        """
        if self.name == "pgvector":
            from ingest.vectors import pgvector

            pgvector.forget(self._url, self.collection, kept, self.owner)
        elif self.name == "qdrant":
            from ingest.vectors import qdrant

            qdrant.forget(self._url, self.collection, kept, self.owner)

    def _kind(self, count: int) -> Kind:
        """The kind on a server, which has no IVF-PQ: its graphs are for as many as it has room for."""
        kind = kind_of(self.kind, count)
        return "hnsw" if self.kind == "auto" and kind == "ivfpq" else kind

    @property
    def _url(self) -> str:
        if self.url is None:
            raise ConfigError(f"index.store is {self.name}, which needs index.url", "Set it in the environment")
        return self.url


FILES = Store()
