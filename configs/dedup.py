"""Settings of deduplication."""

from typing import Annotated, Literal

from pydantic import Field

from configs.section import Positive, Section


class SemanticSettings(Section):
    """Documents that say the same in other words."""

    enabled: bool = False
    """Compare the meanings of documents, by vectors of the index's embedding model; takes as long as embedding them."""
    threshold: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    """Cosine of two documents' vectors from which on the newer one is left out."""


class ParagraphSettings(Section):
    """Paragraphs that stand in several documents, or several times in one."""

    repeated: Literal["off", "report", "remove"] = "off"
    """What to do with them: nothing, count them, or keep each in the oldest document only."""
    min_words: Positive = 20
    """Shorter paragraphs are not looked at."""


class DedupSettings(Section):
    """Which documents, and which paragraphs, repeat others."""

    near: bool = True
    """Also find texts that are nearly the same, not only the same."""
    threshold: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    """Jaccard similarity of two texts' sets of three-word shingles from which on the newer one is left out."""
    semantic: SemanticSettings = SemanticSettings()
    """Documents that say the same in other words."""
    paragraphs: ParagraphSettings = ParagraphSettings()
    """Paragraphs that stand in the corpus more than once."""
