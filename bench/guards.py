"""Error rates and speed of the guards, beside their targets: one JSON, a table, and pictures of the curves.

    python -m bench.guards --data DATA --out guards.json --plots docs/images
    python -m bench.guards --data DATA --only toxicity,speed
    python -m bench.guards --data DATA --only documentation --docs /usr/share/doc/postgresql-doc-15/html

DATA is a folder with one folder a data set, each with `dev/*.jsonl.gz`. Each detector is measured by a script of its
own (`bench/guard_*.py`), beside other tools on the same texts in the same run. A part that cannot be measured here, for
example because its data are missing, is one line on stderr, and the others go on.
"""

import argparse
import gzip
import importlib
import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from app.cli import ENVIRONMENT
from bench.loop import machine

DETECTORS = ("pii", "toxicity", "injection", "grounding", "small")
PARTS = (*DETECTORS, "speed", "documentation")
# Besides those of the stages: what the detectors and their peers here rest on.
PACKAGES = (
    *("wellread", "numpy", "onnxruntime", "torch", "transformers", "sentence-transformers", "scikit-learn", "spacy"),
    *("presidio-analyzer", "detect-secrets", "lingua-language-detector", "py3langid", "alt-profanity-check"),
)
PRESIDIO = "presidio+en_core_web_sm"
MESSAGES, PARAGRAPHS = 300, 3000


Result = Mapping[str, Any]
Figure = Callable[[Result], float | None]


@dataclass(frozen=True)
class Target:
    """A figure that we want to reach.

    Attributes:
        part: which part measures it.
        what: the figure, in words.
        figure: finds it in the result; None where it was not measured.
        bound: reached when the figure is at least this or, with `most`, at most.
        peer: finds the same figure of another tool.
    """

    part: str
    what: str
    figure: Figure
    bound: float
    most: bool = False
    peer: Figure = lambda _: None

    def row(self, result: Result) -> dict[str, Any]:
        """The target with what was measured; `met` is None when nothing was."""
        figure = self.figure(result)
        met = None if figure is None else figure <= self.bound if self.most else figure >= self.bound
        sign = "at most" if self.most else "at least"
        what, target = f"{self.part}: {self.what}", f"{sign} {self.bound:g}"
        return {"what": what, "target": target, "figure": figure, "met": met, "peer": self.peer(result)}


def value(*path: str) -> Figure:
    """The number at a path of keys."""

    def found(result: Result) -> float | None:
        tree: Any = result
        for key in path:
            tree = tree.get(key) if isinstance(tree, Mapping) else None
        return tree if isinstance(tree, int | float) and not isinstance(tree, bool) else None

    return found


def injected(*endings: str) -> Figure:
    """The share of texts that the held-out injection model called attacks, over the sets whose names end so."""

    def found(result: Result) -> float | None:
        sets = result["parts"].get("injection", {}).get("ours", {}).get("held_out", {}).get("sets", {})
        chosen_sets = [figures for name, figures in sets.items() if name.endswith(endings)]
        texts = sum(figures["n"] for figures in chosen_sets)
        return round(sum(figures["n"] * figures["reached"] for figures in chosen_sets) / texts, 4) if texts else None

    return found


def covered(who: str) -> Figure:
    """The share of people's names in the encyclopaedia that were found from end to end."""

    def found(result: Result) -> float | None:
        figures = result["parts"].get("pii", {}).get("wikigold", {}).get(who, {})
        spans = figures.get("spans_covered", {}).values()
        names = sum(kind["of"] for kind in spans)
        return round(sum(kind["covered"] for kind in spans) / names, 4) if names else None

    return found


def slowest(result: Result) -> float | None:
    """The lowest speed of the patterns for personal data over the texts that it was measured on."""
    return min(result["parts"].get("pii", {}).get("patterns_mb_per_cpu_s", {}).values(), default=None)


def f1(name: str) -> Target:
    """A target for personal data found, by character, in one set."""
    ours = value("parts", "pii", name, "wellread_held_out", "char_f1")
    theirs = value("parts", "pii", name, PRESIDIO, "char_f1")
    return Target("pii", f"character F1 on {name}, held out", ours, 0.90, peer=theirs)


def auc(name: str, bound: float) -> Target:
    """A target for the area under the toxicity guard's ROC curve on one set."""
    theirs = value("parts", "toxicity", "peer", name, "auc")
    return Target(
        "toxicity", f"ROC-AUC on {name}, held out", value("curves", "toxicity", name, "auc"), bound, peer=theirs
    )


def grounded(result: Result, *, ours: bool = True) -> float | None:
    """Balanced accuracy on SciFact with sentence vectors, cross-validated; or that of the best of the other methods."""
    tried = result["parts"].get("grounding", {}).get("scifact", {})
    found = {
        name: figures["cross_validated"]["balanced_accuracy"]
        for name, figures in tried.items()
        if (name == "ours, vectors" if ours else not name.startswith("ours"))
    }
    return max(found.values(), default=None)


def quiet(guard: str, bound: float = 0.02) -> Target:
    """A target for what a guard does to paragraphs of documentation, at its worst over all stages and presets."""
    worst = value("parts", "documentation", "worst", guard)
    return Target("documentation", f"share on which {guard} acts", worst, bound, most=True)


TARGETS = (
    f1("pii_presidio_v2"),
    f1("pii_presidio_large"),
    Target("pii", "names covered on wikigold, held out", covered("wellread_held_out"), 0.85, peer=covered(PRESIDIO)),
    Target(
        "pii",
        "precision of names on wikigold, held out",
        value("parts", "pii", "wikigold", "wellread_held_out", "char_precision"),
        0.85,
        peer=value("parts", "pii", "wikigold", PRESIDIO, "char_precision"),
    ),
    Target("pii", "MB a CPU second, patterns only", slowest, 5.0),
    auc("tox_hatecheck", 0.85),
    auc("tox_surge", 0.92),
    auc("tox_openai_moderation", 0.88),
    auc("tox_davidson", 0.96),
    Target(
        "toxicity",
        "false alarms on XSTest's safe prompts, held out",
        value("parts", "toxicity", "held_out", "xstest_safe", "false_alarms"),
        0.02,
        most=True,
    ),
    Target(
        "toxicity",
        "CPU ms a message",
        value("parts", "toxicity", "speed", "ms_per_message"),
        2.0,
        most=True,
        peer=value("parts", "toxicity", "speed", "peer_ms_per_message"),
    ),
    Target("injection", "recall in contexts, held out", injected(" start", " middle", " end"), 0.90),
    Target("injection", "recall on public jailbreaks, held out", injected("jailbreaks in the wild"), 0.90),
    Target("injection", "false alarms on contexts alone, held out", injected(" alone"), 0.02, most=True),
    Target("injection", "false alarms on manuals, held out", injected(" manual"), 0.02, most=True),
    Target("injection", "false alarms on XSTest's safe prompts, held out", injected("xstest safe"), 0.02, most=True),
    Target(
        "grounding",
        "balanced accuracy on ground_scifact, cross-validated",
        grounded,
        0.70,
        peer=lambda result: grounded(result, ours=False),
    ),
    quiet("toxicity"),
    quiet("injection"),
)


def main() -> None:
    """Run the parts and print or write their JSON."""
    arguments = parsed()
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    os.environ["HF_HUB_OFFLINE"] = "1"
    result: dict[str, Any] = {
        "bench": "guards",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "packages": {name: version for name in PACKAGES if (version := installed(name))},
        "threads": arguments.threads,
        "parts": {},
        "curves": {},
        "missing": {},
    }
    for part in arguments.only:
        # What one of them cannot do is told, and must not cost what the others take an hour to measure.
        attempt(result, part, lambda part=part: measured(result, part, arguments))
        result["targets"] = [target.row(result) for target in TARGETS if target.part in arguments.only]
        if arguments.out:
            arguments.out.write_text(as_text(result), encoding="utf-8")
    show(result["targets"])
    if not arguments.out:
        print(as_text(result), end="")


def as_text(result: Result) -> str:
    """The result as JSON."""
    return json.dumps(result, indent=2, ensure_ascii=False) + "\n"


def parsed() -> argparse.Namespace:
    """The command line; `only` holds names of parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--only", type=chosen, default=PARTS, help=f"parts, with commas: {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, help="file for the JSON; else stdout")
    parser.add_argument("--plots", type=Path, help="folder for the curves, one SVG for each detector")
    parser.add_argument("--docs", type=Path, help="folder of documents for false positives; else the manual")
    parser.add_argument("--jailbreaks", type=Path, help="JSON list of public jailbreak prompts")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the models")
    return parser.parse_args()


def chosen(names: str) -> tuple[str, ...]:
    """Parts by name.

    Raises:
        argparse.ArgumentTypeError: there is no such part.
    """
    parts = tuple(name.strip() for name in names.split(",") if name.strip())
    for name in parts:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"there is no part {name!r}: choose from {', '.join(PARTS)}")
    return parts


def attempt(result: dict[str, Any], part: str, measure: Callable[[], None]) -> None:
    """Measure a part, or note in `missing` why it could not be."""
    print(f"{part} ...", file=sys.stderr, flush=True)
    started = time.monotonic()
    try:
        measure()
        print(f"{part}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    except Exception as error:  # noqa: BLE001  see `main`
        named = f": {error.filename}" if isinstance(error, OSError) and error.filename else f": {error}"
        result["missing"][part] = f"{type(error).__name__}{named}"
        print(f"{part} could not be measured: {result['missing'][part]}", file=sys.stderr, flush=True)


def measured(result: dict[str, Any], part: str, arguments: argparse.Namespace) -> None:
    """Measure a part into `result`."""
    if part == "speed":
        result["parts"][part] = speed(arguments.data)
    elif part == "documentation":
        result["parts"][part] = documentation(arguments.docs)
    else:
        bench = importlib.import_module(f"bench.guard_{part}")
        # Public jailbreak prompts have no licence that lets them lie among the data sets.
        more = {"jailbreaks": arguments.jailbreaks} if part == "injection" else {}
        result["parts"][part] = bench.measure(arguments.data, threads=arguments.threads, **more)
        if hasattr(bench, "curves"):
            curves(result, part, bench.curves(arguments.data), arguments.plots)


def curves(result: dict[str, Any], part: str, sets: Mapping[str, Any], plots: Path | None) -> None:
    """The figures of a detector's curves, and their picture."""
    from bench.curves import draw, figures

    result["curves"][part] = {name: figures(labels, scores) for name, (labels, scores) in sets.items()}
    if plots is not None and sets:
        plots.mkdir(parents=True, exist_ok=True)
        draw(part.capitalize() if part != "pii" else "PII", sets, plots / f"guard-{part}.svg")


def speed(data: Path) -> dict[str, Any]:
    """Time of whole stages: on messages of people where the data have some, and on paragraphs of the manual."""
    from bench.guard_presets import DOCS, paragraphs, preset_times

    manual = paragraphs(DOCS, PARAGRAPHS)
    messages = [row["text"] for name in ("xstest", "tox_openai_moderation") for row in rows(data, name)] or manual
    sample = random.Random(17).sample(messages, min(MESSAGES, len(messages)))
    words = sum(len(text.split()) for text in sample) / len(sample)
    return {"words_per_message": round(words, 1), "presets": preset_times(sample, manual[:3])}


def rows(data: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a data set; none when it is missing."""
    files = sorted((data / name / "dev").glob("*.jsonl.gz"))
    return [json.loads(line) for file in files for line in gzip.open(file, "rt", encoding="utf-8")]


def documentation(folder: Path | None) -> dict[str, Any]:
    """What the presets' guards do to documentation."""
    from bench.guard_presets import DOCS, false_positives, paragraphs, worst

    texts = paragraphs(folder or DOCS, PARAGRAPHS)
    if not texts:
        raise FileNotFoundError(f"no documents in {folder}")
    rates = false_positives(texts)
    return {"folder": (folder or DOCS).name, "paragraphs": len(texts), "worst": worst(rates), "presets": rates}


def installed(name: str) -> str:
    """A package's version; empty when it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def show(targets: Sequence[Mapping[str, Any]]) -> None:
    """The targets as a table on stderr: the JSON may be on stdout."""
    if not targets:
        return
    width = max(len(target["what"]) for target in targets)
    print(f"{'':<{width}}      ours      peer  target", file=sys.stderr)
    for target in targets:
        figure, peer = ("-" if one is None else f"{one:.4g}" for one in (target["figure"], target["peer"]))
        met = {True: "met", False: "MISSED", None: "not measured"}[target["met"]]
        print(f"{target['what']:<{width}}  {figure:>8}  {peer:>8}  {target['target']:<14}  {met}", file=sys.stderr)


if __name__ == "__main__":
    main()
