"""How well the guard finds labelled spans: by character, any type, and span by span.

In: texts with labelled spans, and what was found. Out: figures from 0 to 1, and counts.

Known limits: a type that the guard names differently still counts as found, since either way it is redacted.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from guards.detectors.pii import PiiGuard
from guards.training.names_data import Example, read

Place = tuple[int, int]


def agreement(labelled: Iterable[tuple[Sequence[tuple[int, int, str]], Sequence[Place]]]) -> dict[str, Any]:
    """Precision, recall, F1 and F2 over characters, and how many spans of each type were covered from end to end.

    Args:
        labelled: of each text, the labelled spans (start, end, type) and the found ones (start, end).
    """
    hit = wrong = missed = 0
    covered: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for expected, found in labelled:
        true = _chars((start, end) for start, end, _ in expected)
        got = _chars(found)
        hit, wrong, missed = hit + len(true & got), wrong + len(got - true), missed + len(true - got)
        for start, end, kind in expected:
            total[kind] += 1
            covered[kind] += got.issuperset(range(start, end))
    precision, recall = hit / max(1, hit + wrong), hit / max(1, hit + missed)
    return {
        "char_precision": round(precision, 4),
        "char_recall": round(recall, 4),
        "char_f1": round(f_score(precision, recall, 1), 4),
        "char_f2": round(f_score(precision, recall, 2), 4),
        "spans_covered": {kind: {"covered": covered[kind], "of": total[kind]} for kind in sorted(total)},
    }


def f_score(precision: float, recall: float, beta: float) -> float:
    """The F measure, in which recall weighs `beta` times as much as precision (van Rijsbergen 1979)."""
    weighted = beta**2 * precision + recall
    return (1 + beta**2) * precision * recall / weighted if weighted else 0.0


def _chars(spans: Iterable[Place]) -> set[int]:
    return {place for start, end in spans for place in range(start, end)}


def names_figures(examples: Sequence[Example], weights: Path) -> dict[str, Any]:
    """Figures on people's names in labelled sentences."""
    guard = PiiGuard(mode="full", entities=("person",), weights=weights)
    return {"texts": len(examples), **agreement(_people(example, guard) for example in examples)}


def _people(example: Example, guard: PiiGuard) -> tuple[list[tuple[int, int, str]], list[Place]]:
    expected = [(start, end, label) for start, end, label in example.spans if label == "person"]
    return expected, [(find.start, find.end) for find in guard.find(example.text)]


def pii_figures(folder: Path, groups: set[str] | None, weights: Path) -> dict[str, Any]:
    """Figures on a set of filled templates; of the templates named by `groups`, or of all."""
    guard = PiiGuard(mode="full", weights=weights)
    rows = [
        row for row in read(folder / "dev" / "data.jsonl.gz") if groups is None or str(row["template_id"]) in groups
    ]
    return {"texts": len(rows), **agreement(filled(rows, lambda text: [find[:2] for find in guard.find(text)]))}


def filled(
    rows: Iterable[dict[str, Any]], find: Callable[[str], Sequence[Place]]
) -> Iterable[tuple[list[tuple[int, int, str]], Sequence[Place]]]:
    """The rows' spans beside what `find` finds in their texts."""
    for row in rows:
        yield [(span["start"], span["end"], span["type"]) for span in row["spans"]], find(row["text"])
