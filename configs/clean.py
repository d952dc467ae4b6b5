"""Settings of cleaning: what is repaired, and which documents are kept."""

from typing import Annotated

from pydantic import Field

from configs.section import Fraction, Section


class CleanSettings(Section):
    """Which documents are kept."""

    min_words: Annotated[int, Field(ge=0)] = 15
    """Documents with fewer words are rejected (`too_short`)."""
    min_letter_share: Fraction = 0.5
    """Documents with a smaller share of letters among their non-space characters are rejected (`not_prose`)."""
