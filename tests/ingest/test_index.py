"""The index finds what is near, takes over what has not changed, and refuses what does not fit."""

import json
from dataclasses import replace

import pytest

from configs.errors import ArtifactError, ModelError
from ingest import embed_parts
from ingest.chunk import chunk_document
from ingest.index import INDEX, Index, SearchOptions
from ingest.indexing import build_index
from ingest.search.filters import Filter
from ingest.search.hybrid import Ranker
from tests.ingest.samples import WordHashEmbedder, document

TOPICS = ("vacuum reclaims storage", "indexes speed up searching", "backups copy the database", "roles own objects")


class Counting(WordHashEmbedder):
    """Notes how many passages it is asked for, and breaks after some."""

    def __init__(self, breaks_after=10**9):
        super().__init__()
        self.seen, self.breaks_after = [], breaks_after

    def encode_passages(self, texts):
        if len(self.seen) >= self.breaks_after:
            raise ModelError("out of memory", "Buy some")
        self.seen += texts
        return self.encode(texts)


def cut(source, max_tokens=64):
    return list(chunk_document(source, lambda text: len(text.split()), max_tokens=max_tokens, min_tokens=2))


def page(name, topics):
    parts = [(1, f"Topic {topic.split()[0]}", f"Here {topic} for everyone.") for topic in topics]
    return cut(document(f"https://x.org/{name}", name.title(), *parts))


CHUNKS = page("guide", TOPICS)


@pytest.fixture
def built(tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    build_index(CHUNKS, WordHashEmbedder(), folder)
    return folder


def opened(folder, **options):
    return Index.load(folder, WordHashEmbedder(), SearchOptions(**options))


def again(previous, chunks, embedder=None):
    """Build from a previous index. Returns folder, manifest, and the texts that were embedded."""
    folder = previous.with_name(f"{previous.name}-next")
    folder.mkdir()
    embedder = embedder or Counting()
    manifest = build_index(chunks, embedder, folder, previous=previous)
    return folder, manifest, embedder.seen


def found(index, query, k=3):
    return [(hit.chunk, round(hit.score, 5)) for hit in index.search(query, k).hits]


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_the_nearest_passage_comes_first(built, mode):
    index = opened(built, ranker=Ranker(mode))
    for topic, chunk in zip(TOPICS, CHUNKS, strict=True):
        hits = index.search(topic, 3).hits
        assert hits[0].chunk == chunk
        assert all(-1 <= hit.score <= 1.0001 for hit in hits)


def test_searching_many_is_searching_each(built):
    index = opened(built)
    many = index.search_many(list(TOPICS), 2)
    assert [one.hits for one in many] == [index.search(topic, 2).hits for topic in TOPICS]
    assert index.search_many([], 3) == []


def test_asking_for_more_than_there_is_gives_all(built):
    assert len(opened(built, ranker=Ranker("dense")).search("vacuum", 100).hits) == len(TOPICS)


def test_an_index_without_passages_answers_nothing(tmp_path):
    build_index([], WordHashEmbedder(), tmp_path)
    index = opened(tmp_path)
    assert (index.search("vacuum", 3).hits, len(index)) == ((), 0)
    assert index.answerability(index.search("vacuum", 3)) == 0


def test_a_filter_limits_what_is_found(tmp_path):
    other = [replace(chunk, language="de", tags=("news",)) for chunk in page("other", TOPICS)]
    build_index([*CHUNKS, *other], WordHashEmbedder(), tmp_path)
    index = opened(tmp_path, collapse=1.0)
    assert {hit.chunk.url for hit in index.search(TOPICS[0], 8, Filter(language="de")).hits} == {"https://x.org/other"}
    assert index.search(TOPICS[0], 8, Filter(url_prefix="https://x.org/none")).hits == ()


def test_a_section_is_all_of_its_passages(tmp_path):
    body = " ".join(f"Sentence number {n} stands here with some words of its own." for n in range(30))
    source = document("https://x.org/long", "Long", (1, "Only", body))
    chunks = cut(source, 32)
    assert len(chunks) > 3
    build_index(chunks, WordHashEmbedder(), tmp_path)
    whole = opened(tmp_path).section(1)
    assert (whole.start, whole.end) == (chunks[0].start, chunks[-1].end)
    assert whole.text.split() == source.text[whole.start : whole.end].split()
    assert len(whole.text) == whole.end - whole.start


def test_only_what_changed_is_embedded_again(built):
    changed = page("guide", (*TOPICS[:3], "roles are groups of rights"))
    folder, manifest, embedded = again(built, changed)
    assert len(embedded) == 1 and "groups of rights" in embedded[0]
    assert manifest.counts == {"chunks": 4, "embedded": 1, "removed": 4}  # all ids changed with the document
    fresh = built.with_name("fresh")
    fresh.mkdir()
    build_index(changed, WordHashEmbedder(), fresh)
    for topic in (*TOPICS, "groups of rights"):
        assert found(opened(folder), topic) == found(opened(fresh), topic)


def test_what_was_removed_is_not_found_any_more(built):
    folder, manifest, embedded = again(built, [])
    assert (manifest.counts["removed"], embedded) == (4, [])
    assert opened(folder).search(TOPICS[0], 3).hits == ()
    folder, manifest, embedded = again(folder, CHUNKS)
    assert len(embedded) == 4
    assert opened(folder).search(TOPICS[0], 1).hits[0].chunk == CHUNKS[0]


def test_texts_that_occur_twice_are_embedded_once(tmp_path):
    twice = [*CHUNKS, *(replace(chunk, id=chunk.id[::-1], url="https://x.org/copy") for chunk in CHUNKS)]
    embedder = Counting()
    build_index(twice, embedder, tmp_path)
    assert len(embedder.seen) == len(CHUNKS)
    assert len(opened(tmp_path)) == 8
    hits = opened(tmp_path).search(TOPICS[0], 2).hits
    assert hits[0].repeats == 1
    assert hits[1].chunk.text != hits[0].chunk.text


def test_the_old_index_is_not_touched_by_its_successor(built):
    before = {path: path.read_bytes() for path in built.rglob("*") if path.is_file()}
    again(built, page("guide", TOPICS[:2]))
    assert {path: path.read_bytes() for path in built.rglob("*") if path.is_file()} == before
    assert opened(built).search(TOPICS[3], 1).hits[0].chunk == CHUNKS[3]


def test_embedding_goes_on_where_it_was_broken_off(tmp_path, monkeypatch):
    monkeypatch.setattr(embed_parts, "AT_ONCE", 2)
    broken = Counting(breaks_after=2)
    with pytest.raises(ModelError):
        build_index(CHUNKS, broken, tmp_path)
    with pytest.raises(ArtifactError):
        opened(tmp_path)
    rest = Counting()
    build_index(CHUNKS, rest, tmp_path)
    assert (len(broken.seen), len(rest.seen)) == (2, 2)
    assert found(opened(tmp_path), TOPICS[0])[0][0] == CHUNKS[0]
    assert not (tmp_path / "embedded").exists()


def test_a_damaged_predecessor_is_left_alone(built, caplog):
    next(built.glob("vectors/*.npy"), built / "vectors" / "vectors.json").write_bytes(b"x")
    (built / "passages.arrow").write_bytes(b"no Arrow")
    _, _, embedded = again(built, CHUNKS)
    assert len(embedded) == 4
    assert "embedded again" in caplog.text


@pytest.mark.parametrize("other", [WordHashEmbedder("other"), WordHashEmbedder(dimensions=128)])
def test_another_embedder_is_refused_with_both_names_and_the_remedy(built, other):
    with pytest.raises(ArtifactError) as caught:
        Index.load(built, other)
    assert "word-hash (256 dimensions)" in str(caught.value)
    assert f"{other.name} ({other.dimensions} dimensions)" in str(caught.value)
    assert "Run `wellread index` again" in str(caught.value)


def test_another_state_of_the_same_embedder_is_refused(built):
    path = built / INDEX
    meta = json.loads(path.read_text())
    path.write_text(json.dumps(meta | {"embedder": meta["embedder"] | {"revision": "0"}}))
    with pytest.raises(ArtifactError, match="revision differs"):
        opened(built)


def test_another_format_is_refused(built):
    path = built / INDEX
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 0}))
    with pytest.raises(ArtifactError, match="another version of wellread"):
        opened(built)


FILES = (
    "index.json",
    "passages.arrow",
    "vectors/vectors.json",
    "lexical/*.json",
    "lexical/*.npy",
    "answerability.json",
)


@pytest.mark.parametrize("pattern", FILES)
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_index_is_refused(built, pattern, damage):
    opened(built).calibrate([], {})
    for path in built.glob(pattern):
        path.write_bytes(path.read_bytes()[:20]) if damage == "cut" else path.unlink()
    if (pattern, damage) == ("answerability.json", "missing"):
        assert opened(built).threshold > 0
        return
    with pytest.raises(ArtifactError, match="wellread index"):
        opened(built)


def test_parts_of_different_indexes_do_not_fit_together(built):
    folder, _, _ = again(built, page("guide", TOPICS[:2]))
    (folder / "passages.arrow").write_bytes((built / "passages.arrow").read_bytes())
    with pytest.raises(ArtifactError, match="2 vectors and 2 texts for 4 passages"):
        opened(folder)


def test_the_manifest_says_what_it_was_made_with(tmp_path):
    build_index(CHUNKS, WordHashEmbedder(), tmp_path, corpus="c1", chunker={"max_tokens": 64})
    meta = json.loads((tmp_path / INDEX).read_text())
    assert meta == {
        "format": 1,
        "embedder": {"name": "word-hash", "revision": "1", "dimensions": 256},
        "retriever": "",
        "chunker": {"max_tokens": 64},
        "corpus": "c1",
        "counts": {"chunks": 4, "embedded": 4, "removed": 0},
    }
