"""The gate before a model is served: the conditions of `evaluate.gate`, each checked against two evaluations.

In: what two models were measured to be on the same examples, and conditions. Out: a `Check` for each limit that the
conditions set, with its reason in words; a model passes when none of them fails.

Known limit: intervals are the bootstrap's, over the held-out rows; of a handful of rows they are too narrow.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from configs.errors import GateRefused
from configs.evaluation import Condition
from ingest.relevance.metrics import Difference
from train.evaluation.figures import LABELS, Estimate, Row, differences, estimates_of

# Without these finite, nothing was measured that could be compared.
REQUIRED = ("answer_f1", "perplexity")
# A figure is a ratio of counts: a drop of exactly the margin must not fail by rounding.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Measured:
    """One model's evaluation: its figures, and the rows that intervals are taken from."""

    figures: Mapping[str, float]
    rows: Sequence[Row] = ()


@dataclass(frozen=True)
class Check:
    """One limit, held against two models.

    Attributes:
        figure: its name in words.
        limit: what is asked, in words.
        ours, theirs: the candidate's figure and the other model's; None where there is none.
        passed: None where it was passed over, since neither model has the figure.
        reason: why it failed or was passed over, in words; empty when it holds.
    """

    figure: str
    limit: str
    ours: float | None
    theirs: float | None
    passed: bool | None
    reason: str = ""


class Gate:
    """Conditions, and the intervals that they are checked with.

    Args:
        confidence: width of the intervals, 0.5 to 1.
        resamples: of the bootstrap.
    """

    def __init__(self, conditions: Sequence[Condition], confidence: float = 0.95, resamples: int = 2000) -> None:
        self.conditions = conditions
        self.confidence = confidence
        self.resamples = resamples

    @property
    def needs_rows(self) -> bool:
        """Whether some condition is about an interval."""
        return any(condition.bound != "estimate" for condition in self.conditions)

    def check(self, ours: Measured, theirs: Measured) -> list[Check]:
        """Every limit of every condition, in their order.

        Args:
            ours: of the model that would be served.
            theirs: of the one that it would replace.
        """
        broken = [name for name in REQUIRED if not math.isfinite(ours.figures.get(name, math.nan))]
        if broken:
            return [
                Check(LABELS[name], "is a number", None, None, False, f"its {LABELS[name]} is missing or not a number")
                for name in broken
            ]
        intervals = _Intervals(self, ours.rows, theirs.rows) if self.needs_rows else None
        return [one for condition in self.conditions for one in _checks(condition, ours, theirs, intervals)]


class _Intervals:
    """Intervals of the candidate's figures and of the differences, worked out once."""

    def __init__(self, gate: Gate, ours: Sequence[Row], theirs: Sequence[Row]) -> None:
        self.confidence = gate.confidence
        self._own: dict[str, Estimate] = estimates_of(ours, gate.confidence, gate.resamples)
        self._apart: dict[str, Difference] = differences(ours, theirs, gate.confidence, gate.resamples)

    def end(self, condition: Condition, *, compares: bool) -> float | None:
        """The end of the interval that the condition names; None where there are no rows."""
        found = (self._apart if compares else self._own).get(condition.figure)
        return None if found is None else found.low if condition.bound == "low" else found.high


def reasons_against(
    candidate: Mapping[str, float], reference: Mapping[str, float], conditions: Sequence[Condition]
) -> list[str]:
    """Why `candidate` should not replace `reference`, by their figures alone: a reason for each limit that fails."""
    return failures(Gate(conditions).check(Measured(candidate), Measured(reference)))


def failures(checks: Iterable[Check]) -> list[str]:
    """The reasons of those that failed."""
    return [one.reason for one in checks if one.passed is False]


def refuse(model: str, reasons: list[str], measured: str = "") -> None:
    """Refuse where there are reasons to.

    Args:
        measured: on what, in words.

    Raises:
        GateRefused: there is at least one.
    """
    if reasons:
        raise GateRefused(
            f"the gate refuses model {model}{f' ({measured})' if measured else ''}: {'; '.join(reasons)}",
            "Train longer or on more examples, or promote it all the same with --force",
        )


def _checks(condition: Condition, ours: Measured, theirs: Measured, intervals: _Intervals | None) -> Iterator[Check]:
    own, other = ours.figures.get(condition.figure), theirs.figures.get(condition.figure)
    for limit, amount in _limits(condition):
        compares = limit not in ("at_least", "at_most")
        label, asked = LABELS[condition.figure], _asked(condition, limit, amount)
        if compares and other is None:
            yield Check(label, asked, own, None, None, "the other model has no such figure")
            continue
        if own is None:
            yield Check(label, asked, None, other, False, f"it has no {label}, which was not measured")
            continue
        value = own - other if compares and other is not None else own
        if condition.bound != "estimate":
            end = intervals.end(condition, compares=compares) if intervals else None
            if end is None:
                why = f"there are no rows to take the interval of its {label} from: evaluate again"
                yield Check(label, asked, own, other, False, why)
                continue
            value = end
        if _holds(limit, value, amount):
            yield Check(label, asked, own, other, True)
        else:
            yield Check(label, asked, own, other, False, _reason(condition, limit, amount, own, other, value))


def _limits(condition: Condition) -> list[tuple[str, float]]:
    names = ("max_drop", "max_rise", "min_gain", "at_least", "at_most")
    return [(name, amount) for name in names if (amount := getattr(condition, name)) is not None]


def _holds(limit: str, value: float, amount: float) -> bool:
    """Whether a figure, or a difference, keeps to a limit."""
    if limit == "max_drop":
        return value >= -amount - ROUNDING
    if limit in ("max_rise", "at_most"):
        return value <= amount + ROUNDING
    return value >= amount - ROUNDING


def _asked(condition: Condition, limit: str, amount: float) -> str:
    words = {
        "max_drop": "at most {:g} lower",
        "max_rise": "at most {:g} higher",
        "min_gain": "at least {:g} higher",
        "at_least": "at least {:g}",
        "at_most": "at most {:g}",
    }
    end = "" if condition.bound == "estimate" else f", {condition.bound} end of the interval"
    return words[limit].format(amount) + end


def _reason(condition: Condition, limit: str, amount: float, own: float, other: float | None, value: float) -> str:
    said = f"its {LABELS[condition.figure]} {own:.3f} is"
    sure = "" if condition.bound == "estimate" else f" ({value:+.3f} at the {condition.bound} end of the interval)"
    if limit == "at_least":
        return f"{said} below {amount:g}{sure}"
    if limit == "at_most":
        return f"{said} above {amount:g}{sure}"
    apart = own - (other or 0.0)
    way = "below" if apart < 0 else "above"
    allowed = f"and {amount:.3f} is allowed" if limit != "min_gain" else f"and a gain of {amount:.3f} is asked for"
    return f"{said} {abs(apart):.3f} {way} {other:.3f}{sure}, {allowed}"
