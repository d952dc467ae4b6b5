"""The split into training and held-out halves: by groups of documents that repeat each other, never by row.

In: all passages. Out: a function that tells a passage's half. Documents whose Jaccard similarity is at least 0.5 are
one group and stay together; with a single group, whole sections are split instead. Everything is decided by hashes of
ids and texts, and the seed.

Documents that share a band of their MinHash signatures are compared, by their true similarity. Memory holds three
quarters of a kilobyte a document; the shingles, 8 bytes a word, lie in a temporary file.

Known limits: a document that is wholly contained in a much longer one is not in its group, since one page with all the
others in it would tie a site together; rows that such a copy would leak are taken out afterwards, as contaminated. Of
pairs with a similarity of just 0.5, four in a thousand share no band and are missed. Where many share a band, as pages
of one template do, each is compared with four on either side, so a pair has to share a rarer band too, as editions do.
A document without words is in no group but its own.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ingest.dedup.minhash import band_keys, bands_for
from ingest.dedup.shingles import normal, shingle
from ingest.dedup.signatures import BATCH_CHARACTERS
from ingest.dedup.verify import ShingleFile
from ingest.records import Chunk, stable_id

Split = Literal["train", "holdout"]
BandKeys = NDArray[np.uint32]

# More than deduplication's three: half of the shingles is enough here, and frequent phrases must not add up to that.
WORDS = 5
SAME = 0.5
BANDS = bands_for(SAME)
# Documents of a bucket that another is compared with, before it and after it, in the order of their ids.
AT_MOST = 4


def share(seed: int, *parts: str) -> float:
    """A number in [0, 1) that is fixed by the seed and the parts."""
    return int(stable_id(str(seed), *parts)[:12], 16) / 16**12


def split_documents(
    chunks: Iterable[Chunk], holdout_share: float, seed: int, *, folder: Path | None = None
) -> Callable[[Chunk], Split]:
    """A function that tells a chunk's half.

    Args:
        chunks: all passages, those of a document in a row; read once.
        holdout_share: share of the documents that are held out, as near as whole groups allow.
        folder: where the temporary file is; the system's folder for such files when None.
    """
    sections: set[str] = set()

    def texts() -> Iterator[tuple[str, str]]:
        for doc_id, group in groupby(chunks, key=lambda chunk: chunk.doc_id):
            rows = list(group)
            sections.update(map(_section, rows))
            yield doc_id, " ".join(chunk.text for chunk in rows)

    group_of = group_documents(texts(), folder)
    if len(set(group_of.values())) > 1:
        held_out = _held_out(group_of, holdout_share, seed)
        return lambda chunk: "holdout" if chunk.doc_id in held_out else "train"
    held_sections = _held_out({name: name for name in sections}, holdout_share, seed) if len(sections) > 1 else set()
    return lambda chunk: "holdout" if _section(chunk) in held_sections else "train"


def group_documents(texts: Iterable[tuple[str, str]], folder: Path | None = None) -> dict[str, str]:
    """Document id -> the smallest id among the documents that it is tied to, directly or through others.

    Args:
        texts: id and text of each document, in any order.
        folder: as of `split_documents`.
    """
    with ShingleFile(folder) as shingles:
        ids, keys = _read(texts, shingles)
        # From here on a document is its place among the ids, so that the order in which they came does not matter.
        rows = sorted(range(len(ids)), key=ids.__getitem__)
        parent = list(range(len(ids)))

        def root(place: int) -> int:
            while parent[place] != place:
                parent[place] = place = parent[parent[place]]
            return place

        for first, second in _pairs(keys[rows]):
            one, two = sorted((root(first), root(second)))
            if one != two and shingles.similarity(rows[first], rows[second]) >= SAME:
                parent[two] = one
    return {ids[row]: ids[rows[root(place)]] for place, row in enumerate(rows)}


def _read(texts: Iterable[tuple[str, str]], shingles: ShingleFile) -> tuple[list[str], BandKeys]:
    """Ids and band keys of all documents, whose shingles are put into the file."""
    ids: list[str] = []
    keys = [np.empty((0, BANDS.count), np.uint32)]
    for batch in _batches(texts):
        found = shingle([normal(text) for _, text in batch], words=WORDS)
        shingles.add(range(len(ids), len(ids) + len(batch)), found)
        ids += [doc_id for doc_id, _ in batch]
        # Half of a key is enough: those that agree by chance are compared and found to differ.
        keys.append(band_keys(found, BANDS).astype(np.uint32))
    return ids, np.concatenate(keys)


def _batches(texts: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    batch: list[tuple[str, str]] = []
    weight = 0
    for doc_id, text in texts:
        batch.append((doc_id, text))
        weight += len(text)
        if weight >= BATCH_CHARACTERS:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch


def _pairs(keys: BandKeys) -> Iterator[tuple[int, int]]:
    """Rows that share a band, one band after the other; of many that share one, those nearest to each other.

    Args:
        keys: uint32[documents, bands].
    """
    for column in keys.T:
        order = np.argsort(column, kind="stable")
        bucket = column[order]
        for step in range(1, AT_MOST + 1):
            same = np.flatnonzero(bucket[step:] == bucket[:-step])
            yield from zip(order[same].tolist(), order[same + step].tolist(), strict=True)


def _held_out(group_of: dict[str, str], holdout_share: float, seed: int) -> set[str]:
    """Members of groups in the order of their hashes, up to the share, and of one group at least."""
    groups: dict[str, list[str]] = {}
    for member, group in group_of.items():
        groups.setdefault(group, []).append(member)
    wanted = max(1, round(len(group_of) * holdout_share))
    order = sorted(groups, key=lambda group: share(seed, "split", group))
    held_out: set[str] = set()
    for group in order:
        if len(held_out) + len(groups[group]) <= wanted:
            held_out.update(groups[group])
    smallest = min(groups, key=lambda group: (len(groups[group]), group))
    return held_out or set(groups[smallest])


def _section(chunk: Chunk) -> str:
    return stable_id(*chunk.headings)
