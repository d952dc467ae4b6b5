"""The rule `language`: only documents in the languages that are wanted (`ingest.language` says how they are told)."""

from collections.abc import Sequence
from dataclasses import dataclass

from guards.base import Verdict
from ingest.filters.text import Text
from ingest.filters.verdicts import Limit, judge


@dataclass(frozen=True)
class Language:
    """Refuses documents in other languages; with no `keep` it refuses none.

    Attributes:
        keep: ISO 639-1 codes.
        min_probability: a document that is probably in another language passes when that is less sure than this, so
            that short pages and code are not lost.
    """

    keep: Sequence[str] = ()
    min_probability: float = 0.8

    def __call__(self, text: Text) -> Verdict:
        if not self.keep:
            return judge("language", [])
        code, probability = text.language
        kept = code in self.keep or not code or probability < self.min_probability
        other = Limit(f"probability of {code or 'no language'}", probability, self.min_probability, kept, "below")
        return judge("language", [other])
