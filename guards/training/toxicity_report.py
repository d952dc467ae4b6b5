"""Figures of the toxicity model: rank statistics, rates at the thresholds, calibration, and breakdowns by group.

In: examples, their calibrated probabilities, the thresholds. Out: a JSON-able dict.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from guards.detectors.toxicity import DEFAULT, OVERALL
from guards.training.toxicity_data import LABELS, Example

Floats = npt.NDArray[np.float32]
DECIDING = [LABELS.index(label) for label in (OVERALL, *DEFAULT)]


def report(examples: Sequence[Example], chances: Floats, thresholds: Mapping[str, float]) -> dict[str, Any]:
    """All figures; `chances` is [examples, labels]."""
    limits = np.array([thresholds[label] for label in LABELS])
    flagged: npt.NDArray[np.bool_] = np.any((chances >= limits)[:, DECIDING], axis=1)
    return {
        "n": {source: len(places) for source, places in _by(examples, "").items()},
        "auc": {source: _auc_of(examples, chances, places) for source, places in _by(examples, "").items()},
        "flagged": _shares(examples, flagged, _by(examples, "")),
        "hatecheck_functionality": _shares(examples, flagged, _by(examples, "functionality")),
        "hatecheck_target": _shares(examples, flagged, _by(examples, "target")),
        "davidson_class": _shares(examples, flagged, _by(examples, "class")),
        "category": _categories(examples, chances, limits),
        "calibration": _calibration(examples, chances),
    }


def roc_auc(targets: npt.NDArray[Any], scores: npt.NDArray[Any]) -> float | None:
    """Area under the ROC curve by the Mann-Whitney statistic, ties counting half; None unless both classes occur."""
    values, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    del values
    middle = np.cumsum(counts) - (counts - 1) / 2
    positive = targets > 0.5
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if not ones or not zeros:
        return None
    return float((middle[inverse][positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def reliability(targets: npt.NDArray[Any], chances: npt.NDArray[Any], bins: int = 10) -> list[dict[str, float]]:
    """For each tenth of the scale: how many texts, the mean probability, and the share that was toxic."""
    place = np.minimum((chances * bins).astype(int), bins - 1)
    rows = []
    for number in range(bins):
        inside = place == number
        if inside.any():
            rows.append(
                {
                    "n": int(inside.sum()),
                    "mean": round(float(chances[inside].mean()), 3),
                    "share": round(float(targets[inside].mean()), 3),
                }
            )
    return rows


def calibration_error(rows: Iterable[Mapping[str, float]]) -> float:
    """Expected calibration error: the mean distance of probability and share, weighted by the number of texts."""
    rows = list(rows)
    return round(sum(row["n"] * abs(row["mean"] - row["share"]) for row in rows) / sum(row["n"] for row in rows), 4)


def _by(examples: Sequence[Example], tag: str) -> dict[str, list[int]]:
    """Places by value of the tag; by set for the empty tag."""
    found: dict[str, list[int]] = {}
    for place, example in enumerate(examples):
        value = example.tags.get(tag) if tag else example.source
        if value is not None:
            found.setdefault(value, []).append(place)
    return dict(sorted(found.items()))


def _auc_of(examples: Sequence[Example], chances: Floats, places: Sequence[int]) -> float | None:
    known = [place for place in places if OVERALL in examples[place].labels]
    found = roc_auc(np.array([examples[place].labels[OVERALL] for place in known]), chances[known, 0])
    return None if found is None else round(found, 4)


def _shares(
    examples: Sequence[Example], flagged: npt.NDArray[np.bool_], groups: Mapping[str, Sequence[int]]
) -> dict[str, dict[str, float]]:
    """For each group the share that is flagged, of the toxic texts and of the others."""
    found: dict[str, dict[str, float]] = {}
    for name, places in groups.items():
        found[name] = {"n": len(places)}
        for side, value in (("of_toxic", 1.0), ("of_others", 0.0)):
            chosen = [place for place in places if examples[place].labels.get(OVERALL) == value]
            if chosen:
                found[name][side] = round(float(flagged[chosen].mean()), 4)
    return found


def _categories(
    examples: Sequence[Example], chances: Floats, limits: npt.NDArray[np.float64]
) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = {}
    for column, label in enumerate(LABELS):
        known = [place for place, example in enumerate(examples) if label in example.labels]
        targets = np.array([examples[place].labels[label] for place in known])
        own, positive = chances[known, column], targets > 0.5
        auc = roc_auc(targets, own)
        found[label] = {
            "n": len(known),
            "positive": int(positive.sum()),
            "auc": None if auc is None else round(auc, 4),
            "recall": round(float((own[positive] >= limits[column]).mean()), 4) if positive.any() else None,
            "false_alarms": round(float((own[~positive] >= limits[column]).mean()), 4) if (~positive).any() else None,
        }
    return found


def _calibration(examples: Sequence[Example], chances: Floats) -> dict[str, Any]:
    """Reliability over the texts whose overall label is known, all together and by set."""
    found: dict[str, Any] = {}
    for name, places in {"all": list(range(len(examples))), **_by(examples, "")}.items():
        known = [place for place in places if OVERALL in examples[place].labels]
        rows = reliability(np.array([examples[place].labels[OVERALL] for place in known]), chances[known, 0])
        found[name] = {"ece": calibration_error(rows)} | ({"bins": rows} if name == "all" else {})
    return found


def held_out_scores(prefix: Path) -> dict[str, dict[str, float]]:
    """Overall probabilities of the rows that the measured fit had not seen, by set and id."""
    content = prefix.with_name(prefix.name + ".held_out.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, float]] = json.loads(content)
    return found
