"""Which documents to compare: those that share a band with an older one.

In: the table of signatures. Out: for each row the oldest row of the same text, and pairs of rows, of different texts,
that share a band.

One band at a time is in memory: 16 bytes a document, and 8 a pair. In a group that shares a band, each document is
paired with the `OLDEST` oldest ones only, so ten thousand copies of a page cost ten thousand comparisons or so, not
fifty million.

Known limits: a pair that meets only in groups with `OLDEST` older documents each is not compared. Copies of one page
meet their oldest one in all their bands, so what this can miss are likenesses within pages made from one template.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.dedup.shingles import Hashes
from ingest.dedup.signatures import keys_by_band

Rows = NDArray[np.int64]
OLDEST = 8
_HALF = np.uint64(32)


def same_text(exact: Hashes, by_age: Rows) -> Rows:
    """For each row the oldest row whose text is the same, itself where there is none older.

    Args:
        exact: uint64[rows, 2], hashes of the texts.
        by_age: the rows, oldest first.
    """
    hashes = exact[by_age]
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    hashes = hashes[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (hashes[1:] != hashes[:-1]).any(axis=1)
    # lexsort is stable, so the first of a group is its oldest.
    first = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    oldest = np.empty(len(order), np.int64)
    oldest[by_age[order]] = by_age[order[first]]
    return oldest


def pairs_sharing_a_band(out: Path, rows: Rows) -> Rows:
    """Pairs of rows that share a band, int64[pairs, 2], each (newer, older), sorted by the age of both.

    Args:
        out: folder with the table of signatures.
        rows: those to be paired, oldest first; at most 2^32.
    """
    found = np.empty(0, np.uint64)
    for keys in keys_by_band(out):
        found = np.union1d(found, _paired(keys[rows]))
    return np.stack([rows[(found >> _HALF).astype(np.int64)], rows[(found & np.uint64(2**32 - 1)).astype(np.int64)]], 1)


def _paired(keys: Hashes) -> Hashes:
    """Places of equal keys, the later one in the upper half of each number."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begins = np.ones(len(keys), bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    places = np.arange(len(keys))
    first = np.maximum.accumulate(np.where(begins, places, 0))
    pairs = [np.empty(0, np.uint64)]
    for rank in range(OLDEST):
        newer = places[places - first > rank]
        older = first[newer] + rank
        pairs.append((order[newer].astype(np.uint64) << _HALF) | order[older].astype(np.uint64))
    return np.concatenate(pairs)
