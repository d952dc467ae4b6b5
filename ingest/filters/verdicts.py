"""How a rule says yes or no: a rule is a row of limits, and the first that is not kept is the reason."""

from collections.abc import Iterable
from typing import NamedTuple

from guards.base import Action, Verdict

VERSION = "2"


class Limit(NamedTuple):
    """A figure of a text, and what it has to keep to.

    Attributes:
        what: the figure in plain words.
        kept: whether the text passes.
        bound: `at least`, `at most`, ...: how the threshold is meant.
    """

    what: str
    score: float
    threshold: float
    kept: bool
    bound: str


def at_least(what: str, score: float, threshold: float) -> Limit:
    """The figure must not be below the threshold."""
    return Limit(what, score, threshold, score >= threshold, "at least")


def at_most(what: str, score: float, threshold: float) -> Limit:
    """The figure must not be above the threshold."""
    return Limit(what, score, threshold, score <= threshold, "at most")


def judge(rule: str, limits: Iterable[Limit]) -> Verdict:
    """The verdict of a rule; limits after the first that is not kept are not worked out."""
    last = Limit("", 0.0, 0.0, kept=True, bound="")
    for last in limits:
        if not last.kept:
            break
    action = Action.ALLOW if last.kept else Action.BLOCK
    reason = f"{last.what}: {last.score:.4g}, {last.bound} {last.threshold:g} wanted" if last.what else ""
    return Verdict(action, rule, float(last.score), float(last.threshold), reason, f"filters.{rule}", VERSION)
