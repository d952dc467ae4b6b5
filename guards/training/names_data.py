"""The examples that the name model learns from: sentences labelled by people, filled templates, manuals about nobody.

In: a folder with the public sets (see docs/models/names.md for what each holds). Out: `Example`s, whose spans carry one
of `LABELS`; a span labelled None is unknown and does not count.

Known limits: English sentences only; the encyclopaedia has the careful labels, and there are few of its sentences.
"""

import gzip
import json
import pydoc_data.topics
import random
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

LABELS = (
    "none",
    "person",
    "location",
    "organization",
    "nrp",
    "address",
    "zip_code",
    "title",
    "job",
    "date",
    "age",
    "phone",
)

# What the sets call each label; None leaves the span out of the training.
_REAL: dict[str, str | None] = {
    "PER": "person",
    "person": "person",
    "LOC": "location",
    "location": "location",
    "ORG": "organization",
    "corporation": "organization",
    "group": "organization",
}
_MADE_UP: dict[str, str | None] = {
    "PERSON": "person",
    "GPE": "location",
    "LOCATION": "location",
    "ORGANIZATION": "organization",
    "NRP": "nrp",
    "STREET_ADDRESS": "address",
    "ADDRESS": "address",
    "ZIP_CODE": "zip_code",
    "TITLE": "title",
    "PREFIX": "title",
    "DATE_TIME": "date",
    "AGE": "age",
    "PHONE_NUMBER": "phone",
}
# Contracts call their parties people ("Borrower"); the labels of these tweets are the least careful.
_LEFT_OUT = {"sec-fin3", "sec-fin5", "btc-a", "btc-b", "btc-h"}
_HONORIFIC = re.compile(r"(?:mr|mrs|ms|miss|dr|prof|sir|madam|mx)\.?", re.IGNORECASE)
_NAMED = re.compile(
    r"Guido|van Rossum|Monty|Eric|John|Jane|Fred|Kahan|Unicode Consortium|IEEE|Microsoft|Europe|America|Paris"
)
_YEAR_OR_NUMBER = re.compile(r"\b\d[\d,./:-]*\b")


@dataclass(frozen=True)
class Example:
    """One text.

    Attributes:
        source: the set it is from.
        group: what must stay together when the data are split, such as a template.
        spans: start, end and label of each, in order.
    """

    source: str
    group: str
    text: str
    spans: tuple[tuple[int, int, str | None], ...]


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a gzipped JSON-lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def real(data: Path) -> list[Example]:
    """Sentences of encyclopaedia and of social media with labelled names."""
    rows = read(data / "ner_real_text" / "dev" / "data.jsonl.gz")
    return [_real(row) for row in rows if row["source"] not in _LEFT_OUT]


def _real(row: dict[str, Any]) -> Example:
    spans = [(span["start"], span["end"], _real_label(span)) for span in row["spans"]]
    taken = {place for start, end, _ in spans for place in range(start, end)}
    # Nobody labelled dates and ages in these, so figures teach nothing.
    for match in _YEAR_OR_NUMBER.finditer(row["text"]):
        if match.start() not in taken:
            spans.append((*match.span(), None))  # noqa: PERF401  mypy can't read the shorter form
    return Example(row["source"], row["id"], row["text"], tuple(sorted(spans)))


def _real_label(span: dict[str, Any]) -> str | None:
    # Tweets label handles and hash tags as people.
    if span["value"].startswith(("@", "#")) or (span["value"].islower() and " " not in span["value"]):
        return None
    return _REAL.get(span["type"])


def made_up(data: Path) -> list[Example]:
    """The templates of two public sets as they were filled."""
    found = []
    for name in ("pii_presidio_v2", "pii_presidio_large"):
        for row in read(data / name / "dev" / "data.jsonl.gz"):
            spans = sorted((span["start"], span["end"], _made_up_label(span)) for span in row["spans"])
            found.append(Example(name, str(row["template_id"]), row["text"], tuple(spans)))
    return found


def _made_up_label(span: dict[str, Any]) -> str | None:
    label = _MADE_UP.get(span["type"])
    if label == "title" and not _HONORIFIC.fullmatch(span["value"]):
        return "job"
    return label


def values(examples: Iterable[Example]) -> dict[str, list[str]]:
    """What stands in the spans of each label, for `Filler`."""
    found: dict[str, list[str]] = defaultdict(list)
    for example in examples:
        for start, end, label in example.spans:
            if label is not None:
                found[label].append(example.text[start:end])
    return found


def manuals(limit: int) -> list[Example]:
    """Paragraphs of Python's own reference, which is about nobody; capitals and figures in them are not personal."""
    topics = sorted(pydoc_data.topics.topics.items())
    found = [
        Example("manual", topic, " ".join(part.split()), ())
        for topic, text in topics
        for part in re.split(r"\n\s*\n", text)
        if 60 < len(part) < 700 and not _NAMED.search(part)
    ]
    return random.Random(0).sample(found, min(limit, len(found)))


def spoken(example: Example) -> Example:
    """The example with the blanks before punctuation taken out, since people type without them."""
    drop = {match.start() for match in re.finditer(r" (?=[,.;:?!)\]']|n't)|(?<=[(\[]) ", example.text)}
    if not drop:
        return example
    place, new = [], 0
    for old in range(len(example.text) + 1):
        place.append(new)
        new += old not in drop
    text = "".join(char for at, char in enumerate(example.text) if at not in drop)
    return replace(
        example, text=text, spans=tuple((place[start], place[end], label) for start, end, label in example.spans)
    )
