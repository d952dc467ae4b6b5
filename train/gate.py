"""The gate before a model is served: is it worse than the one it would replace?

In: figures of two evaluations over the same examples. Out: reasons to refuse, in words; none means yes.
"""

import math
from collections.abc import Mapping

from configs.errors import GateRefused

REQUIRED = ("answer_f1", "perplexity")


def reasons_against(candidate: Mapping[str, float], champion: Mapping[str, float], max_f1_drop: float) -> list[str]:
    """Why `candidate` should not replace `champion`.

    Args:
        max_f1_drop: the answer F1 may be lower by this much, since small evaluations are noisy.
    """
    broken = [name for name in REQUIRED if not math.isfinite(candidate.get(name, math.nan))]
    if broken:
        return [f"its {name} is missing or not a number" for name in broken]
    drop = champion.get("answer_f1", 0.0) - candidate["answer_f1"]
    if drop > max_f1_drop:
        return [
            f"its answer F1 {candidate['answer_f1']:.3f} is {drop:.3f} below {champion['answer_f1']:.3f}, "
            f"and {max_f1_drop:.3f} is allowed"
        ]
    return []


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
