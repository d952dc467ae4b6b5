"""The rule `too_short`: a document needs enough words to answer anything from."""

from dataclasses import dataclass

from guards.base import Verdict
from ingest.filters.text import Text
from ingest.filters.verdicts import at_least, judge


@dataclass(frozen=True)
class TooShort:
    """Refuses stubs. Words are what stands between white space."""

    min_words: int = 15

    def __call__(self, text: Text) -> Verdict:
        return judge("too_short", [at_least("words", len(text.chunks), self.min_words)])
