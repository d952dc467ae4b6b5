"""Answerability: how well it is told whether the documents hold the answer, beside the best cosine alone.

In: folders of queries with known relevant documents, `NAME/common/corpus.jsonl.gz` (_id, title, text),
`NAME/dev/queries.jsonl.gz` (_id, text) and `NAME/dev/qrels.tsv`. Out: JSON.

Every question is asked of the whole corpus (answerable), and with all its relevant documents hidden (not answerable);
the questions of `ingest/search/off_topic.txt` are asked of each corpus, too (not answerable). Judgements are never
complete, so some questions with their relevant documents hidden are answered by what nobody judged; where many
documents are relevant to a question, nearly all are, and no score can tell the two apart.

For each set the model is fitted on the *other* sets, so that its figures are those of documents that it has never seen:
the area under the ROC curve against hidden and against off-topic questions, with 95% intervals, and `better`, the 95%
interval of the gain over the best cosine from resampled questions. `thresholds` are fitted as an index's is, on one
half of the questions, and tried on the other: the shares answered and refused by the model, by the best cosine, and by
a fixed cosine of 0.3. `calibration` is the mean difference between probability and outcome
there (expected calibration error in ten bins), at even odds.

With `--fit FILE`, also writes the model fitted on all sets, as it ships in `ingest/search/answerable.json`.

    python -m bench.answerability --data FOLDER [--vectors FOLDER] [--fit FILE]

`--vectors`: a folder of `NAME.corpus.npy` and `NAME.queries.npy`, unit vectors in the order of the files, to embed
nothing anew.
"""

import argparse
import gzip
import json
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from ingest.embed import Embedder, Vectors, load_embedder
from ingest.records import Chunk, stable_id
from ingest.search.answerable import FEATURES, Answerability, Floats, Weight, features, sigmoid
from ingest.search.base import Mask, Ranking, Retrieved
from ingest.search.calibrate import auc, auc_interval, fit_threshold, off_topic_questions
from ingest.search.lexical import Lexical

SETS = ("qa_xquad_en", "retr_scifact", "retr_cranfield", "retr_npl", "retr_med", "retr_cisi")
EMBEDDER = "embedded:all-MiniLM-L6-v2"
CANDIDATES = 100
# Of the unanswerable questions' weight, what the off-topic ones have.
OFF_TOPIC = 0.5
RESAMPLED = 1000


@dataclass(frozen=True)
class Question:
    """A question, its vector, and the rows of the documents that answer it."""

    text: str
    vector: Vectors
    relevant: tuple[int, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """The features of a set's questions, float64 [n, features]; `hidden` in the order of `answerable`."""

    answerable: Floats
    hidden: Floats
    off_topic: Floats
    seconds: float = field(default=0.0, compare=False)

    @property
    def unanswerable(self) -> Floats:
        """Both kinds."""
        return np.concatenate([self.hidden, self.off_topic])


class Corpus:
    """Documents that are searched by meaning and by words."""

    def __init__(self, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        self.chunks, self.vectors = chunks, vectors
        self.lexical = Lexical.of(chunks)

    def search(self, question: Question, hidden: Sequence[int] = ()) -> Retrieved:
        """Both rankings, which is what answerability is judged by."""
        allowed: Mask = np.ones(len(self.chunks), np.bool_)
        allowed[list(hidden)] = False
        cosines = np.where(allowed, self.vectors @ question.vector, -2.0)
        rows = np.argsort(-cosines, kind="stable")[: min(CANDIDATES, int(allowed.sum()))]
        dense = Ranking(rows, cosines[rows].astype(np.float32))
        lexical = self.lexical.search(question.text, CANDIDATES, allowed)
        return Retrieved(question.text, dense=dense, lexical=lexical)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a gzipped JSONL file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@cache
def embedder() -> Embedder:
    """The one that ships with the install."""
    return load_embedder(EMBEDDER, "cpu")


def vectors_of(texts: Sequence[str], file: Path | None) -> Vectors:
    """Unit vectors of texts, from a file where there is one."""
    if file and file.exists():
        vectors = np.load(file)
        if len(vectors) != len(texts):
            raise SystemExit(f"{file} has {len(vectors)} vectors for {len(texts)} texts")
        return np.asarray(vectors, np.float32)
    order = np.argsort([len(text) for text in texts], kind="stable")
    vectors = np.zeros((len(texts), embedder().dimensions), np.float32)
    for start in range(0, len(texts), 256):
        part = order[start : start + 256]
        vectors[part] = embedder().encode([texts[row] for row in part])
    return vectors


def read_set(folder: Path, name: str, cached: Path | None, most: int) -> tuple[Corpus, list[Question]]:
    """A set's corpus, and a sample of at most so many of its questions."""
    documents = lines_of(folder / name / "common" / "corpus.jsonl.gz")
    chunks = [
        Chunk(stable_id(row["_id"]), row["_id"], "", row.get("title", ""), (), row["text"], 0, 0) for row in documents
    ]
    texts = [f"{row.get('title', '')}\n{row['text']}".strip() for row in documents]
    corpus = Corpus(chunks, vectors_of(texts, cached and cached / f"{name}.corpus.npy"))
    place = {row["_id"]: number for number, row in enumerate(documents)}
    questions: list[Question] = []
    for part, judgements in (("queries", "qrels"), ("train_queries", "train_qrels")):
        file = folder / name / "dev" / f"{part}.jsonl.gz"
        if not file.exists():
            continue
        relevant = defaultdict(set)
        for line in (folder / name / "dev" / f"{judgements}.tsv").read_text().splitlines():
            query, document, *_, grade = line.split("\t")
            if document in place and grade != "0":
                relevant[query].add(place[document])
        asked = lines_of(file)
        vectors = vectors_of([row["text"] for row in asked], cached and cached / f"{name}.{part}.npy")
        for row, vector in zip(asked, vectors, strict=True):
            if relevant[row["_id"]]:
                questions.append(Question(row["text"], vector, tuple(sorted(relevant[row["_id"]]))))
    chosen = np.random.default_rng(1).permutation(len(questions))[:most]
    return corpus, [questions[number] for number in sorted(chosen)]


def gather(corpus: Corpus, questions: Sequence[Question]) -> Evidence:
    """The features of all questions, with and without what answers them, and of the off-topic ones."""
    texts = off_topic_questions()
    others = [Question(text, vector) for text, vector in zip(texts, off_topic_vectors(), strict=True)]
    started = time.perf_counter()
    answerable = np.array([_features(corpus, one) for one in questions])
    hidden = np.array([_features(corpus, one, one.relevant) for one in questions])
    off_topic = np.array([_features(corpus, one) for one in others])
    return Evidence(answerable, hidden, off_topic, time.perf_counter() - started)


@cache
def off_topic_vectors() -> Vectors:
    """Of `off_topic_questions`."""
    return embedder().encode(off_topic_questions())


def _features(corpus: Corpus, question: Question, hidden: Sequence[int] = ()) -> Floats:
    return features(corpus.search(question, hidden), corpus.lexical)


def fit(sets: Sequence[Evidence]) -> Answerability:
    """Logistic regression; a set weighs as much as it has questions, and its two kinds the same."""
    rows, targets, weights = [], [], []
    for one in sets:
        count = len(one.answerable)
        for kind, target, share in (
            (one.answerable, 1, 1.0),
            (one.hidden, 0, 1 - OFF_TOPIC),
            (one.off_topic, 0, OFF_TOPIC),
        ):
            rows.append(kind)
            targets += [target] * len(kind)
            weights += [share * count / len(kind)] * len(kind)
    values = np.concatenate(rows)
    centre, scale = values.mean(0), values.std(0)
    model = LogisticRegression().fit((values - centre) / scale, targets, sample_weight=weights)
    parts = zip(FEATURES, centre, scale, model.coef_[0], strict=True)
    coefficients = {
        name: Weight(centre=round(float(c), 6), scale=round(float(s), 6), coefficient=round(float(w), 6))
        for name, c, s, w in parts
    }
    found = Answerability(weights=coefficients, intercept=round(float(model.intercept_[0]), 6), threshold=0.5)
    return found.model_copy(update={"threshold": round(min(_threshold(found, one) for one in sets), 3)})


def _threshold(model: Answerability, one: Evidence) -> float:
    """The threshold that is fitted to a set, as a probability by the model as it ships.

    The lowest of several sets' answers nearly all that can be answered, also where nothing could be fitted.
    """
    fitted = fit_threshold(_log_odds(model, one.answerable), _log_odds(model, one.unanswerable))
    if fitted is None or not 0 < fitted.threshold < 1:
        return model.threshold
    log_odds = math.log(fitted.threshold / (1 - fitted.threshold))
    return sigmoid((log_odds - fitted.offset) / fitted.slope)


def _log_odds(model: Answerability, rows: Floats) -> Floats:
    return np.array([model.log_odds(row) for row in rows])


def compare(model: Answerability, one: Evidence) -> dict[str, Any]:
    """Areas under the curve of the model and of the best cosine, and the gain."""
    score = {kind: _log_odds(model, getattr(one, kind)) for kind in ("answerable", "hidden", "off_topic")}
    figures: dict[str, Any] = {"questions": len(one.answerable)}
    for kind in ("hidden", "off_topic"):
        ours, theirs = auc(score["answerable"], score[kind]), auc(one.answerable[:, 0], getattr(one, kind)[:, 0])
        figures[kind] = {"auc": _with_interval(ours, one, kind), "cosine_auc": _with_interval(theirs, one, kind)}
    figures["hidden"]["better"] = gain(score["answerable"], score["hidden"], one)
    return figures


def _with_interval(area: float, one: Evidence, kind: str) -> list[float]:
    low, high = auc_interval(area, len(one.answerable), len(getattr(one, kind)))
    return [round(value, 3) for value in (area, low, high)]


def gain(answerable: Floats, hidden: Floats, one: Evidence) -> list[float]:
    """95% interval of the model's area minus the cosine's, by resampling questions with both their forms."""
    rng = np.random.default_rng(3)
    gains = []
    for _ in range(RESAMPLED):
        rows = rng.integers(0, len(answerable), len(answerable))
        theirs = auc(one.answerable[rows, 0], one.hidden[rows, 0])
        gains.append(auc(answerable[rows], hidden[rows]) - theirs)
    return [round(float(value), 3) for value in np.percentile(gains, [2.5, 97.5])]


def try_threshold(model: Answerability, one: Evidence) -> dict[str, Any] | None:
    """Thresholds fitted on every other question, the model's and one of the best cosine, tried on the rest."""
    kinds = (one.answerable, one.hidden, one.off_topic)
    cosines = [rows[:, 0] for rows in kinds]
    figures: dict[str, Any] = {}
    for name, scores in {"model": [_log_odds(model, rows) for rows in kinds], "cosine": cosines}.items():
        fitted = fit_threshold(scores[0][::2], np.concatenate([scores[1][::2], scores[2][::2]]))
        if fitted is None:
            return None
        here = [1 / (1 + np.exp(-(fitted.slope * values[1::2] + fitted.offset))) for values in scores]
        figures[name] = _shares(here, fitted.threshold)
        if name == "model":
            figures[name]["calibration"] = round(calibration(here[0], np.concatenate(here[1:])), 3)
    return {**figures, "cosine_030": _shares([values[1::2] for values in cosines], 0.3)}


def _shares(scores: Sequence[Floats], threshold: float) -> dict[str, float]:
    answered, hidden, off_topic = (float((values >= threshold).mean()) for values in scores)
    shares = {"answered": answered, "hidden_refused": 1 - hidden, "off_topic_refused": 1 - off_topic}
    return {name: round(share, 3) for name, share in shares.items()}


def calibration(yes: Floats, no: Floats, bins: int = 10) -> float:
    """Expected calibration error, both kinds weighing the same."""
    chance = np.concatenate([yes, no])
    target = np.concatenate([np.ones(len(yes)), np.zeros(len(no))])
    weight = np.concatenate([np.full(len(yes), 0.5 / len(yes)), np.full(len(no), 0.5 / len(no))])
    place = np.minimum((chance * bins).astype(int), bins - 1)
    off = np.bincount(place, weight * (chance - target), bins)
    return float(np.abs(off).sum())


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of sets")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--vectors", type=Path, help="folder of vectors")
    parser.add_argument("--most", type=int, default=500, help="questions of a set")
    parser.add_argument("--fit", type=Path, help="file for the model fitted on all sets")
    options = parser.parse_args()
    evidence = {name: gather(*read_set(options.data, name, options.vectors, options.most)) for name in options.sets}
    figures: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "embedder": EMBEDDER,
        "scikit-learn": metadata.version("scikit-learn"),
    }
    for name, one in evidence.items():
        model = fit([other for key, other in evidence.items() if key != name] or [one])
        searches = 2 * len(one.answerable) + len(one.off_topic)
        figures[name] = {
            **compare(model, one),
            "thresholds": try_threshold(model, one),
            "ms_per_question": round(1000 * one.seconds / searches, 2),
        }
    if options.fit:
        made_with = {"sets": list(evidence), "embedder": EMBEDDER, "date": figures["date"]}
        everything = fit(list(evidence.values())).model_copy(update={"made_with": made_with})
        options.fit.write_text(json.dumps(everything.model_dump(), indent=1) + "\n")
        figures["coefficients"] = {name: weight.coefficient for name, weight in everything.weights.items()}
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
