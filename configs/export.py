"""Settings of exported models, and how alike they must answer."""

from typing import Annotated

from pydantic import Field

from configs.section import Fraction, Positive, Section


class ExportSettings(Section):
    """`wellread export`: what an exported model is compared by before it is kept."""

    prompts: Positive = 8
    """Held-out prompts that the exported and the trained model are both asked."""
    tokens: Positive = 24
    """Greedy tokens that are compared for each."""
    logprob_tolerance: Annotated[float, Field(gt=0)] = 0.01
    """At equal precision (weights as `f32`), log-probabilities may differ by this many nats."""
    max_perplexity_rise: Fraction = 0.02
    """With rounded weights, the perplexity of the held-out answers may be higher by this share."""
    max_f1_drop: Fraction = 0.01
    """With rounded weights, the answer F1 may be lower by this much."""
