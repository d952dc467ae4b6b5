"""Passages that were found first in, a fuller query out: pseudo-relevance feedback.

The method is RM3 (Abdul-Jaleel et al. 2004, after the relevance models of Lavrenko and Croft 2001): words common in
the best passages and rare elsewhere join the query. The passages are those that are best after both rankings have been
fused, so that the search by words hears what the search by meaning has found. A passage counts by its reciprocal
rank, so that where one passage answers the question, the nine that follow it do not drown its words.

Known limit: where the first passages are off the subject, so are the words taken from them.
"""

import numpy as np

from ingest.search.base import Rows, Scores
from ingest.search.lexical import Lexical, Query

# Passages and words that are taken, and the share of the weight that the query's own words keep. Anserini's RM3 takes
# 10 words, and half of the weight; a little more caution costs nothing where many passages are right, and saves the
# questions that one passage answers.
PASSAGES, WORDS, ORIGINAL = 10, 20, 0.6


def discounts(count: int) -> Scores:
    """How much the passage at each rank counts, float32 [count], 1 in all."""
    weights = 1 / np.arange(1, count + 1)
    return (weights / weights.sum()).astype(np.float32) if count else np.zeros(0, np.float32)


def expanded(lexical: Lexical, query: Query, rows: Rows, words: int = WORDS, original: float = ORIGINAL) -> Query:
    """A query with the words that mark these passages.

    Args:
        rows: the best passages, best first.
        words: how many to take from them.
        original: share of the weight that the query's own words keep.
    """
    place, terms, counts = lexical.terms_of(rows)
    if not len(query) or not len(terms):
        return query
    lengths = np.bincount(place, counts, len(rows))
    told = discounts(len(rows))[place] * counts / lengths[place] * lexical.idfs[terms]
    found, at = np.unique(terms, return_inverse=True)
    weights = np.bincount(at, told, len(found))
    most = np.argsort(-weights, kind="stable")[:words]
    return _mixed(query, Query(found[most], weights[most].astype(np.float32)), original)


def _mixed(first: Query, second: Query, share: float) -> Query:
    """Both queries in one, the first with this share of all weight."""
    terms, at = np.unique(np.concatenate([first.terms, second.terms]), return_inverse=True)
    parts = [share * first.weights / first.weights.sum(), (1 - share) * second.weights / second.weights.sum()]
    return Query(terms, np.bincount(at, np.concatenate(parts), len(terms)).astype(np.float32))
