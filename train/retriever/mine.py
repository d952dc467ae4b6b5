"""Hard negatives: passages that a search brings for a question, and that do not answer it.

In: what a search found, and vectors of questions and passages. Out: rows of negatives for each question. Skipped are
the passages that answer the question and those of their groups; passages that training must not see; and passages
nearly as similar to the question as its own, which often answer it too although nobody has said so (positive-aware
mining, Moreira et al. 2024, "NV-Retriever", TopK-PercPos).

Known limit: similarities are the untrained embedder's; negatives are mined once, not again while training.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.retriever.task import Labelled, Task

Floats = npt.NDArray[np.float32]
NEARLY = 0.95


@dataclass(frozen=True)
class Space:
    """Unit vectors of one embedder: questions [q, dimensions] and passages [p, dimensions]."""

    questions: Floats
    passages: Floats


def hard_negatives(
    task: Task, found: Sequence[Sequence[int]], space: Space, count: int, *, nearly: float = NEARLY, seed: int = 0
) -> list[tuple[int, ...]]:
    """`count` rows for each training question, hardest first; filled up at random where the search brought fewer.

    Args:
        found: for each training question rows that a search found, best first.
        space: vectors of the training questions and of all passages.
        nearly: a passage more similar to the question than this share of its own passage's similarity is skipped.

    Returns:
        For each question at most `count` rows: fewer only where there are no more passages.
    """
    answers = answers_of(task.train)
    draw = random.Random(seed)
    chosen = []
    for place, labelled in enumerate(task.train):
        banned = {task.groups[row] for row in answers[labelled.question]}
        allowed = [row for row in found[place] if row not in task.forbidden and task.groups[row] not in banned]
        own = max(float(space.questions[place] @ space.passages[row]) for row in labelled.rows)
        cosines = space.passages[allowed] @ space.questions[place] if allowed else []
        hard = [row for row, cosine in zip(allowed, cosines, strict=True) if cosine < nearly * own][:count]
        chosen.append((*hard, *_others(task, banned, set(hard), count - len(hard), draw)))
    return chosen


def answers_of(questions: Sequence[Labelled]) -> dict[str, set[int]]:
    """Question -> all rows that answer it, from all places where it is asked."""
    answers: dict[str, set[int]] = {}
    for labelled in questions:
        answers.setdefault(labelled.question, set()).update(labelled.rows)
    return answers


def _others(task: Task, banned: set[str], taken: set[int], count: int, draw: random.Random) -> list[int]:
    """Rows drawn at random; in a large collection a few draws do, so it is not gone through as a whole."""
    others: list[int] = []
    for row in draw.sample(range(len(task.chunks)), min(len(task.chunks), 50 * max(count, 0))):
        if len(others) == count:
            break
        if row not in task.forbidden and row not in taken and task.groups[row] not in banned:
            others.append(row)
    return others
