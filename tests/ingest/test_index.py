"""The index finds what is near, keeps its chunks, and refuses another embedder."""

import json

import numpy as np
import pytest

from configs.errors import ArtifactError, ModelError
from ingest.chunk import chunk_document
from ingest.embed import Remembering, load_embedder
from ingest.index import Index, build_index
from tests.ingest.samples import WordHashEmbedder, document

TOPICS = ("vacuum reclaims storage", "indexes speed up searching", "backups copy the database", "roles own objects")


def chunks_of(topics=TOPICS):
    parts = [(1, f"Topic {n}", f"Here {topic} for everyone.") for n, topic in enumerate(topics)]
    return list(chunk_document(document("u", "T", *parts), lambda t: len(t.split()), max_tokens=64, min_tokens=2))


@pytest.fixture
def built(tmp_path):
    build_index(chunks_of(), WordHashEmbedder(), tmp_path)
    return tmp_path


def test_the_nearest_chunk_comes_first(built):
    index = Index.load(built, WordHashEmbedder())
    for topic, chunk in zip(TOPICS, chunks_of(), strict=True):
        hits = index.search(topic, 3)
        assert hits[0].chunk == chunk
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert -1 <= hits[-1].score <= hits[0].score <= 1.0001


def test_searching_many_is_searching_each(built):
    index = Index.load(built, WordHashEmbedder())
    assert [[h.chunk.id for h in hits] for hits in index.search_many(list(TOPICS), 2)] == [
        [hit.chunk.id for hit in index.search(topic, 2)] for topic in TOPICS
    ]
    assert index.search_many([], 3) == []


def test_asking_for_more_than_there_is_gives_all(built):
    assert len(Index.load(built, WordHashEmbedder()).search("vacuum", 100)) == len(TOPICS)


def test_an_index_without_chunks_answers_nothing(tmp_path):
    build_index([], WordHashEmbedder(), tmp_path)
    assert Index.load(tmp_path, WordHashEmbedder()).search("vacuum", 3) == []


@pytest.mark.parametrize("other", [WordHashEmbedder("other"), WordHashEmbedder(dimensions=128)])
def test_another_embedder_is_refused_with_both_names_and_the_remedy(built, other):
    with pytest.raises(ArtifactError) as caught:
        Index.load(built, other)
    assert "word-hash (256 dimensions)" in str(caught.value)
    assert f"{other.name} ({other.dimensions} dimensions)" in str(caught.value)
    assert "Run `wellread index` again" in str(caught.value)


@pytest.mark.parametrize("file", ["vectors.faiss", "chunks.parquet", "index.json"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_index_is_refused(built, file, damage):
    path = built / file
    path.write_bytes(path.read_bytes()[:20]) if damage == "cut" else path.unlink()
    with pytest.raises(ArtifactError, match="wellread index"):
        Index.load(built, WordHashEmbedder())


def test_the_manifest_names_the_embedder(built):
    meta = json.loads((built / "index.json").read_text())
    assert meta == {"embedder": "word-hash", "dimensions": 256, "metric": "cosine", "chunks": 4}


@pytest.fixture(scope="module")
def minilm():
    return load_embedder("embedded:all-MiniLM-L6-v2", "cpu")


def test_the_embedded_model_knows_meaning(minilm):
    vectors = minilm.encode(["How do I free disk space?", "VACUUM reclaims storage.", "The cat sat on the mat."])
    assert vectors.shape == (3, minilm.dimensions) == (3, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_the_embedded_model_counts_tokens_beyond_its_own_length(minilm):
    assert minilm.max_tokens == 256
    assert minilm.count_tokens("word " * 1000) == 1000
    assert minilm.encode([]).shape == (0, 384)
    assert minilm.encode(["word " * 1000]).shape == (1, 384)


@pytest.mark.parametrize("name", ["embedded:nosuch", "no/such-model-anywhere"])
def test_an_unknown_embedder_is_named(name):
    with pytest.raises(ModelError, match=name):
        load_embedder(name)


def test_a_folder_that_holds_no_embedder_is_named(tmp_path):
    with pytest.raises(ModelError, match="cannot load the embedder"):
        load_embedder(str(tmp_path))


def test_vectors_are_remembered_and_the_oldest_forgotten():
    asked = []

    def encode(texts):
        asked.append(list(texts))
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32).reshape(len(texts), 2)

    remembering = Remembering(encode, most=2)
    assert remembering(["a", "bb", "a"]).tolist() == [[1, 1], [2, 1], [1, 1]]
    assert remembering(["bb", "ccc"]).tolist() == [[2, 1], [3, 1]]
    assert remembering(["a"]).tolist() == [[1, 1]]
    assert remembering([]).shape == (0, 2)
    assert asked == [["a", "bb"], ["ccc"], ["a"], []]
