"""What every vector index must do, whatever is behind it: a store's test module subclasses `VectorContract`.

The module defines two fixtures. `make_index` gives a function from dimensions to a new, empty index; `reopen` gives a
function that saves an index and opens what was saved, as the next run of the program would.

    class TestMyStore(VectorContract):
        pass
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs.errors import ArtifactError, WellreadError
from ingest.vectors.base import NOTHING, VectorIndex, Vectors

DIMENSIONS = 16
LARGEST_ID = 2**63 - 1

MakeIndex = Callable[[int], VectorIndex]
Reopen = Callable[[VectorIndex], VectorIndex]


def unit(vectors: Any) -> Vectors:
    """The same directions, at length 1."""
    rows = np.asarray(vectors, np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def some_vectors(count: int, seed: int = 0, dimensions: int = DIMENSIONS) -> Vectors:
    """Unit vectors in random directions, [count, dimensions]."""
    return unit(np.random.default_rng(seed).standard_normal((count, dimensions)))


def numbers(*ids: int) -> Any:
    """Ids as an index takes them."""
    return np.array(ids, np.int64)


def filled(index: VectorIndex, count: int, seed: int = 0) -> Vectors:
    """Add `count` vectors under the ids 100, 101, ...; returns them."""
    vectors = some_vectors(count, seed, index.dimensions)
    index.add(np.arange(100, 100 + count), vectors)
    return vectors


def assert_agrees(
    index: VectorIndex, held: dict[int, Vectors], queries: Vectors, k: int, allowed: Any = None, tolerance: float = 1e-5
) -> None:
    """A search finds what numpy finds over what is held; which of equally near vectors does not matter."""
    ids = [one for one in held if allowed is None or one in set(allowed.tolist())]
    cosines, found = index.search(queries, k, allowed)
    assert cosines.shape == found.shape == (len(queries), k)
    assert (cosines.dtype, found.dtype) == (np.float32, np.int64)
    for query, near, names in zip(queries, cosines, found, strict=True):
        there = names != NOTHING
        true = {one: float(held[one] @ query) for one in ids}
        expected = sorted(true.values(), reverse=True)[:k]
        assert there.sum() == len(expected)
        assert there[: len(expected)].all()
        np.testing.assert_allclose(near[there], expected, atol=tolerance)
        np.testing.assert_allclose(near[there], [true[one] for one in names[there].tolist()], atol=tolerance)
        assert len(set(names[there].tolist())) == there.sum()


def a_step() -> st.SearchStrategy[tuple[str, Any]]:
    """One change: ids to add or to replace (with the seed of their vectors), ids to remove, or save and open."""
    ids = st.lists(st.integers(0, 40), unique=True, max_size=25)
    adding = st.tuples(st.just("add"), st.tuples(ids, st.integers(0, 1000)))
    removing = st.tuples(st.just("remove"), ids)
    return st.one_of(
        adding, removing, st.tuples(st.just("reopen"), st.none()), st.tuples(st.just("compact"), st.none())
    )


def play(index: VectorIndex, steps: list[tuple[str, Any]], reopen: Reopen, tolerance: float) -> None:
    """Do the steps to an index and to a dictionary, and compare them after each."""
    held: dict[int, Vectors] = {}
    queries = some_vectors(3, seed=77, dimensions=index.dimensions)
    for what, value in steps:
        if what == "add":
            ids, seed = value
            vectors = some_vectors(len(ids), seed, index.dimensions)
            index.add(np.array(ids, np.int64), vectors)
            held |= dict(zip(ids, vectors, strict=True))
        elif what == "remove":
            assert index.remove(np.array(value, np.int64)) == sum(one in held for one in value)
            held = {one: vector for one, vector in held.items() if one not in value}
        elif what == "reopen":
            index = reopen(index)
        elif hasattr(index, "compact"):
            index.compact()
        assert len(index) == index.stats().vectors == len(held)
        assert_agrees(index, held, queries, 5, tolerance=tolerance)
        assert_agrees(index, held, queries, 4, allowed=np.arange(0, 40, 3), tolerance=tolerance)
        if held:
            got = index.get(np.array(list(held), np.int64))
            np.testing.assert_allclose(got, np.array(list(held.values())), atol=tolerance)


class VectorContract:
    """Subclass it as `Test...` in a module with the fixtures `make_index` and `reopen`."""

    tolerance = 1e-5
    """How far a stored number may be from the one that was added."""

    def test_an_empty_index_finds_nothing(self, make_index: MakeIndex, reopen: Reopen) -> None:
        for index in (make_index(DIMENSIONS), reopen(make_index(DIMENSIONS))):
            cosines, ids = index.search(some_vectors(2), 3)
            assert cosines.shape == (2, 3)
            assert (ids == NOTHING).all()
            assert len(index) == index.stats().vectors == 0
            assert index.get(numbers()).shape == (0, DIMENSIONS)
            assert index.remove(numbers(1)) == 0

    def test_a_search_finds_the_nearest_best_first(self, make_index: MakeIndex) -> None:
        index = make_index(DIMENSIONS)
        held = dict(enumerate(filled(index, 60), start=100))
        assert_agrees(index, held, some_vectors(8, seed=5), 10, tolerance=self.tolerance)
        _, found = index.search(np.array(list(held.values())), 1)
        assert found[:, 0].tolist() == list(held)

    def test_more_than_there_is_ends_in_nothing(self, make_index: MakeIndex) -> None:
        index = make_index(DIMENSIONS)
        filled(index, 4)
        cosines, ids = index.search(some_vectors(1, seed=3), 9)
        assert sorted(ids[0, :4].tolist()) == [100, 101, 102, 103]
        assert (ids[0, 4:] == NOTHING).all()
        assert np.isfinite(cosines).all()

    def test_no_queries_no_answers(self, make_index: MakeIndex) -> None:
        index = make_index(DIMENSIONS)
        filled(index, 4)
        cosines, ids = index.search(np.zeros((0, DIMENSIONS), np.float32), 3)
        assert cosines.shape == ids.shape == (0, 3)

    def test_an_id_that_is_there_is_replaced(self, make_index: MakeIndex, reopen: Reopen) -> None:
        index = make_index(DIMENSIONS)
        before = filled(index, 5)
        after = some_vectors(1, seed=9)
        index.add(numbers(102), after)
        for opened in (index, reopen(index)):
            assert len(opened) == 5
            assert opened.search(after, 1)[1].tolist() == [[102]]
            assert_agrees(opened, dict(enumerate(before, start=100)) | {102: after[0]}, before, 5)

    def test_removed_ids_are_not_found(self, make_index: MakeIndex, reopen: Reopen) -> None:
        index = make_index(DIMENSIONS)
        vectors = filled(index, 10)
        assert index.remove(numbers(103, 7, 108, 103)) == 2
        assert index.remove(numbers(103)) == 0
        held = {one: vector for one, vector in enumerate(vectors, start=100) if one not in (103, 108)}
        for opened in (index, reopen(index)):
            assert len(opened) == 8
            assert_agrees(opened, held, vectors, 10, tolerance=self.tolerance)
            with pytest.raises(KeyError):
                opened.get(numbers(100, 103))

    def test_removing_everything_and_adding_again(self, make_index: MakeIndex, reopen: Reopen) -> None:
        index = make_index(DIMENSIONS)
        vectors = filled(index, 6)
        assert index.remove(np.arange(100, 106)) == 6
        index = reopen(index)
        assert len(index) == 0
        assert (index.search(vectors, 2)[1] == NOTHING).all()
        index.add(numbers(103, 500), vectors[:2])
        index = reopen(index)
        assert_agrees(index, {103: vectors[0], 500: vectors[1]}, vectors, 3, tolerance=self.tolerance)

    def test_vectors_are_given_back_in_the_order_asked_for(self, make_index: MakeIndex, reopen: Reopen) -> None:
        index = make_index(DIMENSIONS)
        vectors = filled(index, 8)
        for opened in (index, reopen(index)):
            got = opened.get(numbers(104, 100, 104))
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, vectors[[4, 0, 4]], atol=self.tolerance)
            with pytest.raises(KeyError):
                opened.get(numbers(999))

    def test_only_what_is_allowed_is_found(self, make_index: MakeIndex) -> None:
        index = make_index(DIMENSIONS)
        held = dict(enumerate(filled(index, 50), start=100))
        queries = some_vectors(4, seed=6)
        shuffled = np.random.default_rng(1).permutation(np.arange(90, 145))
        few = (np.arange(100, 150, 7), numbers(3, 120, 120, 101), numbers(3), numbers())
        many = (np.arange(100, 149), shuffled, np.arange(160), np.concatenate([shuffled, shuffled]))
        for allowed in few + many:
            assert_agrees(index, held, queries, 6, allowed, self.tolerance)

    def test_large_ids_and_zero_are_ids(self, make_index: MakeIndex, reopen: Reopen) -> None:
        index = make_index(DIMENSIONS)
        vectors = some_vectors(3)
        index.add(numbers(LARGEST_ID, 0, LARGEST_ID - 1), vectors)
        for opened in (index, reopen(index)):
            assert opened.search(vectors, 1)[1][:, 0].tolist() == [LARGEST_ID, 0, LARGEST_ID - 1]
        assert index.remove(numbers(LARGEST_ID)) == 1

    def test_identical_vectors_are_all_found(self, make_index: MakeIndex) -> None:
        index = make_index(DIMENSIONS)
        index.add(np.arange(70), np.repeat(some_vectors(1), 70, axis=0))
        index.add(numbers(900), some_vectors(1, seed=4))
        _, ids = index.search(some_vectors(1), 70)
        assert sorted(ids[0].tolist()) == list(range(70))

    @pytest.mark.parametrize(
        ("ids", "vectors"),
        [
            (numbers(1), np.full((1, DIMENSIONS), np.nan, np.float32)),
            (numbers(1), np.full((1, DIMENSIONS), np.inf, np.float32)),
            (numbers(1), np.zeros((1, DIMENSIONS), np.float32)),
            (numbers(1, 2), some_vectors(2) * np.array([[1.0], [1.01]], np.float32)),
            (numbers(1), some_vectors(1, dimensions=DIMENSIONS + 1)),
            (numbers(1), some_vectors(1)[0]),
            (numbers(1, 2), some_vectors(3)),
            (numbers(1, 2, 1), some_vectors(3)),
            (numbers(-1), some_vectors(1)),
        ],
        ids="nan infinite zero long wide flat fewer-ids same-id-twice negative-id".split(),
    )
    def test_bad_vectors_are_refused_whole(self, make_index: MakeIndex, ids: Any, vectors: Any) -> None:
        index = make_index(DIMENSIONS)
        filled(index, 3)
        with pytest.raises(ArtifactError):
            index.add(ids, vectors)
        assert len(index) == 3
        assert sorted(index.search(some_vectors(1), 5)[1][0].tolist()) == [NOTHING, NOTHING, 100, 101, 102]

    def test_bad_queries_are_refused(self, make_index: MakeIndex) -> None:
        index = make_index(DIMENSIONS)
        filled(index, 3)
        for queries in (
            np.full((1, DIMENSIONS), np.nan, np.float32),
            some_vectors(1, dimensions=3),
            some_vectors(1)[0],
        ):
            with pytest.raises(WellreadError):
                index.search(queries, 2)

    def test_what_is_saved_is_what_is_opened(self, make_index: MakeIndex, reopen: Reopen) -> None:
        index = make_index(DIMENSIONS)
        held = dict(enumerate(filled(index, 40), start=100))
        queries = some_vectors(5, seed=8)
        opened = reopen(index)
        assert opened.dimensions == DIMENSIONS
        assert_agrees(opened, held, queries, 7, tolerance=self.tolerance)
        opened.remove(numbers(100, 101))
        again = reopen(opened)
        assert_agrees(again, {one: held[one] for one in list(held)[2:]}, queries, 7, tolerance=self.tolerance)

    def test_stats_say_what_is_there(self, make_index: MakeIndex) -> None:
        index = make_index(DIMENSIONS)
        filled(index, 9)
        index.remove(numbers(101))
        stats = index.stats()
        assert (stats.dimensions, stats.vectors) == (DIMENSIONS, 8)
        assert stats.segments >= 1
        assert stats.removed >= 0

    # The fixtures only make new indexes, so that examples do not share any state.
    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
            HealthCheck.too_slow,
        ],
    )
    @given(steps=st.lists(a_step(), min_size=1, max_size=8))
    def test_any_sequence_of_changes_agrees_with_brute_force(
        self, make_index: MakeIndex, reopen: Reopen, steps: list[tuple[str, Any]]
    ) -> None:
        play(make_index(DIMENSIONS), steps, reopen, self.tolerance)
