"""Error rates, calibration and speed of the toxicity guard, beside alt-profanity-check on the same texts.

In: the folder of data sets. `in_sample` is over all rows of the sets, which the shipped weights were trained on;
`held_out` is over a fifth of them, unseen, with the scores of a model that was fitted to the other four by the same
recipe (`guards/weights/toxicity.held_out.json`). Only the latter tells how good it is, wherever the same rows are used.

alt-profanity-check is not among wellread's dependencies: install it to have its figures. It was itself trained on
Davidson's tweets.
"""

import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from guards.base import Action
from guards.detectors.toxicity import OVERALL, WEIGHTS, ToxicityGuard, model, scores
from guards.training.toxicity_data import Example, davidson, documentation, hatecheck, moderation, surge, xstest
from guards.training.toxicity_report import calibration_error, held_out_scores, reliability, report, roc_auc

SETS = {
    "tox_davidson": davidson,
    "tox_hatecheck": hatecheck,
    "tox_surge": surge,
    "tox_openai_moderation": moderation,
}
HARMLESS = {"xstest_safe": xstest, "documentation": documentation}
# Davidson's twelve thousand tweets take longer than all others together and are alike.
MOST = 3000
MESSAGES, MEGABYTES = 500, 0.3

Scorer = Callable[[Sequence[str]], Sequence[float]]


def measure(data: Path, *, threads: int = 1) -> dict[str, Any]:
    """Figures of ours and of the peer by set, and ours by category and group; the guard has one thread at any rate."""
    examples = {name: list(read(data))[:MOST] for name, read in (SETS | HARMLESS).items()}
    seen = held_out_scores(WEIGHTS)
    peer = _peer()
    result: dict[str, Any] = {
        "n": {name: len(rows) for name, rows in examples.items()},
        "versions": {"toxicity": model().version, "alt-profanity-check": _version("alt-profanity-check")},
        "threads": threads,
        "thresholds": dict(zip(model().encoder.labels, map(float, model().thresholds), strict=True)),
        "held_out": {},
        "in_sample": {},
        "peer": {},
    }
    everything: list[Example] = []
    found: list[Any] = []
    for name, rows in examples.items():
        chances = scores([row.text for row in rows])
        everything += rows
        found.append(chances)
        result["in_sample"][name] = _rates(rows, chances[:, 0])
        unseen = [row for row in rows if row.key in seen.get(row.source, {})]
        result["held_out"][name] = _rates(unseen, [seen[row.source][row.key] for row in unseen])
        if peer is not None:
            result["peer"][name] = _rates(rows, peer([row.text for row in rows]), 0.9)
    thresholds = result["thresholds"]
    result["in_sample_groups"] = report(everything, np.concatenate(found), thresholds)
    result["held_out_groups"] = model().encoder.meta["held_out"]
    result["speed"] = _speed(examples, peer)
    return result


def curves(data: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Labels and scores of the held-out rows of each set."""
    seen = held_out_scores(WEIGHTS)
    found = {}
    for name, read in SETS.items():
        rows = [row for row in read(data) if OVERALL in row.labels and row.key in seen.get(row.source, {})]
        found[name] = ([int(row.labels[OVERALL]) for row in rows], [seen[row.source][row.key] for row in rows])
    return found


def _rates(rows: Sequence[Example], found: Sequence[float], threshold: float | None = None) -> dict[str, Any]:
    """AUC, calibration, and the shares of toxic and other texts at the threshold; the shipped one for None."""
    known = [place for place, row in enumerate(rows) if OVERALL in row.labels]
    targets = np.array([rows[place].labels[OVERALL] for place in known])
    chances = np.asarray(found, dtype=np.float64)[known]
    limit = float(model().thresholds[0]) if threshold is None else threshold
    hit = chances >= limit
    area = roc_auc(targets, chances)
    return {
        "n": len(known),
        "auc": None if area is None else round(area, 4),
        "ece": calibration_error(reliability(targets, chances)),
        "recall": round(float(hit[targets == 1].mean()), 4) if (targets == 1).any() else None,
        "false_alarms": round(float(hit[targets == 0].mean()), 4) if (targets == 0).any() else None,
    }


def _speed(examples: dict[str, list[Example]], peer: Scorer | None) -> dict[str, Any]:
    """CPU milliseconds for a message, one at a time, and megabytes a second over documentation in one piece."""
    messages = [row.text for name in ("tox_surge", "tox_davidson") for row in examples[name][:MESSAGES]]
    manual = "\n".join(row.text for row in examples["documentation"])
    manual = (manual * 5)[: int(MEGABYTES * 1e6)]
    guard = ToxicityGuard(action=Action.FLAG)
    guard.warm_up()
    found: dict[str, Any] = {
        "ms_per_message": round(_cpu_seconds(guard.check, messages) / len(messages) * 1e3, 3),
        "documentation_mb_per_s": round(len(manual) / 1e6 / _cpu_seconds(guard.check, [manual]), 3),
    }
    if peer is not None:
        spent = _cpu_seconds(lambda text: peer([text]), messages)
        found["peer_ms_per_message"] = round(spent / len(messages) * 1e3, 3)
        spent = _cpu_seconds(lambda text: peer([text]), [manual])
        found["peer_documentation_mb_per_s"] = round(len(manual) / 1e6 / spent, 3)
    return found


def _cpu_seconds(work: Callable[[str], object], texts: Sequence[str]) -> float:
    for text in texts[:5]:
        work(text[:1000])
    start = time.process_time()
    for text in texts:
        work(text)
    return time.process_time() - start


def _peer() -> Scorer | None:
    try:
        from profanity_check import predict_prob
    except ImportError:
        return None
    return lambda texts: predict_prob(list(texts))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
