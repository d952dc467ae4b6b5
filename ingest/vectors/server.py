"""What the vector stores on servers share: the file that stands for an index, addresses without secrets, answers.

The vectors are on the server; what is saved in a folder is `vectors.json`, which names a table there and a generation
of it. Generations let versions of an index share what they have in common: each vector carries the generation it was
born in and, once replaced or removed, the one it died in. Whoever opened a generation keeps seeing exactly that one
while the next is being written, and a generation that nobody saved is seen by nobody.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import numpy as np
from pydantic import TypeAdapter, ValidationError

from configs.artifacts import write_text_atomic
from configs.errors import ArtifactError, ConfigError
from ingest.vectors.base import NOTHING, Ids, Vectors, VectorsLost
from ingest.vectors.stored import REMEDY, VECTORS_FILE, StoreName, content_of, stored_in

INDEX_AGAIN = "Run `wellread index`"
AT_ONCE = 500
"""Vectors in one request."""


@dataclass(frozen=True)
class Reference:
    """Which vectors on which server an index is.

    Attributes:
        place: the server, without user, password or key; for people, nothing is opened by it.
        collection: what the versions of one index have in common.
        table: the table, or Qdrant's collection, that holds the vectors.
        generation: what is found of it; 0 before anything was saved.
        search: candidates that a search looks at (efSearch).
        vectors: how many are found.
    """

    store: str
    place: str
    collection: str
    table: str
    generation: int
    dimensions: int
    kind: str
    search: int
    vectors: int = 0

    def write(self, folder: Path) -> None:
        """Write it into a folder, which is made where it is not there, in one step.

        Raises:
            ArtifactError: the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_text_atomic(folder / VECTORS_FILE, json.dumps(asdict(self), indent=2) + "\n")
        except OSError as error:
            raise ArtifactError(f"cannot write {folder / VECTORS_FILE}: {error.strerror}", "Free or mount it") from None

    @classmethod
    def read(cls, folder: Path, store: StoreName) -> "Reference":
        """Read a folder's.

        Raises:
            ArtifactError: it is missing or damaged, or its vectors are kept in another store.
        """
        try:
            return TypeAdapter(cls).validate_json(content_of(folder, store))
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"])) or "the file"
            raise ArtifactError(f"{folder / VECTORS_FILE} is damaged: {where}", REMEDY) from None

    def lost(self, what: str) -> VectorsLost:
        """The error for a server whose state is not what this says."""
        return VectorsLost(f"{self.table} on {self.place} {what}", INDEX_AGAIN)


@dataclass(frozen=True)
class Limit:
    """What a search is limited to, said with as few ids as it takes.

    Attributes:
        count: how many may be found, or more, where `only` has ids that are not there.
        only: these may be found; None does not limit.
        but: these may not be found; None does not limit.
    """

    count: int
    only: list[int] | None = None
    but: list[int] | None = None

    @classmethod
    def of(cls, allowed: Ids | None, count: int, everything: Callable[[], Ids]) -> "Limit":
        """The limit that some allowed ids are.

        Args:
            count: how many are found without a limit.
            everything: gives their ids, distinct. It is asked only where more than half of them may be allowed.
        """
        if allowed is None:
            return cls(count)
        allowed = np.unique(np.asarray(allowed, np.int64))
        if 2 * len(allowed) <= count:
            return cls(len(allowed), only=allowed.tolist())
        out = np.setdiff1d(everything(), allowed, assume_unique=True)
        if 2 * len(out) > count:
            return cls(count - len(out), only=allowed.tolist())
        return cls(count - len(out), but=out.tolist() if len(out) else None)


def references(folders: Iterable[Path], store: StoreName, collection: str) -> dict[str, set[int]]:
    """The generations that folders refer to, by table. Folders whose vectors are somewhere else are passed over.

    Raises:
        ArtifactError: one of the files is damaged.
    """
    kept: dict[str, set[int]] = {}
    for folder in folders:
        if (folder / VECTORS_FILE).exists() and stored_in(folder) == store:
            found = Reference.read(folder, store)
            if found.collection == collection:
                kept.setdefault(found.table, set()).add(found.generation)
    return kept


def padded(found: Sequence[Sequence[tuple[int, float]]], k: int) -> tuple[Vectors, Ids]:
    """What was found for each query, (id, cosine) best first, as `VectorIndex.search` gives it."""
    cosines = np.full((len(found), k), -1, np.float32)
    ids = np.full((len(found), k), NOTHING, np.int64)
    for row, pairs in enumerate(found):
        ids[row, : len(pairs)] = [one for one, _ in pairs]
        cosines[row, : len(pairs)] = [cosine for _, cosine in pairs]
    return cosines, ids


def gathered(ids: Ids, dimensions: int, fetch: Callable[[list[int]], Mapping[int, Any]]) -> Vectors:
    """The vectors of ids, [n, dimensions].

    Args:
        fetch: from distinct ids to the vectors of those that are there.

    Raises:
        KeyError: one is not there.
    """
    wanted, places = np.unique(np.asarray(ids, np.int64), return_inverse=True)
    vectors = np.zeros((len(wanted), dimensions), np.float32)
    for part in parts(len(wanted)):
        these = wanted[part].tolist()
        found = fetch(these)
        vectors[part] = [found[one] for one in these]
    return vectors[places]


def parts(count: int) -> Iterator[slice]:
    """Slices of so many ids as go into one request."""
    return (slice(start, start + AT_ONCE) for start in range(0, count, AT_ONCE))


def checked_name(collection: str) -> str:
    """The name of a collection, if it can be a part of names on a server.

    Raises:
        ConfigError: it cannot.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", collection):
        raise ConfigError(f"{collection!r} cannot name a collection", "Use up to 40 letters, digits, - and _")
    return collection


def parsed_url(url: str, schemes: tuple[str, ...]) -> SplitResult:
    """A server's URL in its parts.

    Raises:
        ConfigError: it is of another scheme, or its password must be percent-encoded. The message never quotes the
            URL: of one that is written wrongly nobody knows which part is the password.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigError("index.url is not a URL", f"Write it like {schemes[0]}://host/") from None
    if parts.scheme not in schemes or not (parts.netloc or parts.query):
        raise ConfigError("index.url is not the URL of such a server", f"Write it like {schemes[0]}://host/")
    hosts = parts.netloc.rpartition("@")[2].split(",")
    if not all(re.fullmatch(r"(\[[^\]]*\]|[^:]*)(:\d+)?", host) for host in hosts):
        raise ConfigError("the port in index.url is not a number", f"Write it like {schemes[0]}://user:password@host/")
    if parts.netloc.count("@") > 1 or "@" in parts.path + parts.query or parts.fragment:
        raise ConfigError(
            "index.url has @, /, ? or # in its user or password",
            "Write them there as %40, %2F, %3F and %23",
        )
    return parts


def place_of(parts: SplitResult) -> str:
    """Where a server is, without user, password, key or options."""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
