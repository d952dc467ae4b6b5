"""Where the shapes of the report's charts lie: a Sankey diagram of the funnel, and columns of a histogram.

In: numbers and names. Out: coordinates in the units of an SVG's view box; the template draws them, and escapes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor

from ingest.versions.sketch import Distribution, edge

WIDTH, NODE = 1000.0, 10.0
# Height of the widest flow, the room above it for names, and the distance of what is left out below it.
TALLEST, HEAD, DROP = 170.0, 56.0, 34.0
ROW, NAMED = 22.0, 6
LONGEST_NAME = 24
# Columns of a histogram end at these and their tenfold, hundredfold, ...
STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
TICKS = (1.0, 3.0)


@dataclass(frozen=True)
class Step:
    """How many came through to here, and what was left out on the way from the step before, by rule."""

    name: str
    count: int
    left_out: Mapping[str, int]

    @property
    def lost(self) -> int:
        """All that was left out here."""
        return sum(self.left_out.values())


@dataclass(frozen=True)
class Node:
    """A step's bar. `anchor` says which side of it the name is set from."""

    x: float
    y: float
    height: float
    name: str
    count: int
    anchor: str


@dataclass(frozen=True)
class Flow:
    """A band between two bars as an SVG path, with the name of where it leads; empty when it leads on."""

    path: str
    name: str
    count: int
    x: float
    y: float


@dataclass(frozen=True)
class Sankey:
    """A drawing of the funnel."""

    width: float
    height: float
    nodes: tuple[Node, ...]
    kept: tuple[Flow, ...]
    lost: tuple[Flow, ...]


@dataclass(frozen=True)
class Column:
    """A column of a histogram: its place and height as shares of the whole, and the values it stands for."""

    x: float
    width: float
    height: float
    low: float
    high: float
    count: int
    tick: bool


def sankey(steps: Sequence[Step]) -> Sankey:
    """Lay out a funnel: what goes on runs along the top, what is left out falls from it."""
    scale = TALLEST / max((step.count for step in steps), default=1) if any(step.count for step in steps) else 0.0
    gap = (WIDTH - NODE) / max(len(steps) - 1, 1)
    nodes: list[Node] = []
    kept: list[Flow] = []
    lost: list[Flow] = []
    for number, step in enumerate(steps):
        x = number * gap
        anchor = "end" if number and number == len(steps) - 1 else "start"
        nodes.append(Node(_r(x), HEAD, _r(max(step.count * scale, 1.0)), step.name, step.count, anchor))
        if number:
            left = x - gap + NODE
            height = step.count * scale
            kept.append(Flow(_band(left, HEAD, x, HEAD, height), "", step.count, _r(left), HEAD))
            lost += _falling(step, left, gap, HEAD + height, HEAD + steps[number - 1].count * scale, scale)
    bottom = max((flow.y + ROW for flow in lost), default=HEAD + TALLEST + ROW)
    return Sankey(WIDTH, _r(bottom), tuple(nodes), tuple(kept), tuple(lost))


def columns(values: Distribution) -> list[Column]:
    """Columns over the whole range of a distribution, on a logarithmic axis; zeros have a column of their own."""
    low, high = max(values.smallest, 1), max(values.largest, 1)
    edges = [step * 10**power for power in range(12) for step in STEPS if power or step.is_integer()]
    first = sum(at <= low for at in edges) - 1
    last = min(sum(at <= high for at in edges), len(edges) - 1)
    inner = edges[first : max(last, first + 1) + 1]
    bounds = [*([0.0] if 0 in values.bins else []), *inner]
    counts = [0] * (len(bounds) - 1)
    for number, count in values.bins.items():
        # The largest whole number of a bin: of short lengths the only one, of others at most two percent too much.
        value = floor(edge(number) + 1e-9)
        counts[max(sum(at <= value for at in bounds[1:-1]), 0)] += count
    return _columns(bounds, counts)


def _columns(bounds: Sequence[float], counts: Sequence[int]) -> list[Column]:
    width = 100.0 / len(counts)
    most = max(counts, default=0) or 1
    return [
        Column(_r(n * width), _r(width), _r(100.0 * count / most), low, high, count, _is_tick(low))
        for n, ((low, high), count) in enumerate(zip(pairwise(bounds), counts, strict=True))
    ]


def _is_tick(value: float) -> bool:
    while value >= 10:
        value /= 10
    return round(value, 6) in TICKS or value == 0


def _falling(step: Step, left: float, gap: float, top: float, bottom: float, scale: float) -> list[Flow]:
    flows: list[Flow] = []
    right = left + 0.3 * gap
    middle, before = bottom + DROP, 0.0
    for name, count in _named(step.left_out):
        thick = max(count * scale, 1.5)
        # Never closer than a line of text, or the names run into each other.
        middle += max((before + thick) / 2 + 6, ROW) if flows else thick / 2
        flows.append(Flow(_band(left, top, right, middle - thick / 2, thick), name, count, _r(right + 6), _r(middle)))
        top += count * scale
        before = thick
    return flows


def _named(left_out: Mapping[str, int]) -> list[tuple[str, int]]:
    """The largest by name, and the rest together."""
    ranked = sorted(((name, n) for name, n in left_out.items() if n > 0), key=lambda item: (-item[1], item[0]))
    few = len(ranked) <= NAMED
    named, rest = (ranked, []) if few else (ranked[: NAMED - 1], ranked[NAMED - 1 :])
    shown = [(name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…", n) for name, n in named]
    return shown + ([(f"{len(rest)} other rules", sum(n for _, n in rest))] if rest else [])


def _band(x: float, y: float, to_x: float, to_y: float, height: float) -> str:
    """A closed path of one height between two places, with level ends."""
    middle, left, right = _n((x + to_x) / 2), _n(x), _n(to_x)
    top, to_top, low, to_low = _n(y), _n(to_y), _n(y + height), _n(to_y + height)
    there = f"M{left} {top}C{middle} {top} {middle} {to_top} {right} {to_top}"
    return f"{there}V{to_low}C{middle} {to_low} {middle} {low} {left} {low}Z"


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _r(value: float) -> float:
    return round(value, 2)
