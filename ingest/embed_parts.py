"""Embedding many texts into files, so that a run that is killed goes on where it was.

The texts go longest last, in parts of equal number; each part is one file of vectors and one of the texts' numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from configs.artifacts import save_array
from ingest.vectors.base import Ids, Vectors

PARTS = "embedded"
AT_ONCE = 512


class Embeds(Protocol):
    """The part of an embedder that is needed here."""

    def encode_passages(self, texts: Sequence[str]) -> Vectors: ...


def embed_in_parts(
    folder: Path,
    numbers: Ids,
    lengths: Ids,
    texts: Callable[[Sequence[int]], Sequence[str]],
    embedder: Embeds,
    progress: Callable[[int], None] = lambda _done: None,
) -> Iterator[tuple[Ids, Vectors]]:
    """Numbers of texts with their vectors, part by part; the files stay until `forget_embedded`.

    Args:
        folder: holds the parts.
        numbers: one for each text, int64 [texts].
        lengths: of the texts, in any unit: texts of like length share a batch, or padding costs more than the words.
        texts: gives those at some places of `numbers`.
        progress: called with the number of texts done.
    """
    home = folder / PARTS
    home.mkdir(exist_ok=True)
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), AT_ONCE):
        places = order[start : start + AT_ONCE]
        wanted = numbers[places]
        named, made = home / f"{start:09}.numbers.npy", home / f"{start:09}.vectors.npy"
        vectors = _read(made)
        if vectors is None or len(vectors) != len(wanted) or not np.array_equal(_read(named), wanted):
            made.unlink(missing_ok=True)
            save_array(named, wanted)
            vectors = embedder.encode_passages(texts(places.tolist()))
            save_array(made, vectors)
        yield wanted, vectors
        progress(min(start + AT_ONCE, len(order)))


def _read(path: Path) -> Any:
    """An array that a run has left; None where there is none, or not all of one."""
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None


def forget_embedded(folder: Path) -> None:
    """Remove the parts."""
    home = folder / PARTS
    for path in home.glob("*"):
        path.unlink()
    if home.exists():
        home.rmdir()
