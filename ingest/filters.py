"""Which documents are kept: small rules, each a `Verdict`; the order is the literal list in `build_filters`."""

from collections.abc import Callable

from guards.base import Action, Verdict
from ingest.records import Document

Filter = Callable[[Document], Verdict]
VERSION = "1"


def build_filters(*, min_words: int, min_letter_share: float) -> list[Filter]:
    """The rules in the order in which they run; cheap ones first, and the first that says no is the reason."""
    return [
        lambda document: long_enough(document, min_words),
        lambda document: prose(document, min_letter_share),
    ]


def first_refusal(document: Document, filters: list[Filter]) -> Verdict | None:
    """The verdict of the first rule that refuses the document, or None."""
    return next((verdict for rule in filters if not (verdict := rule(document)).allowed), None)


def long_enough(document: Document, min_words: int) -> Verdict:
    """Enough words to answer anything from."""
    words = len(document.text.split())
    return _verdict("too_short", words, min_words, allowed=words >= min_words, reason=f"{words} words")


def prose(document: Document, min_letter_share: float) -> Verdict:
    """Mostly letters: dumps of numbers, base64 and separators are not."""
    visible = [char for char in document.text if not char.isspace()]
    share = sum(map(str.isalpha, visible)) / max(len(visible), 1)
    return _verdict(
        "not_prose", share, min_letter_share, allowed=share >= min_letter_share, reason=f"{share:.0%} letters"
    )


def _verdict(rule: str, score: float, threshold: float, *, allowed: bool, reason: str) -> Verdict:
    action = Action.ALLOW if allowed else Action.BLOCK
    return Verdict(action, rule, float(score), float(threshold), reason, f"filters.{rule}", VERSION)
