"""Connections to a PostgreSQL server with pgvector: opened when needed, used by one thread each, closed at the end.

Every error comes out as one line that says what to do, without the URL's user or password.

Known limits: as many connections stay open as threads searched at once. The lock of a collection belongs to a session
of the server, so a pooler between (PgBouncer) must pool by session.
"""

import hashlib
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, LiteralString
from urllib.parse import unquote

from configs.errors import ArtifactError, ConfigError, ModelError, WellreadError
from ingest.vectors.server import parsed_url, place_of

if TYPE_CHECKING:
    import psycopg

TIMEOUT = 10
"""Seconds to wait for a connection."""
SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")


@dataclass
class _Reader:
    """A connection that only reads, and how many candidates its searches look at."""

    connection: Any = field(repr=False)
    search: int = 0


class Connections:
    """Connections to one server.

    Args:
        url: `postgresql://user:password@host:port/database`.

    Raises:
        ConfigError: that is not such a URL.
        ModelError: the driver is not installed.
    """

    def __init__(self, url: str) -> None:
        parts = parsed_url(url, SCHEMES)
        self.place = place_of(parts)
        self._url = "postgresql" + url[len(parts.scheme) :]
        self._user = parts.username or ""
        self._idle: list[_Reader] = []
        self._opened: set[Any] = set()
        weakref.finalize(self, _close_all, self._opened)
        if not all(map(find_spec, ("psycopg", "pgvector"))):
            raise ModelError(
                "index.store is pgvector, whose packages are not installed",
                "Install them with `make install EXTRAS=docs,postgres`",
            )

    def open(self) -> "psycopg.Connection":
        """A new connection, which stays the caller's until it is closed; every statement is its own transaction.

        Raises:
            ArtifactError: the server cannot be reached, or refuses.
        """
        from pgvector.psycopg import register_vector

        connection = self._connected()
        if isinstance(connection, WellreadError):
            # Only now, since the driver's error, which holds the password, would be kept as this one's context.
            raise connection
        self._opened -= {one for one in list(self._opened) if one.closed}
        self._opened.add(connection)
        with self.told():
            # Compiling a query costs more than these queries take.
            connection.execute("SET jit = off")
            if not _has_extension(connection):
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            register_vector(connection)
        return connection

    def rows(self, query: LiteralString | bytes, values: dict[str, Any], search: int = 0) -> list[Any]:
        """The rows of a query that only reads, on any connection; once more on a new one after the server restarted.

        Args:
            search: candidates that an HNSW index is to look at.
        """
        import psycopg

        with self.told():
            while True:
                reader, idle = self._take()
                try:
                    if search not in (0, reader.search):
                        reader.connection.execute("SELECT set_config('hnsw.ef_search', %s, false)", [str(search)])
                        reader.search = search
                    found: list[Any] = reader.connection.execute(query, values, binary=True).fetchall()
                except psycopg.Error:
                    lost = reader.connection.closed
                    reader.connection.close()
                    if lost and idle:
                        continue
                    raise
                self._idle.append(reader)
                return found

    def close(self) -> None:
        """Close all connections that nobody is using, and those that were kept by somebody."""
        self._idle.clear()
        _close_all(self._opened)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn the server's errors into ours.

        Raises:
            ArtifactError: instead of any error of the driver.
        """
        import psycopg

        try:
            yield
        except psycopg.errors.InsufficientPrivilege as error:
            raise ArtifactError(
                f"{self._user or 'the user'} may not do this on {self.place}: {_first_line(error)}",
                "Use a database of its own, in which an administrator ran: CREATE EXTENSION IF NOT EXISTS vector; "
                f'GRANT CREATE ON SCHEMA public TO "{self._user}";',
            ) from None
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
            raise ArtifactError(
                f"{self.place} cannot do this: {_first_line(error)}", "Install pgvector 0.5 or newer on that server"
            ) from None
        except psycopg.Error as error:
            raise ArtifactError(
                f"{self.place} failed: {_first_line(error)}",
                "Check that the server is running and its disk is not full, and run this again",
            ) from None

    def _take(self) -> tuple[_Reader, bool]:
        # Two threads may ask at once; popping is one step.
        try:
            return self._idle.pop(), True
        except IndexError:
            return _Reader(self.open()), False

    def _connected(self) -> "psycopg.Connection | WellreadError":
        import psycopg

        try:
            return psycopg.connect(
                self._url, autocommit=True, prepare_threshold=None, connect_timeout=TIMEOUT, application_name="wellread"
            )
        except psycopg.ProgrammingError:
            # libpq quotes the part that it could not read, which may be of the password.
            return ConfigError("index.url has a part that PostgreSQL cannot read", "Percent-encode it")
        except psycopg.OperationalError as error:
            return _unreachable(self.place, str(error), self._url)


def lock(connection: "psycopg.Connection", collection: str, place: str) -> None:
    """Make a connection the only writer of a collection, until it is closed.

    Raises:
        ArtifactError: another one is.
    """
    digest = hashlib.sha256(f"wellread {collection}".encode()).digest()
    got = connection.execute("SELECT pg_try_advisory_lock(%s)", [int.from_bytes(digest[:8], signed=True)]).fetchone()
    if got != (True,):
        raise ArtifactError(
            f"another process is writing the collection {collection!r} on {place}",
            "Wait for it, or stop it and run this again",
        )


def _close_all(opened: "set[psycopg.Connection]") -> None:
    for connection in list(opened):
        connection.close()


def _has_extension(connection: "psycopg.Connection") -> bool:
    return bool(connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchall())


def _unreachable(place: str, reason: str, url: str) -> ArtifactError:
    secret = parsed_url(url, SCHEMES).password or ""
    if "password" in reason:
        return ArtifactError(f"{place} refuses the user or the password", "Put the right URL into WELLREAD_INDEX__URL")
    told = secret and (secret in reason or unquote(secret) in reason)
    shown = "" if told else f": {reason[:300]}"
    return ArtifactError(f"{place} cannot be reached{shown}", "Start it, or correct index.url")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
