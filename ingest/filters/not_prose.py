"""The rule `not_prose`: a document is mostly letters; dumps of numbers, base64 and separators are not."""

from dataclasses import dataclass

from guards.base import Verdict
from ingest.filters.text import Text
from ingest.filters.verdicts import at_least, judge


@dataclass(frozen=True)
class NotProse:
    """Refuses what has few letters among its visible characters."""

    min_letter_share: float = 0.5

    def __call__(self, text: Text) -> Verdict:
        share = at_least("share of letters among visible characters", text.letter_share, self.min_letter_share)
        return judge("not_prose", [share])
