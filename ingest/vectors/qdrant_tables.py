"""Qdrant collections as tables of vectors, and their generations.

A table is a collection `wellread.NAME.TOKEN`; each generation of it that was saved is an alias, which a server makes in
one step. A point's id is made of the vector's id and the generation it was born in, so that an id can have several
vectors; the payload says both, and the generation it died in, if it did. A vector is found in the generations from
`born` up to, not including, `died`. A table's metadata say whose it is: of a collection that several owners have, each
drops its own tables only.
"""

import secrets
import uuid
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.vectors.base import Ids, VectorsLost
from ingest.vectors.server import AT_ONCE

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

_IDS_AT_ONCE = 10_000


def seen(at: int, ids: list[int] | None = None, but: list[int] | None = None) -> "models.Filter":
    """What is found in a generation, of these ids, and but for others."""
    return where(ids=ids, but=but, born={"lte": at}, never={"lte": at})


def where(
    *,
    ids: list[int] | None = None,
    but: list[int] | None = None,
    born: dict[str, int] | None = None,
    died: dict[str, int] | None = None,
    never: dict[str, int] | None = None,
) -> "models.Filter":
    """Points by ids, and by ranges of generations.

    Args:
        ids, but: these, and not these; None does not limit.
        born, died: like `{"lte": 3}`.
        never: the range that `died` is not in; points that did not die are not in any.
    """
    from qdrant_client import models

    def within(key: str, **bounds: int) -> models.FieldCondition:
        return models.FieldCondition(key=key, range=models.Range(**bounds))

    def among(these: list[int] | None) -> list[Any]:
        return [] if these is None else [models.FieldCondition(key="id", match=models.MatchAny(any=these))]

    must = among(ids) + [within(key, **bounds) for key, bounds in (("born", born), ("died", died)) if bounds]
    must_not = among(but) + ([within("died", **never)] if never else [])
    return models.Filter(must=must, must_not=must_not)


def point(one: int, generation: int) -> str:
    """The point of a vector's id that is born in a generation."""
    return str(uuid.UUID(int=(one << 64) | generation))


def id_of(name: Any) -> int:
    """The vector's id of a point."""
    return uuid.UUID(str(name)).int >> 64


def make(client: "QdrantClient", collection: str, owner: str, dimensions: int, links: int, build: int) -> str:
    """Make a table and return its name; what its owner made before and never saved is dropped.

    Args:
        links, build: of HNSW; no links searches exactly.
    """
    from qdrant_client import models

    for unsaved in tables(client, collection, owner):
        if not generations(client, unsaved):
            client.delete_collection(unsaved)
    name = f"wellread.{collection}.{secrets.token_hex(4)}"
    client.create_collection(
        name,
        vectors_config=models.VectorParams(size=dimensions, distance=models.Distance.DOT),
        hnsw_config=models.HnswConfigDiff(m=links, ef_construct=max(build, 4)),
        metadata={"owner": owner},
    )
    for field in ("id", "born", "died"):
        client.create_payload_index(name, field, models.PayloadSchemaType.INTEGER)
    return name


def begin(client: "QdrantClient", name: str, base: int) -> int:
    """Make a new generation, seen by nobody yet, that holds what generation `base` does. Returns its number.

    Raises:
        VectorsLost: that generation is not there any more.
    """
    saved = generations(client, name)
    if base not in saved:
        raise VectorsLost(f"generation {base} of {name} is gone from the server", "Run `wellread index`")
    newest = max(saved)
    take_back(client, name, newest)
    if base != newest:
        _return_to(client, name, base, newest + 1)
    return newest + 1


def take_back(client: "QdrantClient", name: str, newest: int) -> None:
    """Undo what a writer that was killed wrote after the newest saved generation."""
    client.delete(name, where(born={"gt": newest}))
    client.delete_payload(name, ["died"], where(died={"gt": newest}))


def put(client: "QdrantClient", name: str, generation: int, vectors: Iterable[tuple[int, Any]]) -> None:
    """Write vectors, each with its id, as born in a generation."""
    from qdrant_client import models

    points = [
        models.PointStruct(id=point(one, generation), vector=vector, payload={"id": one, "born": generation})
        for one, vector in vectors
    ]
    if points:
        client.upsert(name, points, wait=True)


def save(client: "QdrantClient", name: str, generation: int) -> None:
    """Let a generation be seen, in one step."""
    from qdrant_client import models

    alias = models.CreateAlias(collection_name=name, alias_name=f"{name}.{generation}")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])


def keep(client: "QdrantClient", name: str, kept: Collection[int]) -> None:
    """Drop a table but for what is found in these generations of it."""
    from qdrant_client import models

    saved = generations(client, name)
    left = sorted(set(kept) & set(saved))
    if not left:
        client.delete_collection(name)
        return
    take_back(client, name, max(saved))
    gone = [
        models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=f"{name}.{one}"))
        for one in set(saved) - set(left)
    ]
    if gone:
        client.update_collection_aliases(gone)
    client.delete(name, models.Filter(must_not=[seen(one) for one in left]))


def tables(client: "QdrantClient", collection: str, owner: str) -> list[str]:
    """The names of an owner's tables of a collection."""
    names = [found.name for found in client.get_collections().collections]
    mine = f"wellread.{collection}."
    these = [name for name in names if name.startswith(mine) and name != f"{mine}lock"]
    return [name for name in these if (client.get_collection(name).config.metadata or {}).get("owner", "") == owner]


def generations(client: "QdrantClient", name: str) -> list[int]:
    """The generations of a table that were saved."""
    aliases = client.get_collection_aliases(name).aliases
    return [int(alias.alias_name.removeprefix(f"{name}.")) for alias in aliases]


def scroll(client: "QdrantClient", name: str, found: "models.Filter") -> Iterator[list[tuple[int, Any]]]:
    """All that a filter finds, in parts: ids with their vectors."""
    offset = None
    while True:
        records, offset = client.scroll(
            name, found, limit=AT_ONCE, offset=offset, with_vectors=True, with_payload=False
        )
        yield [(id_of(record.id), record.vector) for record in records]
        if offset is None:
            return


def ids_of(client: "QdrantClient", name: str, found: "models.Filter") -> Ids:
    """The ids of all that a filter finds, ascending where each is found once."""
    parts, offset = [np.zeros(0, np.int64)], None
    while True:
        records, offset = client.scroll(
            name, found, limit=_IDS_AT_ONCE, offset=offset, with_vectors=False, with_payload=False
        )
        parts.append(np.array([id_of(record.id) for record in records], np.int64))
        if offset is None:
            return np.sort(np.concatenate(parts))


def _return_to(client: "QdrantClient", name: str, base: int, generation: int) -> None:
    client.set_payload(name, {"died": generation}, where(born={"gt": base}, never={"gte": 0}))
    for part in scroll(client, name, where(born={"lte": base}, died={"gt": base, "lt": generation})):
        put(client, name, generation, part)
