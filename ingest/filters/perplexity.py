"""The rule `perplexity`: a text that surprises a language model too much is no text in its language (CCNet, Wenzek et
al. 2020, arXiv 1911.00359, section 3.3, with any causal model instead of its 5-gram models).
"""

from dataclasses import dataclass

from guards.base import Verdict
from ingest.filters.text import Text
from ingest.filters.verdicts import at_most, judge
from ingest.perplexity import perplexity


@dataclass(frozen=True)
class Perplexity:
    """Refuses texts above a limit; those too short to tell pass.

    Attributes:
        model: as for `ingest.perplexity.perplexity`.
        max_perplexity: above it lies what is no language, or not one that the model knows.
        max_tokens: read of each text.
    """

    model: str = "embedded:SmolLM2-135M-Instruct"
    max_perplexity: float = 500.0
    max_tokens: int = 256

    def __call__(self, text: Text) -> Verdict:
        score = perplexity(text.text, self.model, self.max_tokens)
        return judge("perplexity", [] if score is None else [at_most("perplexity", score, self.max_perplexity)])
