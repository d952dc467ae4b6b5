"""The split into training and held-out halves: by groups of documents that repeat each other, never by row.

In: all passages. Out: a function that tells a passage's half. Documents whose estimated Jaccard similarity is at least
0.5 are one group and stay together; with a single group, whole sections are split instead. Everything is decided by
hashes of ids and the seed.

Known limits: a document that is wholly contained in a much longer one is not in its group, since one page with all the
others in it would tie a site together; rows that such a copy would leak are taken out afterwards, as contaminated. A
sketch takes three quarters of a kilobyte a document. Similarity is estimated from 192 minimum hashes (Broder 1997),
with a standard error of 0.036, so groups have soft edges: pairs of 0.4 are tied and pairs of 0.6 missed about three
times in a thousand.
"""

import re
from array import array
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Literal

from rensa import RMinHash

from ingest.records import Chunk, stable_id

Split = Literal["train", "holdout"]

SHINGLE, PERMUTATIONS = 5, 192
# Pairs that agree in a whole band are compared: 1 - (1 - s^3)^64 of those with similarity s, 99.98% at 0.5.
BANDS = 64
SAME = 0.5
# Documents of a bucket that another is compared with; those that share nothing but a frequent sentence fill it as well.
AT_MOST = 64
_WORD = re.compile(r"\w+")


def share(seed: int, *parts: str) -> float:
    """A number in [0, 1) that is fixed by the seed and the parts."""
    return int(stable_id(str(seed), *parts)[:12], 16) / 16**12


def split_documents(chunks: Iterable[Chunk], holdout_share: float, seed: int) -> Callable[[Chunk], Split]:
    """A function that tells a chunk's half.

    Args:
        chunks: all passages, those of a document in a row.
        holdout_share: share of the documents that are held out, as near as whole groups allow.
    """
    sketches: dict[str, RMinHash] = {}
    sections: set[str] = set()
    for doc_id, group in groupby(chunks, key=lambda chunk: chunk.doc_id):
        rows = list(group)
        sections.update(map(_section, rows))
        sketches[doc_id] = sketch_of(chunk.text for chunk in rows)
    group_of = group_documents(sketches)
    if len(set(group_of.values())) > 1:
        held_out = _held_out(group_of, holdout_share, seed)
        return lambda chunk: "holdout" if chunk.doc_id in held_out else "train"
    held_sections = _held_out({name: name for name in sections}, holdout_share, seed) if len(sections) > 1 else set()
    return lambda chunk: "holdout" if _section(chunk) in held_sections else "train"


def group_documents(sketches: dict[str, RMinHash]) -> dict[str, str]:
    """Document id -> the smallest id among the documents that it is tied to, directly or through others."""
    parent = {doc_id: doc_id for doc_id in sketches}

    def root(doc_id: str) -> str:
        while parent[doc_id] != doc_id:
            parent[doc_id] = doc_id = parent[parent[doc_id]]
        return doc_id

    # As bytes: the same numbers in a tuple take seven kilobytes a document.
    digests = {doc_id: array("I", sketches[doc_id].digest()).tobytes() for doc_id in sorted(sketches)}
    width = array("I").itemsize * PERMUTATIONS // BANDS
    # One band after the other: the buckets of all of them at once take six kilobytes a document.
    for band in range(BANDS):
        buckets: dict[bytes, list[str]] = {}
        for doc_id, digest in digests.items():
            bucket = buckets.setdefault(digest[band * width : (band + 1) * width], [])
            for other in bucket[-AT_MOST:]:
                one, two = sorted((root(other), root(doc_id)))
                if one != two and sketches[other].jaccard(sketches[doc_id]) >= SAME:
                    parent[two] = one
            bucket.append(doc_id)
    return {doc_id: root(doc_id) for doc_id in sketches}


def sketch_of(texts: Iterable[str]) -> RMinHash:
    """The minimum hashes of a document, given as its passages in order."""
    words = [word for text in texts for word in _WORD.findall(text.casefold())]
    sketch = RMinHash(PERMUTATIONS, 0)
    # A text shorter than a shingle is compared as a whole.
    last = max(1, len(words) - SHINGLE + 1)
    sketch.update([" ".join(words[start : start + SHINGLE]) for start in range(last)])
    return sketch


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
