"""Compares a claim with the sentences around its best evidence, in the figures that the logistic model weighs.

A claim and a block of neighbouring sentences of one passage in, a `Comparison` out: which sentence supports the claim
best, the kinds of mismatch, and a row of `FEATURES`. Without vectors the figures of the embedding are 0, and
the model for words alone is to be used.

Known limits: facts from places far apart do not add up; polarity is read off word lists, so that a contradiction in
other words is missed; and an evidence sentence that says two things may lend the polarity of one to the other.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from guards.detectors.grounding_text import NEGATORS, Sentence, opposites, stem

Vectors = npt.NDArray[np.float32]

# Sentences on either side of the evidence where its subject, its numbers and its names may stand.
NEAR, FAR = 1, 5
# Sentences whose directions are compared: the opposite is often said beside the likeliest evidence.
LIKELY = 3
# Words around a word of direction that tell what it is said of, and before it that may negate it.
SCOPE, NEGATED = 6, 4
# "increases" and "inhibits" contradict each other as much as "increases" and "decreases".
MERGED = {"amount": "more", "effect": "more", "quality": "more"}
# Shares from which on a claim is taken for a repetition of its evidence, in which whatever differs is a change rather
# than a paraphrase: of its pairs of adjacent words, and of its words with names and directions left aside.
LITERAL, REPEATED = 0.7, 0.8

FEATURES = (
    "cosine", "cosine_near", "cosine_far", "cosine_covered",
    "covered", "covered_near", "covered_far", "pairs", "repeated",
    "number_missing", "number_missing_near", "name_missing", "name_missing_far",
    "negation", "opposed", "agreed", "opposed_loosely", "length",
)  # fmt: skip
CHANGES = (
    "repeated_number", "repeated_name", "repeated_negation", "repeated_opposed", "literal_word",
)  # fmt: skip


class Block:
    """Neighbouring sentences of one passage.

    Attributes:
        passage: which passage, from 0.
        sentences: in order.
        vectors: unit vectors of the sentences, float32 [n, dimensions]; None without an embedder.
    """

    def __init__(self, passage: int, sentences: Sequence[Sentence], vectors: Vectors | None = None) -> None:
        self.passage = passage
        self.sentences = sentences
        self.vectors = vectors

    @cached_property
    def stems(self) -> frozenset[str]:
        return frozenset(word for sentence in self.sentences for word in sentence.stems)

    def around(self, place: int, reach: int) -> Sequence[Sentence]:
        return self.sentences[max(0, place - reach) : place + reach + 1]


@dataclass(frozen=True)
class Comparison:
    """Which sentence of the block is the evidence, and how it compares.

    Attributes:
        place: of that sentence in the block.
        alike: how much of the claim stands there, from 0 up; only to rank blocks by.
        mismatches: `number`, `name`, `negation`, `direction`.
        row, changes: the figures of `FEATURES` and of `CHANGES`.
    """

    place: int
    alike: float
    mismatches: tuple[str, ...]
    row: tuple[float, ...]
    changes: tuple[float, ...]


def weights(claim: Sentence) -> dict[str, float]:
    """Content words with what each counts: long words are rarer, and no corpus is at hand to tell more."""
    return {word: math.log1p(len(word)) for word in claim.stems}


def covered(wanted: Mapping[str, float], words: Collection[str]) -> float:
    """The weighted share of the wanted words among `words`, 0 to 1."""
    total = sum(wanted.values())
    return sum(weight for word, weight in wanted.items() if word in words) / total if total else 0.0


def compare(claim: Sentence, block: Block, vector: Vectors | None = None) -> Comparison:
    """Compare a claim with a block of at least one sentence.

    Args:
        claim: a sentence of the answer.
        block: where its evidence may stand.
        vector: unit vector of the claim, float32 [dimensions]; None without an embedder.
    """
    cosines = None if vector is None or block.vectors is None else block.vectors @ vector
    likely = _likeliest(claim, block, cosines)
    place = likely[0]
    best = block.sentences[place]
    figures = _words(claim, block, place) | _facts(claim, block, place)
    if cosines is not None:
        figures |= _cosines(cosines, place)
        figures["cosine_covered"] = figures["cosine"] * figures["covered_near"]
    figures["opposed"], figures["agreed"] = map(float, _polarity(claim, best))
    figures["opposed_loosely"] = float(sum(_loosely_opposed(claim, block.sentences[other]) for other in likely))
    figures["negation"] = float(_negated(claim, best))
    figures["length"] = math.log1p(len(claim.stems))
    row = tuple(figures.get(name, 0.0) for name in FEATURES)
    alike = figures["covered_near"] + figures.get("cosine", 0.0)
    return Comparison(place, alike, tuple(_mismatches(figures)), row, _changes(figures))


def _likeliest(claim: Sentence, block: Block, cosines: Vectors | None) -> list[int]:
    """Places of the sentences likeliest to be the evidence, the best first."""
    wanted = weights(claim)
    rank = np.array([0.5 * covered(wanted, set(sentence.stems)) for sentence in block.sentences])
    if cosines is not None:
        rank = rank + cosines
    return [int(place) for place in np.argsort(-rank, kind="stable")[:LIKELY]]


def _cosines(cosines: Vectors, place: int) -> dict[str, float]:
    return {
        "cosine": float(cosines[place]),
        "cosine_near": float(cosines[max(0, place - NEAR) : place + NEAR + 1].mean()),
        "cosine_far": float(cosines[max(0, place - FAR) : place + FAR + 1].mean()),
    }


def _words(claim: Sentence, block: Block, place: int) -> dict[str, float]:
    wanted, near = weights(claim), block.around(place, NEAR)
    said = list(pairwise(claim.stems))
    near_pairs = {pair for sentence in near for pair in pairwise(sentence.stems)}
    near_words = {word for sentence in near for word in sentence.stems}
    share = covered(wanted, set(block.sentences[place].stems))
    return {
        "covered": share,
        "covered_near": covered(wanted, near_words),
        "covered_far": covered(wanted, {word for sentence in block.around(place, FAR) for word in sentence.stems}),
        "pairs": sum(pair in near_pairs for pair in said) / len(said) if said else share,
        "repeated": _repeated(claim, near_words),
    }


def _repeated(claim: Sentence, words: Collection[str]) -> float:
    """The share of the claim's content words among `words`, names and words of direction left aside."""
    named = {stem(part) for name in claim.names for part in (name, *name.split("-"))}
    rest = {word: weight for word, weight in weights(claim).items() if word not in named and word not in opposites()}
    return covered(rest, words)


def _facts(claim: Sentence, block: Block, place: int) -> dict[str, float]:
    best = [block.sentences[place]]
    return {
        "number_missing": float(_lacks_number(claim, best)),
        "number_missing_near": float(_lacks_number(claim, block.around(place, NEAR))),
        "name_missing": _names_missing(claim, best),
        "name_missing_far": _names_missing(claim, block.around(place, FAR)),
    }


def _changes(figures: Mapping[str, float]) -> tuple[float, ...]:
    """Each mismatch by how far the claim repeats its evidence otherwise, in the order of `CHANGES`."""
    literal = max(0.0, figures["pairs"] - LITERAL) / (1 - LITERAL)
    repeated = max(0.0, figures["repeated"] - REPEATED) / (1 - REPEATED)
    facts = (
        figures["number_missing_near"],
        float(figures["name_missing"] > 0),
        figures["negation"],
        min(1.0, figures["opposed"]),
    )
    return (*(repeated * fact for fact in facts), literal * float(figures["covered_near"] < 1))


def _mismatches(figures: Mapping[str, float]) -> Iterator[str]:
    if figures["number_missing_near"]:
        yield "number"
    if figures["name_missing_far"]:
        yield "name"
    if figures["negation"]:
        yield "negation"
    if figures["opposed"]:
        yield "direction"


def _lacks_number(claim: Sentence, evidence: Sequence[Sentence]) -> bool:
    held = [number for sentence in evidence for number in sentence.numbers]
    # "One" is mostly no number at all.
    wanted = [number for number in claim.numbers if number != (1.0, "")]
    return any(not any(_same_number(number, other) for other in held) for number in wanted)


def _same_number(one: tuple[float, str], other: tuple[float, str]) -> bool:
    same_unit = one[1] == other[1] or not one[1] or not other[1]
    return same_unit and math.isclose(one[0], other[0], rel_tol=1e-9)


def _names_missing(claim: Sentence, evidence: Sequence[Sentence]) -> float:
    """The share of the claim's names that the evidence has neither in full, nor in parts, nor spelled out."""
    words = {word for sentence in evidence for word in (*sentence.words, *sentence.names)}
    stems = {stem(word) for word in words}
    initials = " ".join("".join(word[0] for word in sentence.words) for sentence in evidence)

    def held(name: str) -> bool:
        parts = [part for part in name.replace("_", "-").split("-") if part]
        spelled_out = name.isalpha() and name in initials
        return name in words or spelled_out or all(part in words or stem(part) in stems for part in parts)

    return sum(not held(name) for name in claim.names) / len(claim.names) if claim.names else 0.0


def _negated(claim: Sentence, best: Sentence) -> bool:
    """Whether one of the two is negated and the other is not, in the part of the evidence that speaks of the claim."""
    shared = set(claim.stems) & set(best.stems)
    places = [place for place, word in enumerate(best.words) if stem(word) in shared]
    if not places:
        return False
    part = best.words[max(0, places[0] - 2) : places[-1] + 2]
    return (sum(word in NEGATORS for word in claim.words) % 2) != (sum(word in NEGATORS for word in part) % 2)


def _directions(sentence: Sentence) -> list[tuple[int, str, int]]:
    """Place, axis and side of each word that lies on an axis; a negation before it turns the side round."""
    table, words = opposites(), sentence.words
    found = []
    for place, word in enumerate(words):
        for axis, side in table.get(stem(word), ()):
            turned = sum(before in NEGATORS for before in words[max(0, place - NEGATED) : place]) % 2
            found.append((place, MERGED.get(axis, axis), -side if turned else side))
    return found


def _polarity(claim: Sentence, best: Sentence) -> tuple[int, int]:
    """How many words of direction are opposed, and how many agree, where both are said of the same words."""
    said, held = set(claim.stems), _directions(best)
    claim_stems, best_stems = [stem(word) for word in claim.words], [stem(word) for word in best.words]
    opposed = agreed = 0
    for place, axis, side in _directions(claim):
        subject = said & _near(claim_stems, place)
        shares = [(len(subject & _near(best_stems, at)), other) for at, on, other in held if on == axis]
        most = max((share for share, _ in shares), default=0)
        if most:
            sides = {other for share, other in shares if share == most}
            agreed += side in sides
            opposed += side not in sides
    return opposed, agreed


def _near(stems: Sequence[str], place: int) -> set[str]:
    return set(stems[max(0, place - SCOPE) : place + SCOPE + 1]) - {stems[place]}


def _loosely_opposed(claim: Sentence, sentence: Sentence) -> int:
    """Words of direction that the sentence has only on the other side, whatever they are said of."""
    held = defaultdict(set)
    for _, axis, side in _directions(sentence):
        held[axis].add(side)
    return sum(held[axis] == {-side} for _, axis, side in _directions(claim))
