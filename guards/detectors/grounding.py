"""Is each sentence of an answer supported by the passages it was written from?

An answer and passages in; `support` answers with the best evidence for each sentence, `GroundingGuard` with a verdict
whose spans are the sentences without support. Evidence is weighed by a small logistic model over likeness in words and
in meaning, and over numbers, units, names and negations that are compared exactly (`grounding_features`); its weights
lie in `guards/weights/grounding.json`, with how it was trained. An NLI cross-encoder may have a say as well.

Known limits: English; one sentence is judged by one stretch of one passage at a time, so what follows only from two
passages together looks unsupported; contradictions in other words are found little better than by chance without an
NLI model. A sentence that makes no claim (a question, a greeting, "the documents do not say") is not judged.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from configs.errors import ModelError
from guards.base import NO_CONTEXT, Action, Context, Span, Verdict
from guards.detectors.grounding_features import CHANGES, FEATURES, Block, Comparison, Vectors, compare, covered, weights
from guards.detectors.grounding_nli import Entailment
from guards.detectors.grounding_text import Sentence, sentences

WEIGHTS = Path(__file__).parents[1] / "weights" / "grounding.json"

# Sentences that are compared with a claim at once, and stretches of the passages that share most words with it and are
# looked at: five passages of usual length are looked at in full.
BLOCK, BLOCKS = 24, 8
# Sentences of an answer whose vectors are computed at once.
BATCH = 64

Floats = npt.NDArray[np.float64]
Embed = Callable[[Sequence[str]], Vectors]

_GREETING = re.compile(
    r"(?:hi|hello|hey|welcome|thanks|thank you|you're welcome|sure|of course|certainly|sorry|i'm sorry|i hope|great|"
    r"good (?:morning|afternoon|evening|question)|let me know|feel free|happy to help|glad)\b",
    re.IGNORECASE,
)
_ABSTAINS = re.compile(
    r"\b(?:documents?|passages?|sources?|context) (?:does|do) ?n[o'\u2019]t (?:answer|hold|contain|say|mention|cover)\b"
    r"|\bi (?:do ?n[o'\u2019]t|can ?n[o'\u2019]t|cannot) (?:know|find|answer)\b",
    re.IGNORECASE,
)
_GREETING_WORDS, _ABSTENTION_WORDS = 10, 16

REASONS = {
    "number": "a number in it is not in the sources",
    "name": "a name in it is not in the sources",
    "negation": "the sources say the negated form of it, or it negates what they say",
    "direction": "it says the opposite of a word in the sources",
    "contradiction": "the language model reads the sources as contradicting it",
    "nothing similar": "the sources hold nothing similar enough",
}


@dataclass(frozen=True)
class SentenceSupport:
    """How far the passages support one sentence of the answer.

    Attributes:
        start, end: the sentence in the answer, without the markers around it.
        score: probability that it is supported, 0 to 1.
        passage: number of the passage with the best evidence, from 0; None when there are no passages.
        support_start, support_end: the sentence in that passage that supports it best.
        mismatches: what does not match there: `number`, `name`, `negation`, `direction`, `contradiction`.
    """

    start: int
    end: int
    score: float
    passage: int | None = None
    support_start: int = 0
    support_end: int = 0
    mismatches: tuple[str, ...] = ()


class GroundingGuard:
    """Answers with `action` when a sentence of the answer lacks support in `context.passages`.

    Args:
        action: `Action.FLAG`, `Action.REDACT` or `Action.BLOCK`.
        threshold: lowest probability of support that is enough; None: the one that was best in training.
        embed: from n texts to unit vectors, float32 [n, dimensions]; None: words alone are compared.
        nli: hub name or local folder of a sequence classifier of text pairs that has a label for entailment; it has to
            be on disk with safetensors weights, nothing is fetched.

    Raises:
        ModelError: at the first check, if the NLI model cannot be loaded or has no such label.
    """

    name = "grounding"

    def __init__(
        self,
        *,
        action: Action = Action.FLAG,
        threshold: float | None = None,
        embed: Embed | None = None,
        nli: str | None = None,
    ) -> None:
        self._action = action
        self._threshold = threshold
        self._embed = embed
        self._entailment = None if nli is None else Entailment(nli)

    def warm_up(self) -> None:
        """Load the weights, and the NLI model where there is one, now rather than at the first check."""
        _model(self._kind)
        if self._embed is not None:
            self._embed(["A first sentence."])
        if self._entailment is not None:
            self._entailment.warm_up()

    def check(self, text: str, context: Context = NO_CONTEXT) -> Verdict:
        threshold = _model(self._kind).threshold if self._threshold is None else self._threshold
        judged = support(text, context.passages, embed=self._embed, entailment=self._entailment, context=context)
        unsupported = [sentence for sentence in judged if sentence.score < threshold]
        return Verdict(
            action=self._action if unsupported else Action.ALLOW,
            category=self.name,
            score=min((sentence.score for sentence in judged), default=1.0),
            threshold=threshold,
            reason=_reason(unsupported, judged),
            detector=self.name,
            version=str(_weights()["version"]),
            spans=tuple(Span(sentence.start, sentence.end, "unsupported", "") for sentence in unsupported),
        )

    @property
    def _kind(self) -> str:
        return "words" if self._embed is None else "vectors"


def support(
    text: str,
    passages: Sequence[str],
    *,
    embed: Embed | None = None,
    entailment: Entailment | None = None,
    context: Context = NO_CONTEXT,
) -> list[SentenceSupport]:
    """The support of each sentence of `text` that makes a claim, in order.

    Args:
        text: the answer; citation markers in it do not count.
        passages: what it was written from.
        embed: from n texts to unit vectors, float32 [n, dimensions]; None: words alone are compared.
        entailment: an NLI model whose opinion counts for half of the score.
        context: whose deadline holds; its own passages are not read.

    Raises:
        TimeoutError: the context's deadline has passed.
    """
    claims = [sentence for sentence in sentences(text, context) if makes_claim(sentence)]
    blocks = [block for number, passage in enumerate(passages) for block in _blocks(number, passage, context)]
    model = _model("words" if embed is None else "vectors")
    found = []
    for claim, vector in _with_vectors(claims, embed, context):
        context.check_deadline()
        near = _nearest(claim, blocks)
        _embed_blocks(near, embed)
        compared = [(block, compare(claim, block, vector)) for block in near]
        found.append(_judge(claim, compared, model, entailment))
    return found


def makes_claim(sentence: Sentence) -> bool:
    """Whether the sentence says something that sources could support; see the module's limits."""
    said = sentence.text.rstrip("\"'\u201d\u2019)* ")
    if not (sentence.stems or sentence.numbers) or said.endswith(("?", "\uff1f")):
        return False
    words = len(sentence.words)
    if words <= _GREETING_WORDS and _GREETING.match(said):
        return False
    return not (words <= _ABSTENTION_WORDS and _ABSTAINS.search(said))


@dataclass(frozen=True)
class Model:
    """Two logistic regressions: is the claim supported, and is it a repetition in which nothing was changed?

    Attributes:
        factors, intercept: of the first, over `FEATURES`.
        change_factors, change_intercept: of the second, over `CHANGES`.
        change_power: the second counts by this power, and as 1 where nothing differs; the product is the score.
        threshold: score from which on a sentence counts as supported.
    """

    factors: Floats
    intercept: float
    change_factors: Floats
    change_intercept: float
    change_power: float
    threshold: float = 0.5

    def scores(self, rows: Floats, changes: Floats) -> Floats:
        """Scores of n comparisons, from [n, features] and [n, changes]."""
        unchanged = _logistic(changes @ self.change_factors + self.change_intercept)
        unchanged = np.minimum(1, unchanged / _logistic(np.array(self.change_intercept)))
        found: Floats = _logistic(rows @ self.factors + self.intercept) * unchanged**self.change_power
        return found


def _logistic(logits: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    return found


@cache
def _weights() -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {WEIGHTS}: {error}", "Reinstall wellread, or train the weights again") from error
    return content


@cache
def _model(kind: str) -> Model:
    content = _weights()["models"][kind]
    change = content["change"]
    return Model(
        factors=np.array([content["factors"][name] for name in FEATURES]),
        intercept=content["intercept"],
        change_factors=np.array([change["factors"][name] for name in CHANGES]),
        change_intercept=change["intercept"],
        change_power=change["power"],
        threshold=content["threshold"],
    )


def _blocks(number: int, passage: str, context: Context) -> Iterator[Block]:
    part: list[Sentence] = []
    for sentence in sentences(passage, context):
        part.append(sentence)
        if len(part) == BLOCK:
            context.check_deadline()
            yield Block(number, part)
            part = []
    if part:
        yield Block(number, part)


def _with_vectors(
    claims: Sequence[Sentence], embed: Embed | None, context: Context
) -> Iterator[tuple[Sentence, Vectors | None]]:
    for first in range(0, len(claims), BATCH):
        context.check_deadline()
        batch = claims[first : first + BATCH]
        vectors = [None] * len(batch) if embed is None else _vectors(embed, batch)
        yield from zip(batch, vectors, strict=True)


def _nearest(claim: Sentence, blocks: Sequence[Block]) -> Sequence[Block]:
    if len(blocks) <= BLOCKS:
        return blocks
    wanted = weights(claim)
    return sorted(blocks, key=lambda block: -covered(wanted, block.stems))[:BLOCKS]


def _embed_blocks(blocks: Sequence[Block], embed: Embed | None) -> None:
    fresh = [block for block in blocks if block.vectors is None]
    if embed is None or not fresh:
        return
    vectors = _vectors(embed, [sentence for block in fresh for sentence in block.sentences])
    for block in fresh:
        block.vectors, vectors = vectors[: len(block.sentences)], vectors[len(block.sentences) :]


def _vectors(embed: Embed, found: Sequence[Sentence]) -> Vectors:
    # Tokenizers written in Rust take UTF-8 only.
    texts = [sentence.text.encode("utf-8", "replace").decode("utf-8") for sentence in found]
    return np.asarray(embed(texts), dtype=np.float32)


def _judge(
    claim: Sentence, compared: Sequence[tuple[Block, Comparison]], model: Model, entailment: Entailment | None
) -> SentenceSupport:
    if not compared:
        return SentenceSupport(claim.start, claim.end, 0.0)
    rows, changes = (np.array([getattr(found, part) for _, found in compared]) for part in ("row", "changes"))
    scores = model.scores(rows, changes)
    best = int(scores.argmax())
    if scores[best] < model.threshold:
        # Evidence that says otherwise scores below what hardly speaks of it, but explains more.
        best = max(range(len(compared)), key=lambda place: compared[place][1].alike)
    block, comparison = compared[best]
    evidence = block.sentences[comparison.place]
    score, mismatches = float(scores[best]), comparison.mismatches
    if entailment is not None:
        premise = " ".join(sentence.text for sentence in block.around(comparison.place, 1))
        entailed, contradicted = entailment.judge(premise, claim.text)
        score = (score + entailed) / 2
        mismatches += ("contradiction",) if contradicted else ()
    return SentenceSupport(claim.start, claim.end, score, block.passage, evidence.start, evidence.end, mismatches)


def _reason(unsupported: Sequence[SentenceSupport], judged: Sequence[SentenceSupport]) -> str:
    if not unsupported:
        return "Each statement is supported by the sources." if judged else "It makes no statement to be supported."
    if all(sentence.passage is None for sentence in unsupported):
        return "There are no sources that could support it."
    kinds = Counter(kind for sentence in unsupported for kind in sentence.mismatches or ("nothing similar",))
    sorts = "; ".join(REASONS[kind] for kind, _ in kinds.most_common(2))
    return f"{len(unsupported)} of {len(judged)} statements lack support: {sorts}."
