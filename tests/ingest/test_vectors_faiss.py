"""The FAISS index keeps the contract of a vector index, whatever way it searches, and searches as it says."""

from pathlib import Path

import numpy as np
import pytest

from configs.errors import ConfigError
from ingest.vectors.base import NOTHING, Ids, VectorIndex
from ingest.vectors.faiss_index import FaissIndex
from ingest.vectors.kinds import IVFPQ_FROM, Params, choose_kind, kind_of
from ingest.vectors.segments import Segment
from tests.ingest.vector_contract import MakeIndex, Reopen, VectorContract, numbers, unit

QUICK = Params(m=16, build=64, lists=64, code_bytes=8, probes=24, refine=8)


def clustered(count: int, seed: int = 0, dimensions: int = 32) -> np.ndarray:
    """Vectors around fifty centres, as documents are around topics."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((50, dimensions))
    return unit(centres[rng.integers(0, 50, count)] + 0.8 * rng.standard_normal((count, dimensions)))


def built(kind: str, count: int, params: Params | None = None) -> FaissIndex:
    index = FaissIndex.create(32, kind, params)
    index.add(np.arange(count) * 3, clustered(count))
    index.compact()
    return index


class TestExact(VectorContract):
    @pytest.fixture
    def make_index(self) -> MakeIndex:
        return lambda dimensions: FaissIndex.create(dimensions, "exact")

    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Reopen:
        def save_and_load(index: VectorIndex) -> VectorIndex:
            index.save(tmp_path / "vectors")
            return FaissIndex.load(tmp_path / "vectors", verify=True)

        return save_and_load


class TestHnsw(VectorContract):
    @pytest.fixture
    def make_index(self) -> MakeIndex:
        return lambda dimensions: FaissIndex.create(dimensions, "hnsw", Params(m=8))

    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Reopen:
        def save_and_load(index: FaissIndex) -> VectorIndex:
            index.compact()
            index.save(tmp_path / "vectors")
            return FaissIndex.load(tmp_path / "vectors", verify=True)

        return save_and_load


def test_the_kind_follows_from_the_number() -> None:
    kinds = [choose_kind(count) for count in (0, 49_999, 50_000, 1_999_999, 2_000_000)]
    assert kinds == ["exact", "exact", "hnsw", "hnsw", "ivfpq"]
    assert kind_of("ivfpq", IVFPQ_FROM - 1) == "exact"
    assert kind_of("ivfpq", IVFPQ_FROM) == "ivfpq"
    assert kind_of("hnsw", 1) == "hnsw"


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_an_approximate_index_finds_nearly_what_an_exact_one_finds(kind: str, tmp_path: Path) -> None:
    made = built(kind, IVFPQ_FROM, QUICK)
    made.save(tmp_path)
    for index in (made, FaissIndex.load(tmp_path)):
        stats = index.stats()
        assert (stats.kind, stats.segments, stats.vectors) == (kind, 1, IVFPQ_FROM)
        assert stats.recall >= 0.9
        queries = clustered(100, seed=1)
        assert index.measure_recall(queries) >= 0.97
        # Cosines are those of the stored vectors, not of the quantised ones.
        cosines, ids = index.search(queries[:5], 10)
        true = np.einsum("qd,qkd->qk", queries[:5], index.get(ids.ravel()).reshape(5, 10, 32))
        np.testing.assert_allclose(cosines, true, atol=1e-3)


@pytest.mark.parametrize(("kind", "count"), [("hnsw", 3000), ("ivfpq", IVFPQ_FROM)])
def test_filtered_searches_find_what_is_nearest_of_the_allowed(
    kind: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Large enough sets to be searched by their structure would take long to build.
    monkeypatch.setattr("ingest.vectors.kinds.FEW", 300)
    index = built(kind, count, QUICK)
    for share in (0.95, 0.3, 0.12, 0.01):
        check_filtered(index, share)


def check_filtered(index: FaissIndex, share: float) -> None:
    rng = np.random.default_rng(3)
    ids = index.ids
    allowed = rng.choice(ids, int(share * len(ids)), replace=False)
    queries = clustered(50, seed=2)
    near = FaissIndex.create(32, "exact")
    near.add(allowed, index.get(allowed))
    found, true = index.search(queries, 10, allowed)[1], near.search(queries, 10)[1]
    assert np.isin(found, allowed).all()
    assert np.mean([len(np.intersect1d(*pair)) / 10 for pair in zip(found, true, strict=True)]) >= 0.95


def test_allowed_ids_are_looked_up_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    # In any other order, each is looked up in memory that no cache holds.
    index = FaissIndex.create(32, "exact")
    for start, count in ((0, 400), (400, 50), (450, 3)):
        index.add(np.arange(start, start + count), clustered(count, seed=start))
    looked_up: list[bool] = []
    rows_of = Segment.rows_of

    def recorded(segment: Segment, ids: Ids) -> Ids:
        looked_up.append(bool((np.diff(ids) > 0).all()))
        return rows_of(segment, ids)

    monkeypatch.setattr(Segment, "rows_of", recorded)
    allowed = np.random.default_rng(0).permutation(453)[:300]
    found = index.search(clustered(4, seed=1), 300, allowed)[1]
    assert looked_up == [True, True, True]
    assert all(set(row.tolist()) == set(allowed.tolist()) for row in found)


def test_a_search_for_most_of_a_graph_is_complete() -> None:
    index = built("hnsw", 500, Params(m=4, build=8, search=8))
    ids = index.search(clustered(3, seed=4), 480)[1]
    assert all(len(set(row.tolist()) - {NOTHING}) == 480 for row in ids)


def test_vectors_that_are_there_many_times_do_not_part_the_graph() -> None:
    index = FaissIndex.create(32, "hnsw", QUICK)
    index.add(np.arange(3000), clustered(3000))
    index.add(np.arange(3000, 5000), np.repeat(clustered(20, seed=8), 100, axis=0))
    index.compact()
    queries = clustered(3000)[::30]
    cosines, ids = index.search(queries, 1)
    assert (cosines[:, 0] > 0.999).mean() >= 0.98
    assert (ids[:, 0] == np.arange(0, 3000, 30)).mean() >= 0.98


def test_code_bytes_must_divide_the_dimensions() -> None:
    index = FaissIndex.create(32, "ivfpq", Params(code_bytes=10))
    index.add(np.arange(IVFPQ_FROM), clustered(IVFPQ_FROM))
    with pytest.raises(ConfigError, match=r"code_bytes is 10.*32 dimensions.*code_bytes=8"):
        index.compact()
    assert len(index) == IVFPQ_FROM


def test_many_small_additions_make_few_segments() -> None:
    index = FaissIndex.create(32)
    vectors = clustered(300)
    for number, vector in enumerate(vectors):
        index.add(numbers(number), vector[None])
    assert index.stats().segments <= 9
    assert index.search(vectors, 1)[1][:, 0].tolist() == list(range(300))


def test_compaction_is_due_when_enough_changed() -> None:
    index = FaissIndex.create(32, "hnsw")
    assert not index.needs_compaction(0.2)
    index.add(np.arange(100), clustered(100))
    assert index.needs_compaction(0.2)  # nothing of it is a graph yet
    index.compact()
    assert not index.needs_compaction(0.2)
    index.add(np.arange(20), clustered(20, seed=5))
    assert not index.needs_compaction(0.2)
    index.remove(numbers(50))
    assert index.needs_compaction(0.2)
    assert (index.stats().segments, index.stats().removed) == (2, 21)
    index.compact()
    assert (index.stats().segments, index.stats().removed, len(index)) == (1, 0, 99)


def test_other_settings_of_building_make_compaction_due(tmp_path: Path) -> None:
    built("hnsw", 200).save(tmp_path)
    assert not FaissIndex.load(tmp_path).needs_compaction(1)
    assert not FaissIndex.load(tmp_path, params=Params(search=300)).needs_compaction(1)
    assert FaissIndex.load(tmp_path, params=Params(m=8)).needs_compaction(1)
    assert FaissIndex.load(tmp_path, kind="auto").needs_compaction(1)
    exact = FaissIndex.load(tmp_path, kind="exact")
    exact.compact()
    assert (exact.stats().kind, exact.stats().recall) == ("exact", None)


def test_ids_are_sorted_and_only_those_that_can_be_found() -> None:
    index = FaissIndex.create(32)
    assert index.ids.tolist() == []
    index.add(numbers(9, 2, 7), clustered(3))
    index.add(numbers(1, 7), clustered(2))
    index.remove(numbers(2))
    assert index.ids.tolist() == [1, 7, 9]
    assert index.ids.dtype == np.int64
