"""The gate before a model is served: is it worse than the one it would replace?

In: figures of two evaluations over the same examples. Out: reasons to refuse, in words; none means yes.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

from configs.errors import GateRefused
from configs.evaluation import Condition

REQUIRED = ("answer_f1", "perplexity")


def reasons_against(
    candidate: Mapping[str, float], reference: Mapping[str, float], conditions: Sequence[Condition]
) -> list[str]:
    """Why `candidate` should not replace `reference`: a reason for each condition that does not hold."""
    broken = [name for name in REQUIRED if not math.isfinite(candidate.get(name, math.nan))]
    if broken:
        return [f"its {name} is missing or not a number" for name in broken]
    return [reason for condition in conditions for reason in _against(condition, candidate, reference)]


def _against(condition: Condition, candidate: Mapping[str, float], reference: Mapping[str, float]) -> Iterator[str]:
    name = condition.figure
    ours, theirs = candidate.get(name), reference.get(name)
    if ours is None:
        yield f"it has no figure {name}"
        return
    said = f"its {name.replace('_', ' ').replace(' f1', ' F1')} {ours:.3f} is"
    if condition.at_least is not None and ours < condition.at_least:
        yield f"{said} below {condition.at_least:g}"
    if condition.at_most is not None and ours > condition.at_most:
        yield f"{said} above {condition.at_most:g}"
    if theirs is None:
        return
    if condition.max_drop is not None and theirs - ours > condition.max_drop:
        yield f"{said} {theirs - ours:.3f} below {theirs:.3f}, and {condition.max_drop:.3f} is allowed"
    if condition.max_rise is not None and ours - theirs > condition.max_rise:
        yield f"{said} {ours - theirs:.3f} above {theirs:.3f}, and {condition.max_rise:.3f} is allowed"


def refuse(model: str, reasons: list[str]) -> None:
    """Refuse where there are reasons to.

    Raises:
        GateRefused: there is at least one.
    """
    if reasons:
        raise GateRefused(
            f"the gate refuses model {model}: {'; '.join(reasons)}",
            "Train longer or on more examples, or promote it all the same with --force",
        )
