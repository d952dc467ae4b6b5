import random
from collections.abc import Sequence

import numpy as np
import pytest

from ingest.search.collapse import groups

WORDS = [f"word{number}" for number in range(400)]


def passage(seed: int, length: int = 80) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def changed(text: str, count: int, seed: int = 0) -> str:
    words = text.split()
    for at in random.Random(seed).sample(range(len(words)), count):
        words[at] = f"new{at}"
    return " ".join(words)


def by_brute_force(texts: Sequence[str], threshold: float) -> list[int]:
    sets = []
    for text in texts:
        words = text.casefold().split()
        sets.append(set(zip(words, words[1:], words[2:], strict=False)))
    firsts: list[int] = []
    for place, own in enumerate(sets):
        similar = (
            earlier
            for earlier in range(place)
            if firsts[earlier] == earlier and own and len(own & sets[earlier]) / len(own | sets[earlier]) > threshold
        )
        firsts.append(next(similar, place))
    return firsts


def test_repeats_point_at_the_first_of_their_kind() -> None:
    one, other = passage(1), passage(2)
    assert groups([one, other, one.upper(), changed(one, 1), other + "  \n", passage(3)], 0.9) == [0, 1, 0, 0, 1, 5]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.8, 0.9, 0.99])
def test_it_is_exact(threshold: float) -> None:
    texts = [passage(number) for number in range(12)]
    for number in range(60):
        texts.append(changed(random.Random(number).choice(texts), number % 9, number))
    texts += ["a b c " * 30, "a b c " * 31, "b c a " * 30, passage(1, 10) + " " + passage(2, 70)]
    random.Random(7).shuffle(texts)
    found = groups(texts, threshold)
    assert found == by_brute_force(texts, threshold)
    assert any(first != place for place, first in enumerate(found))


def test_thresholds_at_the_ends() -> None:
    same = [passage(1)] * 4
    assert groups(same, 1.0) == [0, 1, 2, 3]
    assert groups(same, 0.999) == [0, 0, 0, 0]
    assert groups([passage(1), passage(2)], 0.0) == [0, 1]


def test_few_and_empty_texts() -> None:
    assert groups([], 0.9) == []
    assert groups(["once"], 0.9) == [0]
    assert groups(["", "", "...", "?!"], 0.5) == [0, 1, 2, 3]
    assert groups(["Two words", "two  words", "three of them"], 0.9) == [0, 0, 2]


def test_texts_that_drift_are_compared_with_the_first_only() -> None:
    steps = [passage(5)]
    for number in range(10):
        steps.append(changed(steps[-1], 3, number))
    found = groups(steps, 0.7)
    assert found[1] == 0
    assert len(set(found)) > 2
    assert found == by_brute_force(steps, 0.7)


def test_other_scripts() -> None:
    first = "索引保存所有文档的向量以便快速搜索"
    assert groups([first, first + "。", "完全不同的另一段文字没有共同之处"], 0.8) == [0, 0, 2]
    assert np.all(np.array(groups(["ein Straßenname\u0301 hier", "EIN STRASSENNAME\u0301 HIER"], 0.9)) == 0)
