"""Tables of vectors in PostgreSQL, and their generations.

A row of `wellread_collections` stands for a table of vectors and lists the generations of it that were saved; one that
is not in the list is seen by nobody. It also says whose the table is: of a collection that several owners have, each
drops its own tables only. In the table, (id, born, died, vec): a vector is found in the generations from
`born` up to, not including, `died`.
"""

import secrets
from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING, LiteralString

from configs.errors import ArtifactError, ConfigError
from ingest.vectors.base import VectorsLost
from ingest.vectors.postgres import Connections, lock

if TYPE_CHECKING:
    import psycopg

_SEEN: LiteralString = "born <= %(at)s AND (died IS NULL OR died > %(at)s)"
MOST_DIMENSIONS, MOST_LINKS, MOST_BUILD = 2000, 100, 1000
"""What pgvector takes for HNSW."""
_SETUP_LOCK = 7356122


def locked(server: Connections, collection: str) -> "psycopg.Connection":
    """A connection that may write a collection, until it is closed; nobody else may meanwhile.

    Raises:
        ArtifactError: somebody else is writing it, or the server cannot be reached or refuses.
    """
    writer = server.open()
    try:
        with server.told():
            lock(writer, collection, server.place)
            _setup(writer)
    except ArtifactError:
        writer.close()
        raise
    return writer


def make(connection: "psycopg.Connection", collection: str, owner: str, dimensions: int, links: int, build: int) -> str:
    """Make a table of vectors and return its name; what its owner made before and never saved is dropped.

    Args:
        links, build: of HNSW; no links searches exactly.

    Raises:
        ConfigError: HNSW takes fewer dimensions.
    """
    if links and dimensions > MOST_DIMENSIONS:
        raise ConfigError(
            f"vectors have {dimensions} dimensions, and pgvector's HNSW takes at most {MOST_DIMENSIONS}",
            "Set index.kind=exact, or choose another embed.model",
        )
    name = f"wellread_{collection}_{secrets.token_hex(4)}"
    with connection.transaction():
        for unsaved in tables(connection, collection, owner):
            if not generations(connection, unsaved):
                drop(connection, unsaved)
        links, build = min(links, MOST_LINKS), min(max(build, 2 * links), MOST_BUILD)
        connection.execute(
            "INSERT INTO wellread_collections (name, collection, owner, dimensions, links, build)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            [name, collection, owner, dimensions, links, build],
        )
        # Room on each page lets a vector's death be written beside it, without an entry more in the HNSW index.
        connection.execute(
            written(
                "CREATE TABLE {table} (id bigint NOT NULL, born int NOT NULL, died int,"
                " vec vector({dimensions}) NOT NULL, PRIMARY KEY (id, born)) WITH (fillfactor = 90)",
                name,
                dimensions=dimensions,
            )
        )
    return name


def begin(connection: "psycopg.Connection", name: str, base: int) -> int:
    """Make a new generation, seen by nobody yet, that holds what generation `base` does. Returns its number.

    Raises:
        VectorsLost: that generation is not there any more.
    """
    saved = generations(connection, name)
    if base not in saved:
        raise VectorsLost(f"generation {base} of {name} is gone from the server", "Run `wellread index`")
    newest = max(saved)
    with connection.transaction():
        take_back(connection, name, newest)
        if base != newest:
            _return_to(connection, name, base, newest + 1)
    return newest + 1


def take_back(connection: "psycopg.Connection", name: str, newest: int) -> None:
    """Undo what a writer that was killed wrote after the newest saved generation."""
    connection.execute(written("DELETE FROM {table} WHERE born > %s", name), [newest])
    connection.execute(written("UPDATE {table} SET died = NULL WHERE died > %s", name), [newest])


def save(connection: "psycopg.Connection", name: str, generation: int) -> None:
    """Let a generation be seen, in one step. The first time that there is anything, HNSW is built."""
    (links, build), *_ = connection.execute(
        "SELECT links, build FROM wellread_collections WHERE name = %s", [name]
    ).fetchall()
    if links and connection.execute(written("SELECT 1 FROM {table} LIMIT 1", name)).fetchall():
        connection.execute(
            written(
                "CREATE INDEX IF NOT EXISTS {index} ON {table} USING hnsw (vec vector_ip_ops)"
                " WITH (m = {links}, ef_construction = {build})",
                name,
                links=links,
                build=build,
            )
        )
    connection.execute(written("ANALYZE {table}", name))
    connection.execute(
        "UPDATE wellread_collections SET generations = generations || %s::int WHERE name = %s", [generation, name]
    )


def keep(connection: "psycopg.Connection", name: str, kept: Collection[int]) -> None:
    """Drop a table but for what is found in these generations of it."""
    saved = generations(connection, name)
    left = sorted(set(kept) & set(saved))
    if not left:
        with connection.transaction():
            drop(connection, name)
        return
    with connection.transaction():
        take_back(connection, name, max(saved))
        connection.execute(
            written(
                "DELETE FROM {table} WHERE NOT EXISTS (SELECT FROM unnest(%s::int[]) kept (at)"
                " WHERE born <= at AND (died IS NULL OR died > at))",
                name,
            ),
            [left],
        )
        connection.execute("UPDATE wellread_collections SET generations = %s::int[] WHERE name = %s", [left, name])


def drop(connection: "psycopg.Connection", name: str) -> None:
    """Drop a table of vectors."""
    connection.execute(written("DROP TABLE IF EXISTS {table}", name))
    connection.execute("DELETE FROM wellread_collections WHERE name = %s", [name])


def tables(connection: "psycopg.Connection", collection: str, owner: str) -> list[str]:
    """The names of an owner's tables of a collection."""
    query = "SELECT name FROM wellread_collections WHERE collection = %s AND owner = %s ORDER BY made"
    return [name for (name,) in connection.execute(query, [collection, owner]).fetchall()]


def generations(connection: "psycopg.Connection", name: str) -> list[int]:
    """The generations of a table that were saved; none where there is no such table."""
    query = "SELECT generations FROM wellread_collections WHERE name = %s"
    return [one for (saved,) in connection.execute(query, [name]).fetchall() for one in saved]


@lru_cache(maxsize=256)
def written(query: LiteralString, name: str, **values: int) -> bytes:
    """A query with the names of the table and of its HNSW index put in, quoted, and numbers.

    Args:
        query: may hold `{seen}`: what is found in the generation that the parameter `at` says.
    """
    from psycopg import sql

    return (
        sql.SQL(query)
        .format(
            table=sql.Identifier(name),
            index=sql.Identifier(f"{name}_hnsw"),
            seen=sql.SQL(_SEEN),
            **{key: sql.Literal(value) for key, value in values.items()},
        )
        .as_bytes()
    )


def _return_to(connection: "psycopg.Connection", name: str, base: int, generation: int) -> None:
    values = {"at": base, "now": generation}
    dies = "UPDATE {table} SET died = %(now)s WHERE died IS NULL AND NOT ({seen})"
    lives = "INSERT INTO {table} (id, born, vec) SELECT id, %(now)s, vec FROM {table} WHERE {seen} AND died < %(now)s"
    connection.execute(written(dies, name), values)
    connection.execute(written(lives, name), values)


def _setup(connection: "psycopg.Connection") -> None:
    with connection.transaction():
        # Writers of other collections may do the same just now.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_SETUP_LOCK])
        connection.execute("""
            CREATE TABLE IF NOT EXISTS wellread_collections (
                name text PRIMARY KEY, collection text NOT NULL, dimensions int NOT NULL,
                links int NOT NULL, build int NOT NULL, generations int[] NOT NULL DEFAULT '{}',
                made timestamptz NOT NULL DEFAULT now())""")
        # Asked first, since only the table's owner may alter it, also where there is nothing to alter.
        column = "SELECT FROM pg_attribute WHERE attrelid = 'wellread_collections'::regclass AND attname = 'owner'"
        if not connection.execute(column).fetchall():
            connection.execute("ALTER TABLE wellread_collections ADD owner text NOT NULL DEFAULT ''")
