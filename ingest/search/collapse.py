"""Passages that say the same as a better one: texts in, and for each the first that it repeats.

Two texts say the same when the Jaccard similarity of their word shingles (`ingest.dedup.shingles`: three words in a
row) is over a threshold. It is worked out exactly, but only for those that share enough with any other at all: most
passages that a search brings share next to nothing.

Known limits: only passages of about the same length can repeat each other; one that holds another and goes on does not.
"""

from collections.abc import Sequence

import numpy as np

from ingest.dedup.shingles import Hashes, Shingles, normal, shingle


def groups(texts: Sequence[str], threshold: float) -> list[int]:
    """For each text the place of the first that it repeats, its own where it repeats none.

    The first of a group is the one that others are compared with, so that texts that drift apart step by step are not
    all taken for one. Texts without words repeat nothing.

    Args:
        threshold: texts of a similarity over this repeat each other; from 1 on, none do.
    """
    firsts = list(range(len(texts)))
    if threshold >= 1 or len(texts) < 2:
        return firsts
    shingles = shingle([normal(text) for text in texts])
    kept: list[tuple[int, Hashes]] = []
    for place in _sharing(shingles, threshold):
        own = shingles.set_of(place)
        first = next((earlier for earlier, its in kept if _jaccard(own, its) > threshold), place)
        firsts[place] = first
        if first == place:
            kept.append((place, own))
    return firsts


def _sharing(shingles: Shingles, threshold: float) -> list[int]:
    """The texts of which more than the threshold's share occurs in another, too: no others can repeat or be repeated.

    A union is no smaller than either of its sets, so what two texts share is over the threshold's share of each.
    """
    ordered = np.sort(shingles.hashes)
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(again):
        return []
    common = again[np.minimum(np.searchsorted(again, shingles.hashes), len(again) - 1)] == shingles.hashes
    sums = np.concatenate([[0], np.cumsum(common)])
    shared, sizes = np.diff(sums[shingles.offsets]), np.diff(shingles.offsets)
    # Sizes count repetitions within a text, which are all of them shared: the share is too large, never too small.
    places: list[int] = np.flatnonzero(shared > threshold * sizes).tolist()
    return places


def _jaccard(first: Hashes, second: Hashes) -> float:
    both = len(np.intersect1d(first, second, assume_unique=True))
    return both / (len(first) + len(second) - both)
