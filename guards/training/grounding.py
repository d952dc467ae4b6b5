"""Fits the logistic models of `guards.detectors.grounding` and writes them to `guards/weights/grounding.json`.

In: SciFact claims with their abstracts, and documentation in Markdown. The claims teach what paraphrase, missing
evidence and contradiction look like; sentences of the documentation, copied or changed in one place, teach that a copy
is supported and that one changed number, name or negation is enough to lose that.

The threshold is the one of highest balanced accuracy on the claims. Figures of five-fold cross-validation, in which no
claim and no abstract is on both sides, are written beside the weights: those of the claims by label, those of the
documentation by kind of change.

    python -m guards.training.grounding FOLDER_OF_DATA
"""

import argparse
import gzip
import json
import random
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from guards.detectors.grounding import WEIGHTS, Embed, Floats, Model
from guards.detectors.grounding_features import CHANGES, FEATURES, Block, compare
from guards.detectors.grounding_text import NEGATORS, Sentence, opposites, sentences, stem

VERSION = "1"
FOLDS, REPEATS = 5, 4
# Inverse strength of the ridge, on figures scaled to unit variance; 0.02 and 0.005 were no better on the claims.
RIDGE, CHANGE_RIDGE = 0.01, 1.0
# A claim counts more than a sentence of documentation, of which there are many, generated, and easy.
CLAIM_WEIGHT = 4.0
# With 1, a change that is read into a true paraphrase costs the claims 0.01 of their ROC-AUC; with 0.5 and words alone,
# a quarter of the negations passes.
CHANGE_POWER = 0.6
DOC_SENTENCES = 900

_NUMBER = re.compile(r"(?<![\w.,-])\d{1,6}(?:\.\d{1,4})?(?![\w,.-]*\w)")
_VERB = re.compile(r"\b(is|are|was|were|can|will|does|do|must|should|has|have)\b(?! not\b)")
_NOT = re.compile(r"\b(is|are|was|were|can|will|does|do|must|should|has|have)(?: not|not)\b ?")
_WORD = re.compile(r"[A-Za-z]{3,30}")


@dataclass(frozen=True)
class Pair:
    """A claim and its passage. `kind`: the label or the change; `group`: what must not be on both sides of a fold."""

    claim: str
    passage: str
    supported: bool
    kind: str
    group: str


@dataclass(frozen=True)
class Rows:
    """Figures of n pairs: by `FEATURES`, by `CHANGES`, whether supported (1.0 or 0.0), and of which kind."""

    figures: Floats
    changes: Floats
    labels: Floats
    kinds: npt.NDArray[np.str_]

    def take(self, chosen: npt.NDArray[np.bool_]) -> "Rows":
        return Rows(self.figures[chosen], self.changes[chosen], self.labels[chosen], self.kinds[chosen])


def scifact(path: Path) -> list[Pair]:
    """Claims with abstracts; those that share a claim or an abstract, over any number of steps, are one group."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while (parent := parents.setdefault(name, name)) != name:
            name = parent
        return name

    for row in rows:
        parents[root("claim " + row["claim"])] = root("doc " + row["doc_id"])
    return [
        Pair(row["claim"], row["abstract"], row["label"] == "SUPPORT", row["label"], root("doc " + row["doc_id"]))
        for row in rows
    ]


def changed_number(sentence: str, rng: random.Random, _: Sequence[str]) -> str | None:
    """One number replaced by another."""
    found = list(_NUMBER.finditer(sentence))
    if not found:
        return None
    place = rng.choice(found)
    value = place.group()
    other = f"{float(value) + rng.choice([0.5, 1.5, 3.5])}" if "." in value else str(int(value) + rng.randint(1, 40))
    return sentence[: place.start()] + other + sentence[place.end() :]


def changed_name(sentence: str, rng: random.Random, names: Sequence[str]) -> str | None:
    """One name replaced by a name from elsewhere."""
    plain = [name for name in Sentence(0, len(sentence), sentence).names if name.isalpha()]
    places = [match for match in _WORD.finditer(sentence) if match.group().lower() in plain]
    others = [name for name in names if name.lower() not in sentence.lower()]
    if not places or not others:
        return None
    place = rng.choice(places)
    return sentence[: place.start()] + rng.choice(others) + sentence[place.end() :]


def changed_negation(sentence: str, rng: random.Random, _: Sequence[str]) -> str | None:
    """A `not` taken out, or put in after an auxiliary verb."""
    if found := _NOT.search(sentence):
        return f"{sentence[: found.start()]}{found.group(1)} {sentence[found.end() :]}"
    verbs = list(_VERB.finditer(sentence))
    if not verbs or NEGATORS & set(Sentence(0, len(sentence), sentence).words):
        return None
    place = rng.choice(verbs)
    return f"{sentence[: place.end()]} not{sentence[place.end() :]}"


def changed_direction(sentence: str, rng: random.Random, _: Sequence[str]) -> str | None:
    """One word replaced by a word from the other side of its axis."""
    places = [match for match in _WORD.finditer(sentence) if stem(match.group().lower()) in opposites()]
    if not places:
        return None
    place = rng.choice(places)
    here = set(opposites()[stem(place.group().lower())])
    others = [word for word, axes in opposites().items() if any((axis, -side) in here for axis, side in axes)]
    ending = place.group().lower().removeprefix(stem(place.group().lower()))
    return sentence[: place.start()] + rng.choice(sorted(others)) + ending + sentence[place.end() :]


EDITS: dict[str, Callable[[str, random.Random, Sequence[str]], str | None]] = {
    "number": changed_number,
    "name": changed_name,
    "negation": changed_negation,
    "direction": changed_direction,
}


DOC_KINDS = ["copied", "shortened", "left out", *EDITS]


def documentation(texts: Sequence[str], limit: int, seed: int = 5) -> list[Pair]:
    """Sentences of the texts as claims on the stretch they stand in: copied, shortened, changed, and without it.

    Each text is a group of its own. At most `limit` sentences are taken, a random choice of all.
    """
    rng = random.Random(seed)
    stretches = [
        (str(number), stretch, place)
        for number, text in enumerate(texts)
        for stretch in _stretches(text)
        for place, sentence in enumerate(stretch)
        if _proper(sentence)
    ]
    names = sorted({word for _, stretch, place in stretches for word in _spelled_names(stretch[place].text)})
    chosen = rng.sample(stretches, min(limit, len(stretches)))
    return [pair for number, stretch, place in chosen for pair in _doc_pairs(number, stretch, place, names, rng)]


def _doc_pairs(
    group: str, stretch: Sequence[Sentence], place: int, names: Sequence[str], rng: random.Random
) -> Iterator[Pair]:
    claim = stretch[place].text
    passage = " ".join(sentence.text for sentence in stretch)
    without = " ".join(sentence.text for at, sentence in enumerate(stretch) if at != place)
    yield Pair(claim, passage, supported=True, kind="copied", group=group)
    if len(stretch) > 1:
        yield Pair(claim, without, supported=False, kind="left out", group=group)
    part = _shortened(claim, rng)
    if part != claim:
        yield Pair(part, passage, supported=True, kind="shortened", group=group)
    for kind, change in EDITS.items():
        for told in dict.fromkeys([claim, part]):
            if (other := change(told, rng, names)) is not None:
                yield Pair(other, passage, supported=False, kind=kind, group=group)


def _shortened(claim: str, rng: random.Random) -> str:
    """A long sentence without a third to two thirds of its words, at its start or its end."""
    words = claim.split()
    if len(words) <= 10:
        return claim
    cut = rng.randint(len(words) // 3, 2 * len(words) // 3)
    return " ".join(words[cut:]) if rng.random() < 0.5 else " ".join(words[:-cut])


def _stretches(text: str, size: int = 12) -> Iterator[list[Sentence]]:
    found = [sentence for sentence in sentences(text) if _prose(sentence.text)]
    for first in range(0, len(found), size):
        yield found[first : first + size]


def _prose(text: str) -> bool:
    return 20 < len(text) < 400 and not re.match(r"[#|>`:.]", text) and "{" not in text and "http" not in text


def _proper(sentence: Sentence) -> bool:
    return sentence.text.endswith(".") and 6 <= len(sentence.words) <= 45 and len(sentence.stems) >= 3


def _spelled_names(text: str) -> list[str]:
    names = Sentence(0, len(text), text).names
    return [match.group() for match in _WORD.finditer(text) if match.group().lower() in names]


def figures(pairs: Sequence[Pair], embed: Embed | None) -> Rows:
    """The figures of each pair, with vectors or of words alone."""
    stretches = {pair.passage: list(sentences(pair.passage)) for pair in pairs}
    texts = sorted({sentence.text for found in stretches.values() for sentence in found} | {p.claim for p in pairs})
    vectors = None if embed is None else dict(zip(texts, embed(texts), strict=True))
    blocks = {
        passage: Block(0, found, None if vectors is None else np.array([vectors[s.text] for s in found]))
        for passage, found in stretches.items()
    }
    found = []
    for pair in pairs:
        claim = Sentence(0, len(pair.claim), pair.claim)
        vector = None if vectors is None else vectors[pair.claim]
        found.append(compare(claim, blocks[pair.passage], vector))
    return Rows(
        np.array([comparison.row for comparison in found]),
        np.array([comparison.changes for comparison in found]),
        np.array([float(pair.supported) for pair in pairs]),
        np.array([pair.kind for pair in pairs]),
    )


def fit(rows: Floats, labels: Floats, counts: Floats, strength: float) -> tuple[Floats, float]:
    """Factors and intercept of a ridge logistic regression, by Newton's method on scaled figures."""
    centre, spread = rows.mean(0), rows.std(0)
    spread[spread < 1e-9] = np.inf
    scaled = np.hstack([(rows - centre) / spread, np.ones((len(rows), 1))])
    ridge = np.full(scaled.shape[1], 1 / strength)
    ridge[-1] = 1e-6
    found = np.zeros(scaled.shape[1])
    for _ in range(40):
        chance = 1 / (1 + np.exp(-np.clip(scaled @ found, -30, 30)))
        gradient = scaled.T @ (counts * (chance - labels)) + ridge * found
        curvature = (scaled.T * (counts * chance * (1 - chance))) @ scaled + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        found = found - step
        if np.abs(step).max() < 1e-8:
            break
    factors = found[:-1] / spread
    return factors, float(found[-1] - factors @ centre)


def fit_model(rows: Rows) -> Model:
    """Both regressions and the threshold: support from the claims alone, changes from whatever has its evidence."""
    claims = ~np.isin(rows.kinds, DOC_KINDS)
    factors, intercept = fit(rows.figures[claims], rows.labels[claims], np.ones(claims.sum()), RIDGE)
    present = ~np.isin(rows.kinds, ["NOT_ENOUGH_INFO", "left out"])
    counts = np.where(claims, CLAIM_WEIGHT, np.where(rows.labels > 0, 1.0, 0.5))[present]
    change = fit(rows.changes[present], rows.labels[present], counts, CHANGE_RIDGE)
    model = Model(factors, intercept, *change, CHANGE_POWER)
    scores = model.scores(rows.figures[claims], rows.changes[claims])
    return replace(model, threshold=best_threshold(scores, rows.labels[claims]))


def balanced(told: npt.NDArray[np.bool_], labels: Floats) -> float:
    """Mean of the shares of supported and of unsupported claims that are told right."""
    return float(told[labels > 0].mean() + (~told)[labels == 0].mean()) / 2


def best_threshold(scores: Floats, labels: Floats) -> float:
    """Where the balanced accuracy, smoothed over its neighbourhood, is highest."""
    tried = np.quantile(scores, np.linspace(0.2, 0.9, 71))
    reached = np.array([balanced(scores >= threshold, labels) for threshold in tried])
    smooth = np.convolve(np.pad(reached, 3, mode="edge"), np.ones(7) / 7, "valid")
    return float(tried[int(smooth.argmax())])


def folds(pairs: Sequence[Pair], seed: int) -> npt.NDArray[np.int64]:
    """The fold of each pair, whole groups at a time."""
    groups = sorted({pair.group for pair in pairs})
    random.Random(seed).shuffle(groups)
    fold = {group: place % FOLDS for place, group in enumerate(groups)}
    return np.array([fold[pair.group] for pair in pairs])


def out_of_fold(pairs: Sequence[Pair], rows: Rows, seed: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Score of each pair by a model that saw none of its group, and whether that model's threshold was reached."""
    fold, scores, told = folds(pairs, seed), np.zeros(len(pairs)), np.zeros(len(pairs), dtype=bool)
    for held in range(FOLDS):
        unseen = fold == held
        model = fit_model(rows.take(~unseen))
        scores[unseen] = model.scores(rows.figures[unseen], rows.changes[unseen])
        told[unseen] = scores[unseen] >= model.threshold
    return scores, told


def report(pairs: Sequence[Pair], rows: Rows) -> dict[str, Any]:
    """Cross-validated figures, means of several random foldings: of the claims, and of each kind of pair."""
    claims = ~np.isin(rows.kinds, DOC_KINDS)
    runs = [out_of_fold(pairs, rows, seed) for seed in range(REPEATS)]
    share = np.mean([told for _, told in runs], axis=0)
    labels = rows.labels[claims]
    return {
        "balanced_accuracy": round(float(np.mean([balanced(told[claims], labels) for _, told in runs])), 4),
        "roc_auc": round(float(np.mean([roc_auc(scores[claims], labels) for scores, _ in runs])), 4),
        "told_supported": {
            kind: round(float(share[rows.kinds == kind].mean()), 3) for kind in dict.fromkeys(rows.kinds.tolist())
        },
    }


def roc_auc(scores: Floats, labels: Floats) -> float:
    """The chance that a supported claim scores above an unsupported one, ties counting half."""
    ordered = np.sort(scores)
    ranks = (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right") + 1) / 2
    n, m = int((labels > 0).sum()), int((labels == 0).sum())
    return float((ranks[labels > 0].sum() - n * (n + 1) / 2) / (n * m))


def trained(pairs: Sequence[Pair], rows: Rows) -> dict[str, Any]:
    """One model as it is written, with its cross-validated figures."""
    model = fit_model(rows)
    change = {name: round(float(f), 5) for name, f in zip(CHANGES, model.change_factors, strict=True)}
    return {
        "factors": {name: round(float(f), 5) for name, f in zip(FEATURES, model.factors, strict=True)},
        "intercept": round(model.intercept, 5),
        "change": {"factors": change, "intercept": round(model.change_intercept, 5), "power": model.change_power},
        "threshold": round(model.threshold, 3),
        "cross_validated": report(pairs, rows),
    }


def markdown(archive: Path) -> list[str]:
    """The Markdown files of a tar archive, by name."""
    with tarfile.open(archive) as files:
        members = sorted((m for m in files.getmembers() if m.name.endswith(".md")), key=lambda m: m.name)
        return [content.read().decode() for m in members if (content := files.extractfile(m)) is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with ground_scifact and mlops_sites")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    from sentence_transformers import SentenceTransformer

    from guards.training.encoder import base_folder

    embedder = SentenceTransformer(str(base_folder()), device="cpu", local_files_only=True)

    def embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.asarray(embedder.encode(list(texts), normalize_embeddings=True), dtype=np.float32)

    claims = scifact(options.data / "ground_scifact" / "dev" / "data.jsonl.gz")
    docs = documentation(markdown(options.data / "mlops_sites" / "dev" / "mlrun_src.tar.xz"), DOC_SENTENCES)
    pairs = [*claims, *docs]
    models = {"vectors": trained(pairs, figures(pairs, embed)), "words": trained(pairs, figures(pairs, None))}
    content = {
        "version": VERSION,
        "embedder": "all-MiniLM-L6-v2",
        "data": ["SciFact claims (CC BY 4.0) and abstracts (ODC-By 1.0)", "MLRun documentation (Apache-2.0)"],
        "rows": {"claims": len(claims), "documentation": len(docs)},
        "models": models,
    }
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for name, model in models.items():
        print(name, model["threshold"], json.dumps(model["cross_validated"]))  # noqa: T201


if __name__ == "__main__":
    main()
