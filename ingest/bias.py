"""How often a corpus names groups of people, and which documents to leave out so that no group outweighs the others.

In: texts. Out: counts of the terms in `bias_terms.yaml` by group (`gender/female`, `religion/muslim`, ...), their
shares within each category, and, where balancing is asked for, a yes or no for each document that depends on its id.

Known limits: English terms; words are counted, not what is said of people, so the figures show who is written about
and not how. Technical meanings are avoided, not resolved: `child`, which in a manual is a process, is no term, but an
author called Christian counts. A letter that is not ASCII ends a word.
"""

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from ingest.records import stable_id

TERMS = Path(__file__).parent / "bias_terms.yaml"
# All but small letters and hyphens becomes a blank: much faster than a pattern that finds words.
_BLANKED = bytes(code if chr(code) in string.ascii_lowercase + "-" else 32 for code in range(256))


@dataclass(frozen=True)
class Group:
    """One group over a corpus.

    Attributes:
        name: `category/group`.
        mentions: of its terms.
        documents: with one or more.
        share: of the mentions of all groups of its category, 0 to 1.
    """

    name: str
    mentions: int
    documents: int
    share: float


def profile(text: str) -> Counter[str]:
    """Mentions of each group in a text, for those that are mentioned."""
    words, phrases = _terms()
    lower = text.lower()
    written = lower.encode("ascii", "replace").translate(_BLANKED).split()
    counts = Counter(words[word] for word in written if word in words)
    # Few texts have the first word of any phrase, and looking for all of them takes longer than all the rest.
    for first in sorted(phrases.keys() & set(written)):
        for pattern, name in phrases[first]:
            counts[name] += len(pattern.findall(lower))
    return +counts


def summarise(profiles: Iterable[Mapping[str, int]]) -> list[Group]:
    """The groups of a corpus from the profiles of its documents, those without mentions included."""
    mentions: Counter[str] = Counter(dict.fromkeys(groups(), 0))
    documents: Counter[str] = Counter()
    for found in profiles:
        mentions.update(found)
        documents.update(found.keys())
    totals: Counter[str] = Counter()
    for name, number in mentions.items():
        totals[_category(name)] += number
    return [
        Group(name, number, documents[name], number / max(totals[_category(name)], 1))
        for name, number in mentions.items()
    ]


def keep_rates(profiles: Iterable[Mapping[str, int]], categories: Sequence[str], max_share: float) -> dict[str, float]:
    """For each group that has more than its share, how many of the documents that it dominates are to be kept.

    A group dominates a document when it has more than `max_share` of the mentions of its category there. With T
    mentions in all, G of them of the group, and in the documents that it dominates t and g: leaving out the part x of
    those documents gives (G - x g) / (T - x t) = max_share for x = (G - max_share T) / (g - max_share t).

    Args:
        categories: of `bias_terms.yaml`; groups of others are left as they are.
        max_share: of the mentions of a category, above 0 to 1.

    Returns:
        Rates from 0 to 1 by group; groups that are not in it lose nothing.
    """
    total, inside = Counter[str](), Counter[str]()
    dominated_by: Counter[str] = Counter()
    for found in profiles:
        for category in categories:
            own = {name: number for name, number in found.items() if _category(name) == category}
            total.update(own)
            name = _dominant(own, max_share)
            if name:
                inside[name] += own[name]
                dominated_by[name] += sum(own.values())
    rates: dict[str, float] = {}
    for name, dominated in sorted(dominated_by.items()):
        overall = sum(number for other, number in total.items() if _category(other) == _category(name))
        surplus = total[name] - max_share * overall
        if surplus > 0:
            rates[name] = max(0.0, 1.0 - surplus / (inside[name] - max_share * dominated))
    return rates


def refused_for(document_id: str, found: Mapping[str, int], rates: Mapping[str, float], max_share: float) -> str:
    """The group for which a document is left out, or an empty string to keep it.

    Args:
        document_id: decides, through a hash, which documents are the ones to go.
        found: the document's profile.
        rates: as `keep_rates` found them for the corpus, with the same `max_share`.
    """
    for name, rate in rates.items():
        own = {other: number for other, number in found.items() if _category(other) == _category(name)}
        if _dominant(own, max_share) == name and int(stable_id(document_id, name), 16) / 2**64 >= rate:
            return name
    return ""


def groups() -> list[str]:
    """All groups as `category/group`, in the order of the list."""
    return [f"{category}/{group}" for category, members in _list().items() for group in members]


def _dominant(own: Mapping[str, int], max_share: float) -> str:
    """The group with more than its share of a document's mentions in one category; the first by name of several."""
    total = sum(own.values())
    return next((name for name in sorted(own) if own[name] > max_share * total), "")


def _category(name: str) -> str:
    return name.partition("/")[0]


@cache
def _list() -> dict[str, dict[str, list[str]]]:
    tree: dict[str, dict[str, list[str]]] = yaml.safe_load(TERMS.read_text(encoding="utf-8"))
    return tree


@cache
def _terms() -> tuple[dict[bytes, str], dict[bytes, list[tuple[re.Pattern[str], str]]]]:
    """Group by word; and the phrases of several words, as patterns with their groups, by first word."""
    words: dict[bytes, str] = {}
    phrases: dict[bytes, list[tuple[re.Pattern[str], str]]] = {}
    for category, members in _list().items():
        for group, terms in members.items():
            name = f"{category}/{group}"
            for term in terms:
                first = term.split()[0].encode("ascii")
                if " " in term:
                    phrases.setdefault(first, []).append((re.compile(rf"\b{term}\b"), name))
                else:
                    words[first] = name
    return words, phrases
