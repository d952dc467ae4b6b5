"""Counting in a stream with bounded memory: distributions of whole numbers, and what occurs most often.

In: values, one after the other. Out: a `Distribution`, or the most frequent kinds with their numbers; both the same for
the same values in the same order.

Known limits: quantiles are within 1% of a value that was there (Masson et al. 2019, DDSketch); once there are more than
`TopCounter.capacity` kinds, their counts may be too low by what `undercounted` says.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate
from math import ceil, log, sqrt

from pydantic import BaseModel, ConfigDict

# Relative width of a bin, twice the error of a quantile.
_GAMMA = 1.01 / 0.99
_LOG_GAMMA = log(_GAMMA)
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class Frozen(BaseModel):
    """Figures that are kept as JSON: immutable, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Distribution(Frozen):
    """Whole numbers that were counted: lengths, or how many of something a document has."""

    count: int
    """How many values."""
    total: int
    """Their sum."""
    deviation: float
    """Their standard deviation (of the values themselves, not an estimate from a sample)."""
    smallest: int
    largest: int
    quantiles: dict[str, int]
    """Quantile (`0.5` is the median) to value."""
    bins: dict[int, int]
    """Number of a bin to how many values fell into it. Bin 0 holds zeros; bin n the values above `edge(n - 1)` up to
    `edge(n)`; the edges are the same in every profile."""

    @property
    def mean(self) -> float:
        """The arithmetic mean; 0 when there are no values."""
        return self.total / self.count if self.count else 0.0


def edge(number: int) -> float:
    """The largest value of a bin of a `Distribution`."""
    return float(_GAMMA ** (number - 1)) if number else 0.0


class Sketch:
    """Collects values of a `Distribution`."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self._bin_of: dict[int, int] = {}
        self._total = self._squares = 0
        self._smallest = self._largest = 0

    def add(self, value: int) -> None:
        """Add one value, 0 or more."""
        if not self._bins:
            self._smallest = value
        self._bins[self._number(value)] += 1
        self._total += value
        self._squares += value * value
        self._smallest, self._largest = min(self._smallest, value), max(self._largest, value)

    def done(self) -> Distribution:
        """The distribution of all values added."""
        count = self._bins.total()
        # In whole numbers up to the last step, so that nothing depends on the order of the values.
        variance = (self._squares * count - self._total**2) / max(count, 1) ** 2
        bins = dict(sorted(self._bins.items()))
        return Distribution(
            count=count,
            total=self._total,
            deviation=round(sqrt(variance), 4),
            smallest=self._smallest,
            largest=self._largest,
            quantiles={f"{share:g}": self._quantile(bins, share) for share in QUANTILES if count},
            bins=bins,
        )

    def _number(self, value: int) -> int:
        # A logarithm per value would be most of the work; lengths repeat.
        if value not in self._bin_of:
            if len(self._bin_of) > 10_000:
                self._bin_of.clear()
            self._bin_of[value] = ceil(log(value) / _LOG_GAMMA) + 1 if value else 0
        return self._bin_of[value]

    def _quantile(self, bins: Mapping[int, int], share: float) -> int:
        """The middle of the bin that the value of this rank is in, by relative error."""
        rank = share * (sum(bins.values()) - 1)
        number = next(number for number, below in zip(bins, accumulate(bins.values()), strict=True) if below > rank)
        middle = 2 * edge(number) / (_GAMMA + 1)
        return min(max(round(middle), self._smallest), self._largest)


class TopCounter:
    """Counts what occurs often, in bounded memory: when there are too many kinds, the rarest are forgotten (after the
    lossy counting of Manku and Motwani 2002).

    Args:
        capacity: kinds that are kept when room is made.

    Attributes:
        undercounted: what a count may be too low by.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self.capacity = capacity
        self.undercounted = 0
        self._counts: Counter[str] = Counter()

    def add(self, kinds: Iterable[str]) -> None:
        """Count each of these once more."""
        # Of a mapping, `update` would add the values.
        self._counts.update(iter(kinds))
        if len(self._counts) > 2 * self.capacity:
            ranked = self.top(len(self._counts))
            # What is forgotten now may have been forgotten before, so the errors add up.
            self.undercounted += ranked[self.capacity][1]
            self._counts = Counter(dict(ranked[: self.capacity]))

    def top(self, most: int) -> list[tuple[str, int]]:
        """The most frequent, most first, equally frequent ones in alphabetical order."""
        return sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))[:most]
