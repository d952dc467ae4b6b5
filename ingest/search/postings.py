"""Texts in, the arrays of a BM25 index out: postings with their scores worked out, and the terms of each passage.

Scores are those of Lucene's BM25 (Robertson and Zaragoza 2009; the variants are compared by Kamphuis et al. 2020):
for each term of the query, `log(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + k1 * (1 - b + b * length / mean))`.

Known limit: while an index is made, all its terms are in memory, at the most 57 bytes for each different one of a
passage.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest.search.base import Scores
from ingest.search.terms import DEFAULT, analyser

# As Anserini has them (Trotman, Jia and Crane 2012).
K1, B = 0.9, 0.4
_BLOCK = 2_000_000

Array = npt.NDArray[Any]
# Terms of the passages, ascending; how often each comes; how many different ones each passage has.
Block = tuple[Array, Array, Array]


def blocks_of(texts: Iterable[tuple[str, str]], vocabulary: dict[str, int], spoken: Counter[str]) -> Iterator[Block]:
    """Cut passages into terms, some thousands at a time.

    Args:
        texts: of the passages, each with the code of its language or with none.
        vocabulary: numbers of the terms; gives new ones a number when it is asked for them.
        spoken: how many passages are in each language; counted here.
    """
    ids, sizes = array("q"), array("q")
    for text, language in texts:
        terms = analyser(language or DEFAULT).terms(text)
        spoken[language or DEFAULT] += 1
        ids.extend(map(vocabulary.__getitem__, terms))
        sizes.append(len(terms))
        if len(ids) > _BLOCK:
            yield _counted(ids, sizes)
            ids, sizes = array("q"), array("q")
    yield _counted(ids, sizes)


def _counted(ids: "array[int]", sizes: "array[int]") -> Block:
    rows = np.repeat(np.arange(len(sizes), dtype=np.int64), np.array(sizes, np.int64))
    both, counts = np.unique(rows << 32 | np.array(ids, np.int64), return_counts=True)
    different = np.bincount(both >> 32, minlength=len(sizes))
    return (both & 0xFFFFFFFF).astype(np.int32), np.minimum(counts, 65_535).astype(np.uint16), different


def postings(blocks: list[Block], vocabulary: int, stop: npt.NDArray[np.int64]) -> dict[str, Array]:
    """The arrays of an index (`ingest.search.lexical.Lexical`), by name.

    Args:
        vocabulary: how many terms there are.
        stop: numbers of the stop words.
    """
    terms, counts, different = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    rows = np.repeat(np.arange(len(different), dtype=np.int32), different)
    telling = ~np.isin(terms, stop)
    lengths = np.bincount(rows[telling], counts[telling], len(different)).astype(np.float32)
    holding = np.bincount(terms, minlength=vocabulary)
    impacts = idfs_of(len(different), holding)[terms] * (counts / (counts + norms_of(lengths)[rows]))
    order = np.argsort(terms, kind="stable")
    kept = np.bincount(rows[telling], minlength=len(different))
    return {
        "rows": rows[order],
        "impacts": impacts[order].astype(np.float32),
        "starts": np.concatenate([[0], np.cumsum(holding)]).astype(np.int64),
        "terms": terms[telling],
        "counts": counts[telling],
        "bounds": np.concatenate([[0], np.cumsum(kept)]).astype(np.int64),
        "lengths": lengths,
    }


def idfs_of(passages: int, holding: Array) -> Scores:
    """How much terms tell that so many of the passages hold, [n]."""
    return np.asarray(np.log1p((passages - holding + 0.5) / (holding + 0.5)), np.float32)


def norms_of(lengths: Array) -> Scores:
    """What a passage's length adds below the line of BM25's fraction, [rows]."""
    mean = float(lengths.mean()) if len(lengths) else 0.0
    return np.asarray(K1 * (1 - B + B * lengths / max(mean, 1e-9)), np.float32)
