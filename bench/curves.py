"""Draws how a detector's scores divide right from wrong: ROC, precision and recall, reliability, one SVG a detector.

In: for each set, labels (1 is what the detector looks for) and scores. Out: figures, and a picture with a curve a set.

AUC is the area under the ROC curve; AP is the mean precision over the recall steps. ECE, the expected calibration error
(Guo et al. 2017), is the mean distance between the score and the share of positives over ten bins of equal width,
weighted by their sizes; it needs scores that are probabilities, from 0 to 1.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

BINS = 10
# Points of a curve beyond which an SVG only grows.
POINTS = 300
# Okabe and Ito's colours, which can be told apart without full colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

Scored = tuple[Sequence[int], Sequence[float]]


def figures(labels: Sequence[int], scores: Sequence[float]) -> dict[str, Any]:
    """n, positives, auc, average_precision, ece, brier; None where a figure is not defined: without both labels, or for
    scores that are no probabilities."""
    truth, score = np.asarray(labels, dtype=int), np.asarray(scores, dtype=float)
    both = 0 < truth.sum() < len(truth)
    probable = len(score) > 0 and score.min() >= 0 and score.max() <= 1
    return {
        "n": len(truth),
        "positives": int(truth.sum()),
        "auc": round(float(roc_auc_score(truth, score)), 4) if both else None,
        "average_precision": round(float(average_precision_score(truth, score)), 4) if both else None,
        "ece": round(expected_calibration_error(truth, score), 4) if probable else None,
        "brier": round(float(np.mean((score - truth) ** 2)), 4) if probable else None,
    }


def reliability(truth: np.ndarray, score: np.ndarray) -> list[tuple[float, float, int]]:
    """Mean score, share of positives and size of each bin that is not empty."""
    bins = np.minimum((score * BINS).astype(int), BINS - 1)
    return [
        (float(score[bins == number].mean()), float(truth[bins == number].mean()), int((bins == number).sum()))
        for number in np.unique(bins)
    ]


def expected_calibration_error(truth: np.ndarray, score: np.ndarray) -> float:
    """See the module's description."""
    return sum(size * abs(mean - share) for mean, share, size in reliability(truth, score)) / len(truth)


def draw(title: str, sets: Mapping[str, Scored], file: Path) -> None:
    """Write the picture.

    Args:
        sets: name -> (labels, scores); those without both labels are left out.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # No dates and no random ids in the file: the same figures give the same bytes.
    look = {"svg.hashsalt": title, "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    with mpl.rc_context(
        {
            **look,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#e6e6e6",
            "lines.linewidth": 1.4,
        }
    ):
        figure = Figure(figsize=(11, 4), layout="constrained", facecolor="white")
        panels = figure.subplots(1, 3)
        figure.suptitle(title)
        for number, (name, (labels, scores)) in enumerate(sets.items()):
            truth, score = np.asarray(labels, dtype=int), np.asarray(scores, dtype=float)
            if 0 < truth.sum() < len(truth):
                _curves(panels, name, truth, score, COLOURS[number % len(COLOURS)])
        _frame(panels)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": "wellread bench"})


def _curves(panels: Any, name: str, truth: np.ndarray, score: np.ndarray, colour: str) -> None:
    known = figures(truth, score)
    wrong, right, _ = roc_curve(truth, score)
    panels[0].plot(*_thinned(wrong, right), color=colour, label=f"{name}: AUC {known['auc']:.3f}")
    precision, recall, _ = precision_recall_curve(truth, score)
    panels[1].plot(*_thinned(recall, precision), color=colour, label=f"{name}: AP {known['average_precision']:.3f}")
    if known["ece"] is not None:
        bins = reliability(truth, score)
        panels[2].plot(
            [mean for mean, _, _ in bins],
            [share for _, share, _ in bins],
            color=colour,
            marker="o",
            markersize=3,
            label=f"{name}: ECE {known['ece']:.3f}",
        )


def _thinned(across: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(across) <= POINTS:
        return across, up
    kept = np.unique(np.linspace(0, len(across) - 1, POINTS).astype(int))
    return across[kept], up[kept]


def _frame(panels: Any) -> None:
    names = (
        ("ROC", "false positive rate", "true positive rate"),
        ("Precision and recall", "recall", "precision"),
        ("Reliability", "score", "share of positives"),
    )
    for panel, (title, across, up) in zip(panels, names, strict=True):
        panel.set(title=title, xlabel=across, ylabel=up, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        if title != "Precision and recall":
            panel.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle="--", zorder=0)
        if panel.get_legend_handles_labels()[0]:
            # On a curve's far side there is most room.
            panel.legend(
                loc="lower left" if title == "Precision and recall" else "lower right", fontsize=7, frameon=False
            )
