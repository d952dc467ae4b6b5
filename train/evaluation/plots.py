"""Plots of a comparison: figures with their intervals, gains with theirs, answer F1 by slice.

In: a `Comparison`. Out: PNG images as bytes, by name. Known limit: colours repeat from the eleventh model on.
"""

import io
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train.evaluation.compare import Comparison, Gain
from train.evaluation.figures import BY_TOKENS, COSTS, LABELS, PERPLEXITIES
from train.evaluation.slices import Slice

DPI = 110
LONGEST_LABEL = 28
SLICED = "answer_f1"


def plots_of(comparison: Comparison) -> dict[str, bytes]:
    """The images, by the names of their files."""
    plots = {"figures.png": _png(_figures(comparison))}
    if comparison.gains:
        plots["gains.png"] = _png(_gains(comparison.gains))
    sliced = [one for one in comparison.slices if any(SLICED in own for own in one.figures.values())]
    if sliced:
        plots["slices.png"] = _png(_slices(comparison, sliced))
    return plots


def _figures(comparison: Comparison) -> Figure:
    names = _shares(name for one in comparison.models for name in one.figures)
    figure, axes = _bars(names, len(comparison.models))
    for place, one in enumerate(comparison.models):
        shown = [one.figures.get(name) for name in names]
        values = [found.value if found else 0.0 for found in shown]
        ends = [(found.value - found.low, found.high - found.value) if found else (0.0, 0.0) for found in shown]
        errors = [[max(0.0, end[side]) for end in ends] for side in (0, 1)]
        axes.barh(
            _places(names, place, len(comparison.models)),
            values,
            _height(comparison),
            xerr=errors,
            label=_cut(one.name),
        )
    axes.set_yticks(
        range(len(names)), [f"{LABELS[name]}{' (less is better)' if name in COSTS else ''}" for name in names]
    )
    axes.set_xlim(0, 1.02)
    _legend(axes, comparison)
    return figure


def _gains(gains: Sequence[Gain]) -> Figure:
    names = list(dict.fromkeys(name for gain in gains for name in gain.differences))
    figure, axes = _bars(names, len(gains))
    for place, gain in enumerate(gains):
        points = [(row, gain.differences[name]) for row, name in enumerate(names) if name in gain.differences]
        rows = [row + (place - (len(gains) - 1) / 2) * 0.8 / len(gains) for row, _ in points]
        errors = [
            [max(0.0, one.mean - one.low) for _, one in points],
            [max(0.0, one.high - one.mean) for _, one in points],
        ]
        means = [one.mean for _, one in points]
        axes.errorbar(means, rows, xerr=errors, fmt="o", capsize=3, label=f"{_cut(gain.ours)} - {_cut(gain.theirs)}")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(
        range(len(names)), [f"{LABELS[name]}{' (less is better)' if name in COSTS else ''}" for name in names]
    )
    axes.legend(frameon=False, fontsize="small")
    return figure


def _slices(comparison: Comparison, sliced: Sequence[Slice]) -> Figure:
    names = [f"{_cut(one.value)} ({one.rows}{', few' if one.small else ''})" for one in sliced]
    figure, axes = _bars(names, len(comparison.models))
    for place, one in enumerate(comparison.models):
        values = [part.figures.get(one.name, {}).get(SLICED, 0.0) for part in sliced]
        axes.barh(_places(names, place, len(comparison.models)), values, _height(comparison), label=_cut(one.name))
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel(LABELS[SLICED])
    _legend(axes, comparison)
    return figure


def _bars(names: Sequence[str], series: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8.0, 1.0 + len(names) * (0.22 + 0.13 * series)), layout="constrained")
    axes = figure.add_subplot()
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.25)
    return figure, axes


def _places(names: Sequence[str], place: int, series: int) -> list[float]:
    return [row + (place - (series - 1) / 2) * 0.8 / series for row in range(len(names))]


def _height(comparison: Comparison) -> float:
    return 0.72 / len(comparison.models)


def _legend(axes: Axes, comparison: Comparison) -> None:
    handles, _ = axes.get_legend_handles_labels()
    axes.legend(handles, [_cut(one.name) for one in comparison.models], frameon=False, fontsize="small")


def _shares(names: Iterable[str]) -> list[str]:
    """Figures between 0 and 1, which one scale can show."""
    return [name for name in dict.fromkeys(names) if name not in BY_TOKENS and name not in PERPLEXITIES]


def _cut(text: str) -> str:
    """Plain text of bearable length: a dollar sign would begin a formula."""
    short = text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"
    return "".join(char for char in short.replace("$", r"\$") if char.isprintable())


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    return out.getvalue()
