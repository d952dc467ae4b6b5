"""What is near a topic of the corpus passes, and what is far from all of them does not."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from guards.base import Action, Context
from guards.detectors.topic import TopicGuard, centroids, threshold_for

CORPUS = [
    *("restore the database from a backup", "the database backup is written nightly", "a database dump and its backup"),
    *("bake bread with flour and yeast", "the bread dough needs flour", "yeast makes bread dough rise"),
]


def embed(texts):
    """Counts of words in 256 buckets."""
    vectors = np.zeros((len(texts), 256), dtype=np.float32)
    for row, text in enumerate(texts):
        for word in text.lower().split():
            vectors[row, zlib.crc32(word.encode()) % 256] += 1
    return vectors


TOPICS = centroids(embed(CORPUS), 2)


def test_near_texts_pass_and_far_ones_are_flagged():
    guard = TopicGuard(centroids=TOPICS, embed=embed, threshold=0.2)
    assert guard.check("how is the database backup written").action is Action.ALLOW
    assert guard.check("flour for bread").action is Action.ALLOW
    verdict = guard.check("who won last night's football match")
    assert (verdict.action, verdict.category) == (Action.FLAG, "off_topic")
    assert verdict.score < verdict.threshold


def test_topics_are_unit_vectors_that_part_the_corpus():
    assert TOPICS.shape == (2, 256)
    assert np.linalg.norm(TOPICS, axis=1) == pytest.approx([1.0, 1.0])
    nearest = np.argmax(embed(CORPUS) @ TOPICS.T, axis=1)
    assert len(set(nearest[:3])) == len(set(nearest[3:])) == 1
    assert nearest[0] != nearest[3]


def test_there_are_no_more_topics_than_vectors():
    assert centroids(np.eye(3), 10).shape == (3, 3)
    assert centroids(np.ones((5, 2)), 4).shape == (4, 2)
    with pytest.raises(ValueError, match="at least 1"):
        centroids(np.zeros((0, 3)), 2)


def test_the_threshold_leaves_the_share_out():
    angles = np.linspace(0, np.pi / 2, 101)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert threshold_for(vectors, np.array([1.0, 0.0]), refused=0.5) == pytest.approx(np.cos(np.pi / 4))


def test_short_texts_and_empty_ones_are_not_judged():
    guard = TopicGuard(centroids=TOPICS, embed=embed, threshold=0.9, action=Action.BLOCK)
    assert guard.check("hi").action is Action.ALLOW
    assert guard.check("").action is Action.ALLOW
    assert guard.check("zzzzzzzzzz").action is Action.BLOCK


def test_the_best_piece_of_a_long_text_counts():
    guard = TopicGuard(centroids=TOPICS, embed=embed, threshold=0.2)
    other = "nothing of interest here. " * 200
    assert guard.check(other).action is Action.FLAG
    assert guard.check(other + f"{CORPUS[0]}. " * 40).action is Action.ALLOW


@pytest.mark.parametrize("topics", [np.zeros((1, 3)), np.array([[np.nan, 1.0]])])
def test_what_is_no_topic_is_refused(topics):
    with pytest.raises(ConfigError, match="no vectors"):
        TopicGuard(centroids=topics, embed=embed)


def test_the_deadline_is_kept():
    with pytest.raises(TimeoutError):
        TopicGuard(centroids=TOPICS, embed=embed).check("a long enough text", Context(deadline=0.0))


@given(st.text(max_size=100))
def test_any_text_has_a_cosine(text):
    assert -1.001 <= TopicGuard(centroids=TOPICS, embed=embed).check(text).score <= 1.001
