"""Documents that mean the same: found by their vectors, the older one named, vectors worked out once."""

import numpy as np
import pytest

from configs.errors import ArtifactError
from ingest.dedup.find import find_duplicates, judged
from ingest.dedup.semantic import CLUSTER, VECTORS, Semantic, nearest_kept
from tests.ingest.test_dedup_find import make

MEANINGS = {"start": 0, "begin": 0, "halt": 1, "stop": 1, "the": 2, "pump": 3, "valve": 4}


class Meanings:
    """Encodes a text as counts of meanings, of which synonyms share one; keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked += texts
        vectors = np.zeros((len(texts), 5), np.float32)
        for row, text in enumerate(texts):
            for word in text.split():
                vectors[row, MEANINGS[word]] += 1
        return vectors


PAGES = [
    make("a", "start the pump"),
    make("b", "begin the pump"),
    make("c", "halt the valve"),
    make("d", "stop the valve"),
    make("e", "start the pump"),
]


def found(out, pages, encode, previous=None, **options):
    out.mkdir()
    semantic = Semantic("meanings", encode, **options)
    counts = find_duplicates(lambda: iter(pages), out, previous=previous, semantic=semantic)
    return {page.url[-1]: verdict for page, verdict in judged(pages, out) if verdict}, counts


def test_documents_of_the_same_meaning_name_the_older_one(tmp_path):
    verdicts, counts = found(tmp_path / "1", PAGES, Meanings())
    assert {name: (verdict.kind, verdict.matched_url[-1]) for name, verdict in verdicts.items()} == {
        "b": ("semantic_duplicate", "a"),
        "d": ("semantic_duplicate", "c"),
        "e": ("duplicate", "a"),
    }
    assert verdicts["b"].similarity == pytest.approx(1.0)
    assert verdicts["b"].threshold == 0.95
    assert counts["semantic_duplicate"] == 2


def test_vectors_of_the_version_before_are_taken_over(tmp_path):
    found(tmp_path / "1", PAGES[:3], Meanings())
    encode = Meanings()
    again, counts = found(tmp_path / "2", PAGES, encode, previous=tmp_path / "1")
    scratch, _ = found(tmp_path / "scratch", PAGES, Meanings())
    assert encode.asked == ["stop the valve"]
    assert counts["vectors_computed"] == 1
    assert again == scratch
    assert (tmp_path / "2" / VECTORS).read_bytes() == (tmp_path / "scratch" / VECTORS).read_bytes()


def test_vectors_of_another_encoder_are_not_used(tmp_path):
    (tmp_path / "1").mkdir()
    find_duplicates(lambda: iter(PAGES), tmp_path / "1", previous=None, semantic=Semantic("other", Meanings()))
    _, counts = found(tmp_path / "2", PAGES, Meanings(), previous=tmp_path / "1")
    assert counts["vectors_computed"] == 4


def test_a_damaged_table_of_vectors_is_named(tmp_path):
    found(tmp_path / "1", PAGES, Meanings())
    (tmp_path / "1" / VECTORS).write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(ArtifactError, match=VECTORS):
        found(tmp_path / "2", PAGES, Meanings(), previous=tmp_path / "1")


@pytest.mark.parametrize("documents", [[], PAGES[:1]])
def test_few_documents_are_no_trouble(tmp_path, documents):
    assert found(tmp_path / "1", documents, Meanings())[0] == {}


def test_every_match_in_many_clusters_is_near_and_kept():
    generator = np.random.default_rng(3)
    centres = generator.normal(size=(400, 8))
    vectors = centres[generator.integers(0, 400, 3 * CLUSTER)] + generator.normal(scale=0.05, size=(3 * CLUSTER, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    repeats, cosines = nearest_kept(vectors, 0.98)
    newer = np.flatnonzero(repeats >= 0)
    older = repeats[newer]
    assert (older < newer).all()
    assert (repeats[older] < 0).all()
    assert cosines[newer] == pytest.approx((vectors[newer] * vectors[older]).sum(axis=1), abs=1e-5)
    assert cosines[newer].min() >= 0.98 - 1e-6
    # Nine tenths of what comparing everything with everything finds.
    near = np.tril(vectors @ vectors.T >= 0.98, -1).any(axis=1)
    assert len(newer) > 0.9 * near.sum() * 0.9
