"""Error rates, calibration and speed of the grounding guard, beside simpler measures of support on the same pairs.

In: SciFact claims, each as an answer of one sentence with an abstract as its passage; and the Markdown of `docs/`, of
which sentences are copied or changed in one place. Out: figures, each method with the same five foldings, in which no
claim and no abstract is on both sides: ours trained, the peers' thresholds tuned, on the other four fifths.

Peers: ROUGE-L recall of the claim against the best sentence, the share of its words that the abstract holds, and the
cosine of the packaged sentence embedder with the best sentence. `shipped` is ours as it is installed; where the data
are those it was trained on, that figure is in-sample. `cross_validated` is fitted to the claims alone; `training` has
the cross-validated figures of the installed weights, which also learned from changed documentation: those to quote.
"""

import json
import platform
import re
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from guards.base import Action, Context
from guards.detectors.grounding import WEIGHTS, GroundingGuard, support
from guards.detectors.grounding_text import sentences
from guards.training.grounding import (
    REPEATS,
    Pair,
    balanced,
    best_threshold,
    documentation,
    figures,
    folds,
    out_of_fold,
    roc_auc,
    scifact,
)

DOCS = Path(__file__).parents[1] / "docs"
LABELS = ("SUPPORT", "CONTRADICT", "NOT_ENOUGH_INFO")
_WORD = re.compile(r"\w+")


def measure(data: Path, *, threads: int = 1) -> dict[str, Any]:
    """All figures. `data` holds `ground_scifact`, or is that folder."""
    embed = _embedder(threads)
    pairs = scifact(_file(data))
    docs = documentation([page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("*.md"))], 300, seed=11)
    return {
        "n": {"claims": len(pairs), "documentation": len(docs)},
        "versions": {"python": platform.python_version(), "numpy": metadata.version("numpy")},
        "scifact": {name: _tuned(pairs, scores) for name, scores in _peers(pairs, embed).items()}
        | {f"ours, {name}": _ours(pairs, used) for name, used in (("vectors", embed), ("words", None))},
        "training": {
            name: model["cross_validated"]
            for name, model in json.loads(WEIGHTS.read_text(encoding="utf-8"))["models"].items()
        },
        "documentation": {name: _told(docs, used) for name, used in (("vectors", embed), ("words", None))},
        "milliseconds_per_sentence": _speed(pairs[:100], embed),
        "nli": "no NLI model is packaged: not measured",
    }


def curves(data: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Labels (1: supported) and scores; ours out of fold."""
    embed = _embedder(1)
    pairs = scifact(_file(data))
    labels = [int(pair.supported) for pair in pairs]
    found = {name: (labels, list(map(float, scores))) for name, scores in _peers(pairs, embed).items()}
    for name, used in (("vectors", embed), ("words", None)):
        scores, _ = out_of_fold(pairs, figures(pairs, used), seed=0)
        found[f"ours, {name}"] = (labels, list(map(float, scores)))
    return found


def _file(data: Path) -> Path:
    inside = data / "ground_scifact"
    return next((inside if inside.is_dir() else data).rglob("data.jsonl.gz"))


def _embedder(threads: int) -> Callable[[Sequence[str]], Any]:
    import torch

    from ingest.embed import load_embedder

    torch.set_num_threads(threads)
    embedder = load_embedder("embedded:all-MiniLM-L6-v2", device="cpu")
    known: dict[str, Any] = {}

    def embed(texts: Sequence[str]) -> Any:
        fresh = [text for text in dict.fromkeys(texts) if text not in known]
        known.update(zip(fresh, embedder.encode(fresh), strict=True))
        return np.array([known[text] for text in texts])

    # The speed is measured without what is remembered here.
    embed.fresh = embedder.encode  # type: ignore[attr-defined]
    return embed


def _ours(pairs: Sequence[Pair], embed: Any) -> dict[str, Any]:
    rows = figures(pairs, embed)
    runs = [out_of_fold(pairs, rows, seed) for seed in range(REPEATS)]
    guard = GroundingGuard(embed=embed)
    verdicts = [guard.check(pair.claim, Context(passages=(pair.passage,))) for pair in pairs]
    told = np.array([verdict.action is Action.ALLOW for verdict in verdicts])
    scores = np.array([verdict.score for verdict in verdicts])
    return {
        "cross_validated": _summary(pairs, runs) | {"calibration": _calibration(runs[0][0], rows.labels)},
        "shipped": _summary(pairs, [(scores, told)]),
    }


def _tuned(pairs: Sequence[Pair], scores: Any) -> dict[str, Any]:
    labels = _labels(pairs)
    runs = []
    for seed in range(REPEATS):
        fold, told = folds(pairs, seed), np.zeros(len(pairs), dtype=bool)
        for held in set(fold.tolist()):
            seen = fold != held
            told[~seen] = scores[~seen] >= best_threshold(scores[seen], labels[seen])
        runs.append((scores, told))
    return {"cross_validated": _summary(pairs, runs)}


def _labels(pairs: Sequence[Pair]) -> Any:
    return np.array([float(pair.supported) for pair in pairs])


def _summary(pairs: Sequence[Pair], runs: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    labels, kinds = _labels(pairs), np.array([pair.kind for pair in pairs])
    share = np.mean([told for _, told in runs], axis=0)
    return {
        "balanced_accuracy": round(float(np.mean([balanced(told, labels) for _, told in runs])), 4),
        "roc_auc": round(float(np.mean([roc_auc(scores, labels) for scores, _ in runs])), 4),
        "told_supported": {label: round(float(share[kinds == label].mean()), 3) for label in LABELS},
    }


def _calibration(scores: Any, labels: Any, bins: int = 5) -> dict[str, Any]:
    """Mean score, share supported and number of claims in bins of equal number; and their mean distance."""
    parts = np.array_split(np.argsort(scores), bins)
    rows = [[round(float(scores[p].mean()), 3), round(float(labels[p].mean()), 3), len(p)] for p in parts]
    return {"bins": rows, "expected_error": round(sum(abs(a - b) * n for a, b, n in rows) / len(scores), 4)}


def _told(docs: Sequence[Pair], embed: Any) -> dict[str, float]:
    """The share of each kind of pair that the installed guard finds supported."""
    guard = GroundingGuard(embed=embed)
    told: dict[str, list[bool]] = {}
    for pair in docs:
        verdict = guard.check(pair.claim, Context(passages=(pair.passage,)))
        told.setdefault(pair.kind, []).append(verdict.action is Action.ALLOW)
    return {kind: round(sum(found) / len(found), 3) for kind, found in told.items()}


def _peers(pairs: Sequence[Pair], embed: Any) -> dict[str, Any]:
    split = {pair.passage: [sentence.text for sentence in sentences(pair.passage)] for pair in pairs}

    def cosine(pair: Pair) -> float:
        return float((embed(split[pair.passage]) @ embed([pair.claim])[0]).max())

    def rouge(pair: Pair) -> float:
        return max(rouge_l(pair.claim, sentence) for sentence in split[pair.passage])

    measures = {"ROUGE-L recall": rouge, "token overlap": lambda pair: overlap(pair.claim, pair.passage)}
    measures["embedding cosine"] = cosine
    return {name: np.array([of(pair) for pair in pairs]) for name, of in measures.items()}


def rouge_l(claim: str, evidence: str) -> float:
    """Length of the longest common subsequence of words over that of the claim (Lin 2004, recall)."""
    one, other = _WORD.findall(claim.lower()), _WORD.findall(evidence.lower())
    row = [0] * (len(other) + 1)
    for word in one:
        diagonal = 0
        for place, match in enumerate(other, 1):
            above = row[place]
            row[place] = diagonal + 1 if word == match else max(above, row[place - 1])
            diagonal = above
    return row[-1] / max(1, len(one))


def overlap(claim: str, passage: str) -> float:
    """The share of the claim's distinct words that the passage holds."""
    words = set(_WORD.findall(claim.lower()))
    return len(words & set(_WORD.findall(passage.lower()))) / max(1, len(words))


def _speed(pairs: Sequence[Pair], embed: Any) -> dict[str, float]:
    """CPU milliseconds for an answer of one sentence and a passage of nine, everything included."""

    def rouge(pair: Pair) -> float:
        return max(rouge_l(pair.claim, sentence.text) for sentence in sentences(pair.passage))

    ways: dict[str, Callable[[Pair], Any]] = {
        "ours, words": lambda pair: support(pair.claim, [pair.passage]),
        "ours, vectors": lambda pair: support(pair.claim, [pair.passage], embed=embed.fresh),
        "ROUGE-L recall": rouge,
        "embedding cosine": lambda pair: embed.fresh([pair.claim, *(s.text for s in sentences(pair.passage))]),
    }
    found = {}
    for name, way in ways.items():
        way(pairs[0])
        start = time.process_time()
        for pair in pairs:
            way(pair)
        found[name] = round((time.process_time() - start) / len(pairs) * 1000, 2)
    return found
