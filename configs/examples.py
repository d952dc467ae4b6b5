"""Settings of the training and evaluation examples."""

from typing import Annotated

from pydantic import Field

from configs.section import Fraction, Positive, Section


class ExampleSettings(Section):
    """Training and evaluation examples made from the documents."""

    max_examples: Positive = 2000
    """Upper limit over all documents, answerable and unanswerable together."""
    passages: Annotated[int, Field(ge=1, le=10)] = 3
    """Passages shown in an example's prompt: the right one (if any) and distractors from the index."""
    unanswerable_share: Fraction = 0.15
    """Share of examples whose passages do not hold the answer, and whose answer says so."""
    holdout_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Share of documents (never single rows) kept for evaluation."""
