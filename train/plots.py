"""Plots of training: the curves of a run, and the trials of a sweep.

In: rows of `progress.jsonl`, values of trials. Out: PNG files. Known limit: every step is a point, also of a long run.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

CURVES = "curves.png"
SMOOTHED_FROM = 40  # steps; below that the mean over neighbours hides more than it shows
Rows = Sequence[Mapping[str, Any]]


def draw_curves(rows: Rows, measured: Rows, target: Path) -> None:
    """Write the curves of a run as one PNG.

    Args:
        rows: one for each step, with `step`, `loss`, `learning_rate` and, where known, `grad_norm`.
        measured: one for each measurement on the way, with `step` and `holdout_loss`.
        target: file to write; it is there whole or not at all.
    """
    panels = [("loss", "loss (nats per token)"), ("learning_rate", "learning rate"), ("grad_norm", "gradient norm")]
    shown = [panel for panel in panels if any(row.get(panel[0]) is not None for row in rows)]
    figure = Figure(figsize=(7.5, 2.6 * len(shown)), layout="constrained")
    for place, (name, label) in enumerate(shown):
        axes = figure.add_subplot(len(shown), 1, place + 1)
        points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        steps, values = zip(*points, strict=True)
        many = len(points) >= SMOOTHED_FROM and name == "loss"
        axes.plot(steps, values, color="tab:blue", alpha=0.35 if many else 1.0, linewidth=1.2, label="training")
        if many:
            axes.plot(steps, smoothed(values), color="tab:blue", linewidth=1.6, label="training, mean of neighbours")
        if name == "loss" and measured:
            held_out = [(row["step"], row["holdout_loss"]) for row in measured]
            axes.plot(*zip(*held_out, strict=True), color="tab:orange", marker="o", label="held-out")
        if name == "loss":
            axes.legend(frameon=False)
        axes.set_ylabel(label)
        axes.grid(alpha=0.25)
    if shown:
        axes.set_xlabel("optimizer step")
    _save(figure, target)


def smoothed(values: Sequence[float]) -> list[float]:
    """Mean over a window of a twentieth of all values around each."""
    reach = max(1, len(values) // 40)
    windows = (values[max(0, place - reach) : place + reach + 1] for place in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def draw_trials(points: Sequence[tuple[int, float]], best: int, figure: str, target: Path) -> None:
    """Write a picture of the values that trials of a sweep reached.

    Args:
        points: number and value of each completed trial.
        best: number of the best one.
        figure: name of the value.
        target: file to write; it is there whole or not at all.
    """
    picture = Figure(figsize=(7.5, 3.0), layout="constrained")
    axes = picture.add_subplot()
    axes.plot(*zip(*points, strict=True), color="tab:blue", marker="o", linestyle="none", label="trial")
    axes.plot(best, dict(points)[best], color="tab:orange", marker="o", linestyle="none", label=f"best: trial {best}")
    axes.set_xlabel("trial")
    axes.set_ylabel(figure.replace("_", " "))
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    _save(picture, target)


def _save(figure: Figure, target: Path) -> None:
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    figure.savefig(partial, format="png", dpi=110)
    os.replace(partial, target)
