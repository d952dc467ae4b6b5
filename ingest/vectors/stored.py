"""Which store holds the vectors of a saved index: a folder in, the store's name and its `vectors.json` out.

Every store writes a file of this name. Those on servers name themselves in it; that of FAISS lists files instead.
"""

import json
from pathlib import Path
from typing import Any, Literal, get_args

from configs.errors import ArtifactError

VECTORS_FILE = "vectors.json"
REMEDY = "Delete that folder and run `wellread index`"
StoreName = Literal["faiss", "pgvector", "qdrant"]


def stored_in(folder: Path) -> StoreName:
    """Where the index that is saved in a folder has its vectors.

    Raises:
        ArtifactError: the file that says so is missing or damaged.
    """
    return _store(folder, _content(folder))


def content_of(folder: Path, store: StoreName) -> bytes:
    """A folder's `vectors.json`, for the store that can read it.

    Raises:
        ArtifactError: it is missing or damaged, or the vectors are kept in another store.
    """
    content = _content(folder)
    found = _store(folder, content)
    if found != store:
        raise ArtifactError(
            f"the vectors are kept in {found}, and index.store is {store}",
            f"Run `wellread index`, or set index.store={found}",
        )
    return content


def _content(folder: Path) -> bytes:
    try:
        return (folder / VECTORS_FILE).read_bytes()
    except OSError as error:
        raise ArtifactError(f"{folder} holds no vector index: {VECTORS_FILE}: {error.strerror}", REMEDY) from None


def _store(folder: Path, content: bytes) -> StoreName:
    try:
        found: Any = json.loads(content)
        name: Any = "faiss" if "segments" in found else found["store"]
    except (ValueError, LookupError, TypeError, RecursionError):
        name = None
    if name not in get_args(StoreName):
        raise ArtifactError(f"{folder / VECTORS_FILE} is damaged: it names no store of vectors", REMEDY)
    store: StoreName = name
    return store
