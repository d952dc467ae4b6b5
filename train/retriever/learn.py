"""One round of training the embedder: mine hard negatives, train, compare with the untrained one on held-out questions.

In: a `Task`, an embedder, and how people are served. Out: `folder/model`, and the comparison. What takes long is kept
in the folder until all is done (vectors of the untrained embedder, checkpoints, the trained weights), so that a run
that was killed goes on where it was.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs.artifacts import save_array, write_text_atomic
from configs.errors import ArtifactError
from ingest.embed import Embedder
from ingest.embed_source import Prefixes, source_of
from ingest.passages import PASSAGES, Passages, write_passages
from ingest.retriever_in_use import MODEL
from ingest.search.hybrid import Ranker
from ingest.search.lexical import Lexical
from train.retriever.judge import Judgement, judge, rank
from train.retriever.mine import Space, hard_negatives
from train.retriever.task import Task

# Imported where something is trained: torch and sentence-transformers take seconds.
if TYPE_CHECKING:
    from train.retriever.fit import Recipe, Triple

Progress = Callable[[str, int, int | None], None]
FIT, BASE = "fit.json", "base.npy"
AT_ONCE = 256
# Deep enough that some are left when answers, and passages too similar to judge, are skipped.
MINED_FROM = 50


@dataclass(frozen=True)
class Base:
    """The embedder to start from.

    Attributes:
        name: what it is loaded by.
        load: loads an embedder by its name, or from a folder.
        device: `auto`, `cpu` or `cuda`; where it is trained.
    """

    name: str
    load: Callable[[str], Embedder]
    device: str = "auto"


@dataclass(frozen=True)
class Learned:
    """What came of it.

    Attributes:
        figures: of training, as `train.retriever.fit.fit` returns them.
        before, after: vectors of the held-out questions and of the passages, by the untrained and the trained embedder.
    """

    judgement: Judgement
    figures: dict[str, float]
    before: Space
    after: Space


def learn(
    task: Task, base: Base, folder: Path, recipe: "Recipe", ranker: Ranker, *, negatives: int, progress: Progress
) -> Learned:
    """Train in `folder`.

    Args:
        ranker: how people are served; its mode does not matter.
        negatives: hard negatives for each question, from what BM25 finds.

    Raises:
        ArtifactError: there is no question to train with, or none to judge with.
        ModelError: the embedder cannot be loaded, or training it diverged.
    """
    _check(task)
    questions = [labelled.question for labelled in (*task.train, *task.holdout)]
    lexical = Lexical.of(task.chunks)
    untrained = base.load(base.name)
    before = _kept_space(task, questions, untrained, folder, progress)
    cut = len(task.train)
    if not (folder / FIT).exists():
        found = [lexical.search(question, MINED_FROM).rows.tolist() for question in questions[:cut]]
        triples = _triples(task, before, found, untrained.prefixes, negatives, recipe.seed)
        figures = _fit(base, triples, folder, recipe, progress)
        write_text_atomic(folder / FIT, json.dumps(figures) + "\n")
    after = _space(task, questions[cut:], base.load(str(folder / MODEL)), "embedding again", progress)
    asked = Space(before.questions[cut:], before.passages)
    progress("comparing", 0, None)
    write_passages(folder, task.chunks)
    passages = Passages.load(folder)
    was, now = (rank(questions[cut:], passages, lexical, space, ranker) for space in (asked, after))
    judgement = judge(task.holdout, was, now, recipe.seed)
    figures = json.loads((folder / FIT).read_text())
    for name in (BASE, FIT, PASSAGES):
        (folder / name).unlink()
    return Learned(judgement, figures, asked, after)


def _check(task: Task) -> None:
    for half, named in ((task.train, "to learn from"), (task.holdout, "held out, to judge with")):
        if not half:
            raise ArtifactError(
                f"among {len(task.chunks)} passages there is no question {named}",
                "Read more documents, then run `wellread examples`, or change examples.holdout_share",
            )


def _fit(base: Base, triples: "list[Triple]", folder: Path, recipe: "Recipe", progress: Progress) -> dict[str, float]:
    from train.retriever.fit import fit, load_model

    model = load_model(str(source_of(base.name)), base.device)
    return fit(model, triples, folder / MODEL, recipe, lambda done, total: progress("training", done, total))


def _triples(
    task: Task, space: Space, found: Sequence[Sequence[int]], prefixes: Prefixes, count: int, seed: int
) -> "list[Triple]":
    """One for each question to learn from and passage that answers it.

    Args:
        found: for each of these questions rows that a search found, best first.
    """
    from train.retriever.fit import Triple

    learned = Space(space.questions[: len(task.train)], space.passages)
    negatives = hard_negatives(task, found, learned, count, seed=seed)
    return [
        Triple(
            prefixes.query + labelled.question,
            prefixes.passage + (labelled.shown or task.passages[row]),
            tuple(prefixes.passage + task.passages[negative] for negative in rows),
        )
        for labelled, rows in zip(task.train, negatives, strict=True)
        for row in labelled.rows
    ]


def _kept_space(task: Task, questions: Sequence[str], embedder: Embedder, folder: Path, progress: Progress) -> Space:
    kept = folder / BASE
    if not kept.exists():
        space = _space(task, questions, embedder, "embedding", progress)
        save_array(kept, np.concatenate([space.questions, space.passages]))
    vectors = np.load(kept, allow_pickle=False)
    return Space(vectors[: len(questions)], vectors[len(questions) :])


def _space(task: Task, questions: Sequence[str], embedder: Embedder, what: str, progress: Progress) -> Space:
    total = len(task.passages)
    # Texts of like length share a batch, or the padding costs more than the words.
    order = np.argsort([len(text) for text in task.passages], kind="stable")
    vectors = np.zeros((total, embedder.dimensions), np.float32)
    for start in range(0, total, AT_ONCE):
        rows = order[start : start + AT_ONCE]
        vectors[rows] = embedder.encode_passages([task.passages[row] for row in rows.tolist()])
        progress(what, min(start + AT_ONCE, total), total)
    return Space(embedder.encode_queries(questions), vectors)
