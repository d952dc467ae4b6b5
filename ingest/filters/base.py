"""Rules in the order of a list: a document's text in, the verdict of the first rule that refuses it out.

A rule is anything that takes a `Text` and answers a `Verdict`; each is a frozen dataclass of its thresholds in a file
of its own, and travels to worker processes as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from configs.errors import ConfigError
from guards.base import Verdict
from ingest.filters.c4 import C4
from ingest.filters.fineweb import FineWeb
from ingest.filters.gopher_quality import GopherQuality
from ingest.filters.gopher_repetition import GopherRepetition
from ingest.filters.language import Language
from ingest.filters.not_prose import NotProse
from ingest.filters.perplexity import Perplexity
from ingest.filters.text import Text
from ingest.filters.too_short import TooShort
from ingest.records import Document

__all__ = ["RULES", "Rule", "Text", "build_rules", "first_refusal"]

Rule = Callable[[Text], Verdict]

# What the settings call them; which of them run, and in which order, the settings say.
RULES: Mapping[str, Callable[..., Rule]] = {
    "too_short": TooShort,
    "not_prose": NotProse,
    "language": Language,
    "gopher_quality": GopherQuality,
    "gopher_repetition": GopherRepetition,
    "c4": C4,
    "fineweb": FineWeb,
    "perplexity": Perplexity,
}


def build_rules(order: Sequence[str], settings: Mapping[str, Mapping[str, Any]]) -> list[Rule]:
    """The rules in the given order.

    Args:
        settings: for each rule's name its thresholds; those that are not given keep the published value.

    Raises:
        ConfigError: a name is unknown.
    """
    for name in order:
        if name not in RULES:
            raise ConfigError(f"there is no rule {name!r}", f"Rules: {', '.join(RULES)}")
    return [RULES[name](**settings.get(name, {})) for name in order]


def first_refusal(document: Document, rules: Sequence[Rule]) -> Verdict | None:
    """The verdict of the first rule that refuses the document, or None."""
    text = Text(document)
    return next((verdict for rule in rules if not (verdict := rule(text)).allowed), None)
