"""MinHash signatures, and the bands by which similar texts meet.

In: shingles of texts. Out: for each text one 64-bit key per band; two texts whose shingle sets have Jaccard similarity
s share a band of r rows with probability s^r (Broder 1997; banding as in Leskovec, Rajaraman, Ullman, Mining of Massive
Datasets, section 3.4).

The signature is the one of Dahlgaard, Knudsen and Thorup 2017 (Fast Similarity Sketching): each shingle draws a slot
and a value, in rounds until every slot has one, so a long text takes one pass instead of one per slot. A slot that is
still empty after `ROUNDS` takes the smallest of a hash of its own over all shingles, which is plain MinHash.

Known limits: finding is probable, not sure; `Bands.recall` is the probability at the threshold, and higher above it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.dedup.shingles import Hashes, Shingles, mix

SLOTS = 128
ROUNDS = 16
_SLOT_BITS = 7
_EMPTY = np.uint64(2**64 - 1)
_FOLD = np.uint64(0x9E3779B97F4A7C15)
# One odd factor a round, and one a slot for what the rounds leave empty.
_FACTORS = mix(np.arange(1, ROUNDS + SLOTS + 1, dtype=np.uint64)) | np.uint64(1)


@dataclass(frozen=True)
class Bands:
    """How a signature is cut.

    Attributes:
        count: bands.
        rows: slots of each.
    """

    count: int
    rows: int

    def recall(self, similarity: float) -> float:
        """Probability that two texts of this similarity share a band."""
        return float(1.0 - (1.0 - similarity**self.rows) ** self.count)


def bands_for(threshold: float, *, recall: float = 0.99) -> Bands:
    """The bands of most rows, and so of fewest chance meetings, with at least this recall at the threshold.

    Args:
        threshold: Jaccard similarity, over 0 up to 1.
        recall: where no bands reach it, those of one row are taken.
    """
    for rows in range(SLOTS, 1, -1):
        bands = Bands(SLOTS // rows, rows)
        if bands.recall(threshold) >= recall:
            return bands
    return Bands(SLOTS, 1)


def band_keys(shingles: Shingles, bands: Bands) -> Hashes:
    """One key per text and band, uint64[texts, bands.count]; of a text without shingles they mean nothing."""
    slots = signatures(shingles)[:, : bands.count * bands.rows].reshape(-1, bands.count, bands.rows)
    keys = np.zeros(slots.shape[:2], np.uint64)
    for row in range(bands.rows):
        keys *= _FOLD
        keys += mix(slots[:, :, row])
    return mix(keys)


def signatures(shingles: Shingles) -> Hashes:
    """The signatures, uint64[texts, SLOTS]. Of two texts, the share of equal slots estimates their similarity."""
    lengths = np.diff(shingles.offsets)
    table = np.full((len(lengths), SLOTS), _EMPTY, np.uint64)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    hashes = shingles.hashes
    for number in range(ROUNDS):
        _draw(table, owner, hashes, number)
        unfilled = (table == _EMPTY).any(axis=1)[owner]
        if not unfilled.any():
            return table
        owner, hashes = owner[unfilled], hashes[unfilled]
    _fill(table, owner, hashes)
    return table


def _draw(table: Hashes, owner: NDArray[np.int64], hashes: Hashes, number: int) -> None:
    """Let every shingle draw a slot and a value, whose highest bits are the round, so that earlier rounds win."""
    drawn = hashes * _FACTORS[number]
    slot = (drawn >> np.uint64(64 - _SLOT_BITS)).astype(np.int64)
    value = ((drawn << np.uint64(_SLOT_BITS)) >> np.uint64(_SLOT_BITS)) | np.uint64(number << (64 - _SLOT_BITS))
    np.minimum.at(table.reshape(-1), owner * SLOTS + slot, value)


def _fill(table: Hashes, owner: NDArray[np.int64], hashes: Hashes) -> None:
    texts, starts = np.unique(owner, return_index=True)
    for slot in range(SLOTS):
        smallest = np.minimum.reduceat(hashes * _FACTORS[ROUNDS + slot], starts)
        empty = table[texts, slot] == _EMPTY
        table[texts[empty], slot] = smallest[empty]
