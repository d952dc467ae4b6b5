"""Settings of deduplication."""

from typing import Annotated

from pydantic import Field

from configs.section import Section


class DedupSettings(Section):
    """Which documents repeat others."""

    near: bool = True
    """Also find texts that are nearly the same, not only the same."""
    threshold: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8
    """Jaccard similarity of two texts' word shingles from which on the newer one is left out."""
