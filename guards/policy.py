"""Which guards run, in which order. The order is the list below: redactions first, so that nothing later sees them."""

from guards.base import Action, Guard
from guards.pii import PiiGuard
from guards.toxicity import ToxicityGuard


def build_guards(pii: str = "redact", toxicity: str = "block", max_toxicity: float = 0.9) -> list[Guard]:
    """The guards of one stage.

    Args:
        pii: `redact`, `block` or `off`.
        toxicity: `block`, `flag` or `off`.
        max_toxicity: scores above this are toxic.
    """
    guards: list[Guard] = []
    if pii != "off":
        guards.append(PiiGuard(Action(pii)))
    if toxicity != "off":
        guards.append(ToxicityGuard(Action(toxicity), max_toxicity))
    return guards
