"""The data profile: what it counts, how exact it is in bounded memory, and that it is the same everywhere."""

import json
import subprocess
import sys
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ArtifactError
from ingest.records import Document, Section
from ingest.versions.profile import (
    BUCKETS,
    DISTANCE_BIN,
    bucket_of,
    place_of,
    profile_documents,
    profile_vectors,
    read_profile,
    words_of,
)
from ingest.versions.sketch import QUANTILES, Sketch, TopCounter, edge


def document(name, text, *, language="en", date="", levels=(1,)):
    sections = tuple(Section(level, f"Heading {level}" if level else "", 0, 0) for level in levels)
    return Document(name, f"https://example.org/docs/{name}", name, text, sections, language, date)


DOCUMENTS = [
    document("a", "The pump moves water.", date="2024-01-02", levels=(0, 1, 2)),
    document("b", "The pump is red. The end.", date="2025-03-04"),
    document("c/d", "Die Pumpe", language="de", levels=()),
    document("e", "水水", language=""),
]


def count(text):
    return len(text.split())


def test_a_profile_counts_what_documents_have():
    profile = profile_documents(DOCUMENTS, count)
    assert profile.documents == 4
    assert (profile.words.total, profile.tokens.smallest, profile.tokens.largest) == (13, 1, 6)
    assert profile.languages == {"en": 2, "de": 1, "und": 1}
    assert profile.years == {"2024": 1, "2025": 1}
    assert (profile.headings.total, profile.heading_levels) == (4, {1: 3, 2: 1})
    assert profile.places == {"https://example.org/docs/": 3, "https://example.org/docs/c/": 1}


def test_a_word_has_the_documents_and_occurrences_that_it_is_in():
    vocabulary = profile_documents(DOCUMENTS, count).vocabulary
    top = {word.word: (word.documents, word.occurrences) for word in vocabulary.top}
    assert top["the"] == (2, 3)
    assert top["pump"] == (2, 2)
    assert top["水"] == (1, 2)
    assert [word.word for word in vocabulary.top[:2]] == ["pump", "the"]
    assert vocabulary.words == sum(vocabulary.buckets.values()) == 14
    assert vocabulary.buckets[bucket_of("the")] == 3
    assert bucket_of("lathe") not in vocabulary.buckets


def test_a_profile_of_nothing_is_a_profile():
    profile = profile_documents([], count)
    assert (profile.documents, profile.words.mean, profile.words.quantiles, profile.vocabulary.top) == (0, 0, {}, ())


def test_what_is_written_is_read_again(tmp_path):
    profile = profile_documents(DOCUMENTS, count)
    profile.write(tmp_path)
    assert read_profile(tmp_path) == profile


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "is missing"), ("{", "is damaged"), ('{"schema_version": 1}', "is damaged"), ("[]", "is damaged")],
)
def test_a_profile_that_cannot_be_read_is_one_line(tmp_path, content, says):
    if content is not None:
        (tmp_path / "profile.json").write_text(content)
    with pytest.raises(ArtifactError, match=says):
        read_profile(tmp_path)


def test_a_profile_of_another_schema_is_refused(tmp_path):
    path = profile_documents(DOCUMENTS, count).write(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99, "later": 1}))
    with pytest.raises(ArtifactError, match="has the schema 99"):
        read_profile(tmp_path)


MANY = [document(str(n), " ".join(chr(97 + (n * k) % 26) * 3 for k in range(40))) for n in range(30)]


def test_the_bytes_do_not_depend_on_the_process():
    # Python's own hash of a string, and with it the order of a set, differs from process to process.
    code = "from tests.ingest.test_profile import *; print(profile_documents(MANY, count).model_dump_json())"
    environment = {"PYTHONHASHSEED": "1"}
    there = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == profile_documents(MANY, count).model_dump_json()


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=200))
def test_quantiles_are_within_one_percent_of_a_value_that_was_there(values):
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    found = sketch.done()
    ordered = sorted(values)
    for share in QUANTILES:
        exact = ordered[int(share * (len(ordered) - 1))]
        # Half a unit more, for values are whole numbers.
        assert abs(found.quantiles[f"{share:g}"] - exact) <= 0.01 * exact + 0.5
    assert found.deviation == pytest.approx(float(np.std(np.array(values, dtype=np.float64))), rel=1e-6, abs=1e-4)
    assert (found.count, found.total, found.smallest, found.largest) == (
        len(values),
        sum(values),
        ordered[0],
        ordered[-1],
    )


@given(st.integers(1, 10**9))
def test_a_value_lies_between_the_edges_of_its_bin(value):
    sketch = Sketch()
    sketch.add(value)
    (number,) = sketch.done().bins
    assert edge(number - 1) * (1 - 1e-9) <= value <= edge(number) * (1 + 1e-9)


@given(st.permutations([*range(40), *range(20), 3, 3]))
def test_a_distribution_does_not_depend_on_the_order(values):
    one, other = Sketch(), Sketch()
    for value in values:
        one.add(value)
    for value in sorted(values):
        other.add(value)
    assert one.done() == other.done()


@given(st.lists(st.integers(0, 60), max_size=400))
def test_a_counter_without_room_is_too_low_by_no_more_than_it_says(values):
    counter = TopCounter(capacity=8)
    for value in values:
        counter.add([str(value)])
    top = counter.top(100)
    assert len(top) <= 16
    for kind, found in top:
        exact = values.count(int(kind))
        assert exact - counter.undercounted <= found <= exact
    missing = {str(value) for value in values} - {kind for kind, _ in top}
    assert all(values.count(int(kind)) <= counter.undercounted for kind in missing)


def test_frequent_words_survive_among_endless_rare_ones():
    counter = TopCounter(capacity=100)
    for number in range(5000):
        counter.add(["common", f"rare{number}"])
    assert counter.top(1)[0][0] == "common"
    assert counter.top(1)[0][1] >= 5000 - counter.undercounted


def test_vectors_have_a_centroid_and_distances_to_it():
    vectors = np.array([[1, 0], [0, 1], [1, 0], [-1, 0]], dtype=np.float32)
    profile = profile_vectors(vectors, "some-model")
    assert (profile.vectors, profile.centroid) == (4, [0.25, 0.25])
    near, far = 1 - 0.5**0.5, 1 + 0.5**0.5
    assert profile.distances == {ceil(near / DISTANCE_BIN) - 1: 3, ceil(far / DISTANCE_BIN) - 1: 1}
    assert profile.distance_mean == pytest.approx((3 * near + far) / 4, abs=1e-5)


def test_vectors_in_many_blocks_are_profiled_as_in_one(monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    whole = profile_vectors(vectors, "m")
    monkeypatch.setattr("ingest.versions.profile.VECTORS_AT_ONCE", 64)
    assert profile_vectors(vectors, "m") == whole
    assert sum(whole.distances.values()) == 500


def test_no_vectors_have_a_profile_too(tmp_path):
    profile = profile_vectors(np.zeros((0, 3), dtype=np.float32), "m")
    assert (profile.vectors, profile.centroid, profile.distances) == (0, [0.0, 0.0, 0.0], {})
    assert json.loads(profile.write(tmp_path).read_text())["embedder"] == "m"


@given(st.text())
def test_every_word_has_a_bucket(text):
    assert all(0 <= bucket_of(word) < BUCKETS for word in words_of(text))


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://example.org/a/b.html?x=/y", "https://example.org/a/"),
        ("https://example.org", "https://example.org/"),
        ("file:///home/x/a.md", "file:///home/x/"),
        ("row 7", "/"),
        ("http://[broken", "http://[broken/"),
    ],
)
def test_the_place_of_an_address_is_the_folder_that_it_is_in(url, place):
    assert place_of(url) == place
