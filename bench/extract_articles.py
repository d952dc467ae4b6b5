"""Two public sets of article pages, scored with their own metrics.

    html_trafilatura     wanted and unwanted phrases of each page: micro precision, recall, F1 of those that are in the
                         text; white space is made one space on both sides
    html_scrapinghub     the article's text: precision and recall of its four-word shingles, the mean over pages of
                         each, and F1 of the two means

The text of an extractor is scored as it comes.
"""

import gzip
import json
import re
import statistics
import tarfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WORD = re.compile(r"\w+")

Rows = list[dict[str, Any]]


def pages(data: Path, name: str) -> tuple[Rows, dict[str, bytes]]:
    """The annotations of a set's development half, and its pages by id."""
    folder = data / name / "dev"
    annotations = next(folder.glob("*.jsonl.gz"))
    with gzip.open(annotations, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    with tarfile.open(folder / "html.tar.xz") as archive:
        bodies = {
            Path(member.name).stem: file.read()
            for member in archive
            if (file := archive.extractfile(member)) is not None
        }
    return rows, bodies


def html_trafilatura(rows: Rows, texts: Mapping[str, str]) -> dict[str, Any]:
    """Hits of wanted and unwanted phrases."""
    hits: Counter[str] = Counter()
    for row in rows:
        text = spaced(texts[row["id"]])
        for phrase in row["with"]:
            hits["tp" if spaced(phrase) in text else "fn"] += 1
        for phrase in row["without"]:
            hits["fp" if spaced(phrase) in text else "tn"] += 1
    precision, recall = ratio(hits["tp"], hits["fp"]), ratio(hits["tp"], hits["fn"])
    return rounded(precision, recall) | {"wrong": hits["fp"] + hits["fn"], "phrases": hits.total()}


def html_scrapinghub(rows: Rows, texts: Mapping[str, str]) -> dict[str, Any]:
    """Overlap of shingles."""
    scores = [overlap(shingles(row["articleBody"]), shingles(texts[row["id"]])) for row in rows]
    precision, recall = (statistics.mean(values) for values in zip(*scores, strict=True))
    return rounded(precision, recall) | {"pages_below_0.8": sum(min(score) < 0.8 for score in scores)}


METRICS = {"html_trafilatura": html_trafilatura, "html_scrapinghub": html_scrapinghub}


def overlap(wanted: Counter[Any], found: Counter[Any]) -> tuple[float, float]:
    """Precision and recall."""
    common = (wanted & found).total()
    return ratio(common, (found - wanted).total()), ratio(common, (wanted - found).total())


def shingles(text: str, size: int = 4) -> Counter[Any]:
    """Each run of four words, and how often; a shorter text is one run."""
    words = WORD.findall(text or "")
    return Counter(tuple(words[at : at + size]) for at in range(max(1, len(words) - size + 1)))


def rounded(precision: float, recall: float) -> dict[str, Any]:
    """The two, and their harmonic mean."""
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"f1": round(f1, 4), "precision": round(precision, 4), "recall": round(recall, 4)}


def ratio(right: int, wrong: int) -> float:
    """The share of the right ones; 0 when there are none."""
    return right / (right + wrong) if right else 0.0


def spaced(text: str) -> str:
    """With one space for any white space."""
    return " ".join(text.split())
