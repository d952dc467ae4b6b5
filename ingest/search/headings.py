"""Titles and headings of passages in, how alike each passage's are to a question out.

A short question often names what it looks for, and a page or section of that name is what it wants, however long the
text below is that BM25 weighs the name against. So the question and the title are compared as sets of terms, and the
question and the whole path of headings: Dice's coefficient (1945), each term weighing its inverse document frequency,
which is 1 where both say the same. Of a long question a heading can cover little, and so adds little.

Known limit: headings that are alike on every page, such as `Examples`, tell pages apart only by their titles.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from ingest.search.base import Rows, Scores
from ingest.search.postings import Array
from ingest.search.terms import DEFAULT, analyser

ARRAYS = ("heading_terms", "heading_bounds", "title_bounds")


def arrays_of(
    paths: Iterable[tuple[str, str, str]], vocabulary: Mapping[str, int], stop: npt.NDArray[np.int64]
) -> dict[str, Array]:
    """The arrays of `likeness`: of each passage the different terms of its title, then the others of its path.

    Args:
        paths: title, whole path and language of each passage.
        vocabulary: numbers of the terms; those that it does not hold are left out.
        stop: numbers of the stop words, which are left out too.
    """
    left_out, terms = set(stop.tolist()), list[int]()
    bounds, titles = [0], list[int]()
    known: dict[tuple[str, str, str], tuple[list[int], int]] = {}
    for path in paths:
        if path not in known:
            # Passages of a section follow each other: what went before need not be remembered for long.
            known = {path: _numbers(path, vocabulary, left_out)}
        numbers, of_title = known[path]
        titles.append(len(terms) + of_title)
        terms += numbers
        bounds.append(len(terms))
    return {
        "heading_terms": np.array(terms, np.int32),
        "heading_bounds": np.array(bounds, np.int64),
        "title_bounds": np.array(titles, np.int64),
    }


def _numbers(path: tuple[str, str, str], vocabulary: Mapping[str, int], stop: set[int]) -> tuple[list[int], int]:
    """The different terms of title and path, the title's first, and how many are the title's."""
    title, whole, language = path
    one = analyser(language or DEFAULT)
    of_title, every = (
        [vocabulary[term] for term in dict.fromkeys(one.terms(text)) if term in vocabulary] for text in (title, whole)
    )
    of_title = [number for number in of_title if number not in stop]
    others = [number for number in every if number not in stop and number not in of_title]
    return of_title + others, len(of_title)


def likeness(arrays: Mapping[str, Array], asked: npt.NDArray[np.int64], idfs: Scores, rows: Rows) -> Scores:
    """How alike a question is to these passages' titles and to their paths, on average; 0 to 1, float32 [n].

    Args:
        arrays: as `arrays_of` makes them.
        asked: the question's different terms.
        idfs: of all terms, by number.
    """
    starts, ends = arrays["heading_bounds"][rows], arrays["heading_bounds"][rows + 1]
    sizes = ends - starts
    place = np.repeat(np.arange(len(rows)), sizes)
    at = np.arange(len(place)) + np.repeat(starts - np.cumsum(sizes) + sizes, sizes)
    terms = arrays["heading_terms"][at]
    weights = idfs[terms]
    shared = weights * np.isin(terms, asked)
    total = float(idfs[asked].sum())
    alike = np.zeros(len(rows))
    for part in (at < arrays["title_bounds"][rows][place], slice(None)):
        both = np.bincount(place[part], shared[part], len(rows))
        alike += both / np.maximum(total + np.bincount(place[part], weights[part], len(rows)), 1e-9)
    return np.minimum(alike, 1).astype(np.float32)
