"""A Qdrant server: reaching it, and the lock of a collection.

Every error comes out as one line that says what to do, without the key.

Known limit: Qdrant has no locks that end with their holder. Ours is an empty collection, since of two that make one of
the same name one is refused. Its metadata say who made it. It is taken over once that process is gone, or, where it
runs on another machine, once it was not renewed for `LEASE`.
"""

import os
import secrets
import socket
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from configs.errors import ArtifactError, ConfigError, ModelError
from ingest.vectors.server import parsed_url, place_of

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

TIMEOUT = 30
"""Seconds that an answer may take."""
LEASE = 6 * 3600
"""Seconds after which a lock that another machine has not renewed is nobody's."""
RENEWED = 60
"""Seconds for which a lock is as good as new; renewing it changes the server's files."""


class Server:
    """A server, or the client's own local mode.

    Args:
        server: `https://:key@host:port`, or a client that is connected.

    Raises:
        ConfigError: that is not such a URL.
        ModelError: the client is not installed.
    """

    def __init__(self, server: "str | QdrantClient") -> None:
        if not find_spec("qdrant_client"):
            raise ModelError(
                "index.store is qdrant, whose client is not installed",
                "Install it with `make install EXTRAS=docs,qdrant`",
            )
        if isinstance(server, str):
            self.client, self.place = _connected(server)
        else:
            self.client, self.place = server, "qdrant"

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn the server's errors into ours.

        Raises:
            ArtifactError: instead of any error of the client.
        """
        from qdrant_client.common.client_exceptions import QdrantException
        from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

        try:
            yield
        except UnexpectedResponse as error:
            if error.status_code in (401, 403):
                raise ArtifactError(
                    f"{self.place} refuses the key, or was given none",
                    "Put a URL like https://:key@host:6333 into WELLREAD_INDEX__URL",
                ) from None
            raise ArtifactError(f"{self.place} failed: {_reason(error)}", _AGAIN) from None
        except ResponseHandlingException as error:
            raise ArtifactError(
                f"{self.place} cannot be reached: {error}"[:300], "Start it, or correct index.url"
            ) from None
        except (ApiException, QdrantException, ValueError) as error:
            # A ValueError is an answer that is not JSON, or not Qdrant's.
            raise ArtifactError(f"{self.place} failed: {error}"[:300], _AGAIN) from None


class Lock:
    """The right to write a collection, until it is given back, or until this object is gone.

    Raises:
        ArtifactError: another process has it.
    """

    def __init__(self, server: Server, collection: str) -> None:
        self._server = server
        self._name = f"wellread.{collection}.lock"
        self._mine = secrets.token_hex(8)
        if not self._made() and not (self._left() and self._made()):
            raise ArtifactError(
                f"another process is writing the collection {collection!r} on {server.place}",
                f"Wait for it; if it is gone for sure, delete the Qdrant collection {self._name}",
            )
        self.release = weakref.finalize(self, _release, server.client, self._name, self._mine)

    def check(self) -> None:
        """Make sure that nobody took it over, and renew it. Whoever writes does this before every request.

        Raises:
            ArtifactError: somebody did.
        """
        client = self._server.client
        holder = _holder(client, self._name) if client.collection_exists(self._name) else {}
        if holder.get("lock") != self._mine:
            raise ArtifactError(f"another process took over {self._name} on {self._server.place}", _AGAIN)
        if time.time() - float(holder["since"]) > RENEWED:
            client.update_collection(self._name, metadata={"since": time.time()})

    def _made(self) -> bool:
        """Whether it was free, and is ours now."""
        from qdrant_client import models

        client = self._server.client
        if client.collection_exists(self._name):
            return False
        about = {"lock": self._mine, "host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
        vectors = models.VectorParams(size=1, distance=models.Distance.DOT)
        # If somebody made it since, the server refuses, and the holder is not us.
        with suppress(ArtifactError), self._server.told():
            client.create_collection(self._name, vectors_config=vectors, metadata=about)
        holder = _holder(client, self._name)
        if not holder:
            client.delete_collection(self._name)
            raise ArtifactError(f"{self._server.place} keeps no metadata of collections", "Upgrade that server")
        return holder.get("lock") == self._mine

    def _left(self) -> bool:
        """Whether its holder is gone; it is free then."""
        holder = _holder(self._server.client, self._name)
        if holder.get("host") == socket.gethostname():
            gone = not _runs(int(holder["pid"]))
        else:
            gone = time.time() - float(holder.get("since", time.time())) > LEASE
        if gone:
            self._server.client.delete_collection(self._name)
        return gone


_AGAIN = "Check that the server is running and its disk is not full, and run this again"


def _connected(url: str) -> "tuple[QdrantClient, str]":
    from qdrant_client import QdrantClient

    parts = parsed_url(url, ("https", "http"))
    key = unquote(parts.password or parts.username or "")
    if not (key.isascii() and key.isprintable()):
        raise ConfigError("the key in index.url has characters that no key has", "Copy it again")
    # As a header, since the client warns of a key over http in words that hide what is to be done.
    client = QdrantClient(
        url=place_of(parts), timeout=TIMEOUT, check_compatibility=False, headers={"api-key": key} if key else None
    )
    return client, place_of(parts)


def _release(client: "QdrantClient", name: str, mine: str) -> None:
    # Also when the program ends; then there may be no server any more, and the lock is taken over later.
    with suppress(Exception):
        if _holder(client, name).get("lock") == mine:
            client.delete_collection(name)


def _holder(client: "QdrantClient", name: str) -> dict[str, Any]:
    return client.get_collection(name).config.metadata or {}


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _reason(error: Any) -> str:
    with suppress(Exception):
        return str(error.structured()["status"]["error"])[:300]
    return f"{error.status_code} {error.reason_phrase}"
