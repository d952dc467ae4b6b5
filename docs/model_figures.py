"""The tables of the toxicity model's card, from the figures that its training wrote beside the weights.

In: `guards/weights/toxicity.json`. Out: Markdown that `docs.generate` puts into docs/models/toxicity.md.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

WEIGHTS = Path(__file__).parent.parent / "guards" / "weights" / "toxicity.json"
SETS = {
    "davidson": "Davidson, tweets",
    "hatecheck": "HateCheck",
    "surge": "Surge AI",
    "openai_moderation": "OpenAI moderation",
    "xstest": "XSTest, safe questions",
    "documentation": "MLRun manual, paragraphs",
    "docstrings": "Python docstrings",
}


def toxicity_tables(weights: Path = WEIGHTS) -> str:
    """Markdown: one heading for each kind of figure."""
    meta = json.loads(weights.read_text(encoding="utf-8"))
    held = meta["held_out"]
    parts = [
        *_heading("How often is the toxicity model wrong?", "By set, on texts that the measured fit had not seen."),
        *_table(["set", "texts", "ROC-AUC", "toxic ones found", "false alarms", "ECE"], _by_set(held)),
        *_heading("How good is each toxicity category?", "By category, over the texts that carry a label for it."),
        *_table(
            ["category", "texts", "positive", "ROC-AUC", "threshold", "found", "false alarms"],
            _by_category(held["category"], meta["thresholds"]),
        ),
        *_heading(
            "Which kinds of hate does the toxicity model miss?",
            "By functionality of HateCheck (`_h` is hateful, `_nh` is not). Few templates stand behind each.",
        ),
        *_table(["functionality", "texts", "flagged, should be", "flagged, should not"], _rates(held, "functionality")),
        *_heading("Whom is the toxicity model wrong about?", "By the group that HateCheck's texts are about."),
        *_table(["group", "texts", "hateful flagged", "others flagged"], _rates(held, "target")),
        *_heading("Is the toxicity score a probability?", _calibration(held["calibration"]["all"])),
        *_table(["texts", "mean score", "share toxic"], _bins(held["calibration"]["all"]["bins"])),
    ]
    return "\n".join(parts)


def _heading(question: str, answer: str) -> list[str]:
    return ["", f"## {question}", "", answer, ""]


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines]


def _by_set(held: Mapping[str, Any]) -> Iterable[list[str]]:
    for name, title in SETS.items():
        found = held["flagged"][name]
        calibration = held["calibration"].get(name, {})
        rates = [_percent(found.get("of_toxic")), _percent(found.get("of_others"))]
        yield [title, str(found["n"]), _figure(held["auc"].get(name)), *rates, _figure(calibration.get("ece"))]


def _by_category(categories: Mapping[str, Any], thresholds: Mapping[str, float]) -> Iterable[list[str]]:
    for name, found in categories.items():
        counts = [str(found["n"]), str(found["positive"]), _figure(found["auc"]), f"{thresholds[name]:g}"]
        yield [name, *counts, _percent(found["recall"]), _percent(found["false_alarms"])]


def _rates(held: Mapping[str, Any], kind: str) -> Iterable[list[str]]:
    for name, found in held[f"hatecheck_{kind}"].items():
        yield [name, str(found["n"]), _percent(found.get("of_toxic")), _percent(found.get("of_others"))]


def _calibration(all_sets: Mapping[str, Any]) -> str:
    return (
        "It is calibrated by a line (Platt scaling) on the texts that it is measured on here, every set weighing the "
        "same, and it will be off where the share of toxic texts is another. The expected calibration error over all "
        f"sets is {all_sets['ece']:.3f}."
    )


def _bins(bins: Iterable[Mapping[str, Any]]) -> Iterable[list[str]]:
    return ([str(row["n"]), f"{row['mean']:.2f}", f"{row['share']:.2f}"] for row in bins if row["n"])


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
