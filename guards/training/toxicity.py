"""Trains the toxicity model: `python -m guards.training.toxicity --data DIR [--out guards/weights/toxicity]`.

In: the folder of the public sets. Out: the weights that `guards.detectors.toxicity` reads, with the figures on held-out
data. Fitted on four fifths, measured, calibrated and given thresholds on the rest; then trained on for two epochs on
everything, at half the rate. Eight minutes on one core with bfloat16 arithmetic.

Known limits: the calibration and the thresholds are those from before the last two epochs.
"""

import argparse
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from guards.detectors.toxicity import WEIGHTS, Model, readable
from guards.training import encoder
from guards.training.toxicity_data import HARMLESS_SOURCES, LABELS, Example, load_examples
from guards.training.toxicity_report import report
from guards.training.toxicity_sieve import choose_limit, fit_sieve

VERSION = "1"
FOLDS, HELD_OUT = 5, 1
LAYERS, MAX_TOKENS, BATCH_TOKENS = 6, 160, 1024
# Epochs and learning rate of the first fit, and of the last on everything.
FIRST, LAST = (3, 2e-4), (2, 1e-4)
# How much a row of each set weighs: the small sets would drown in Davidson's tweets.
WEIGHT = {"openai_moderation": 3.0, "hatecheck": 1.5, "surge": 2.0, "xstest": 2.0}
# Davidson has ten thousand offensive tweets that teach little more than a quarter of them.
OFFENSIVE_KEPT, NEITHER_KEPT = 2500, 2100
# The share of harmless texts of one kind that may reach a threshold, and the lowest one.
FALSE_ALARMS, LOWEST = 0.01, 0.6

logger = logging.getLogger(__name__)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the toxicity model.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="path of the weights without ending")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(chosen.threads)
    train(load_examples(chosen.data), chosen.out)


def train(examples: list[Example], out: Path) -> None:
    """Measure on a held-out fold, then go on with everything and write the weights."""
    torch.manual_seed(0)
    rest = [example for example in examples if example.fold(FOLDS) != HELD_OUT]
    held = [example for example in examples if example.fold(FOLDS) == HELD_OUT and example.source != "own"]
    out.parent.mkdir(parents=True, exist_ok=True)
    model, tokenizer = encoder.load_base(LAYERS, len(LABELS))
    fit(rest, model, tokenizer, *FIRST, seed=0)
    logits = as_shipped(model, tokenizer, held)
    calibration = calibrate(held, logits)
    chances = calibrated(logits, calibration)
    thresholds = choose_thresholds(held, chances)
    figures = report(held, chances, thresholds)
    logger.info("held out: %s", json.dumps(figures))
    flagged = [example for example, chance in zip(held, chances, strict=True) if right(example, chance, thresholds)]
    limit = choose_limit(fit_sieve(rest, tokenizer, model.words.weight), flagged, tokenizer)
    write_scores(out.with_name(out.name + ".held_out.json"), held, chances)
    fit(examples, model, tokenizer, *LAST, seed=1)
    sieve = fit_sieve(examples, tokenizer, model.words.weight)
    encoder.export(
        model,
        tokenizer,
        out,
        labels=LABELS,
        max_tokens=MAX_TOKENS,
        version=VERSION,
        calibration=calibration,
        thresholds=thresholds,
        rows=dict(Counter(example.source for example in examples)),
        held_out=figures,
        sieve_limit=round(limit, 3),
        sieve=[round(100 * float(score)) for score in sieve],
    )


def right(example: Example, chances: encoder.Floats, thresholds: dict[str, float]) -> bool:
    """Whether a toxic text reaches the overall threshold."""
    return example.labels.get(LABELS[0]) == 1 and bool(chances[0] >= thresholds[LABELS[0]])


def write_scores(path: Path, held: Sequence[Example], chances: encoder.Floats) -> None:
    """The overall score of every held-out text by set and id, for curves of unseen texts."""
    scores: dict[str, dict[str, float]] = {}
    for example, chance in zip(held, chances[:, 0], strict=True):
        scores.setdefault(example.source, {})[example.key] = round(float(chance), 4)
    path.write_text(json.dumps(scores) + "\n", encoding="utf-8")


def fit(
    examples: Sequence[Example],
    model: encoder.TextEncoder,
    tokenizer: Tokenizer,
    epochs: int,
    rate: float,
    *,
    seed: int,
) -> None:
    """Train the model, in place, on these examples."""
    rows = as_rows(_thinned(examples, np.random.default_rng(seed)))
    tokens = encoder.tokenize(tokenizer, rows.texts, MAX_TOKENS)
    plan = [encoder.batches(tokens, BATCH_TOKENS, seed * 100 + epoch) for epoch in range(epochs)]
    logger.info("%d texts, %d tokens, %d steps", len(tokens), sum(map(len, tokens)), sum(map(len, plan)))
    encoder.fit(model, plan, encoder.masked_loss(rows), rate=rate)


def _thinned(examples: Sequence[Example], rng: np.random.Generator) -> list[Example]:
    dropped: set[int] = set()
    for kind, kept in (("offensive", OFFENSIVE_KEPT), ("neither", NEITHER_KEPT)):
        places = [place for place, example in enumerate(examples) if example.tags.get("class") == kind]
        dropped.update(rng.permutation(places)[kept:].tolist())
    return [example for place, example in enumerate(examples) if place not in dropped]


def as_rows(examples: Sequence[Example]) -> encoder.Rows:
    """Texts as the network reads them, with their known labels."""
    targets = np.zeros((len(examples), len(LABELS)), dtype=np.float32)
    known = np.zeros_like(targets)
    for row, example in enumerate(examples):
        for column, label in enumerate(LABELS):
            if label in example.labels:
                targets[row, column], known[row, column] = example.labels[label], 1
    weights = np.array([WEIGHT.get(example.source, 1.0) for example in examples], dtype=np.float32)
    return encoder.Rows([readable(example.text) for example in examples], targets, known, weights)


def as_shipped(model: encoder.TextEncoder, tokenizer: Tokenizer, examples: Sequence[Example]) -> encoder.Floats:
    """Logits [examples, labels] in int8 and over windows, as the guard has them."""
    neutral: dict[str, Any] = {
        "version": VERSION,
        "calibration": dict.fromkeys(LABELS, (1.0, 0.0)),
        "thresholds": dict.fromkeys(LABELS, 0.5),
        "sieve": [],
        "sieve_limit": 0.0,
    }
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "held_out"
        encoder.export(model, tokenizer, prefix, labels=LABELS, max_tokens=MAX_TOKENS, **neutral)
        shipped = Model(prefix)
        return np.stack([shipped.worst(example.text) for example in examples])


def calibrate(held: Sequence[Example], logits: encoder.Floats) -> dict[str, tuple[float, float]]:
    """Slope and intercept for each label; every set weighs the same, whatever its size."""
    rows = as_rows(held)
    found = {}
    for column, label in enumerate(LABELS):
        places = np.flatnonzero(rows.known[:, column]).tolist()
        sizes = Counter(held[place].source for place in places)
        weights = np.array([1000 / len(sizes) / sizes[held[place].source] for place in places], dtype=np.float32)
        found[label] = encoder.platt(logits[places, column], rows.targets[places, column], weights)
    return found


def calibrated(logits: encoder.Floats, calibration: dict[str, tuple[float, float]]) -> encoder.Floats:
    """Probabilities [examples, labels]."""
    line = np.array([calibration[label] for label in LABELS], dtype=np.float32)
    return np.asarray(1 / (1 + np.exp(-(logits * line[:, 0] + line[:, 1]))), dtype=np.float32)


def choose_thresholds(held: Sequence[Example], chances: encoder.Floats) -> dict[str, float]:
    """For each label the lowest threshold that few harmless texts of any kind reach."""
    found = {}
    for column, label in enumerate(LABELS):
        limit = LOWEST
        for source in HARMLESS_SOURCES:
            own = [chances[place, column] for place, example in enumerate(held) if example.source == source]
            if own:
                limit = max(limit, float(np.quantile(own, 1 - FALSE_ALARMS, method="lower")) + 1e-3)
        found[label] = round(min(limit, 0.99), 3)
    return found


if __name__ == "__main__":
    main()
