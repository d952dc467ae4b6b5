"""The report of a comparison: Markdown with its plots beside it, and one HTML file that needs nothing else.

In: a `Comparison`. Out: `report.md`, `report.html` and PNG files in a folder; the same input gives the same text. What
models and pages say is shown as text, never as markup: the templates escape everything, and the HTML file forbids a
browser to load or run anything. Answers to probes are not quoted: they are what should not be spread.

Known limit: a font without a character's glyph shows a box for it in the plots.
"""

import re
from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from configs.artifacts import write_text_atomic
from ingest.relevance.metrics import Difference
from train.evaluation.compare import Compared, Comparison
from train.evaluation.figures import COSTS, LABELS, NAMES, Estimate, better
from train.evaluation.plots import plots_of

HTML, MARKDOWN = "report.html", "report.md"
EXAMPLES_SHOWN = 5
LONGEST = 400
# Not for a page: control characters are not allowed in HTML, and a lone surrogate is not text at all.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$:@/])")


@dataclass(frozen=True)
class Fallen:
    """A held-out question that one model answers worse than another."""

    question: str
    expected: str
    before: str
    after: str
    change: float


def write_report(folder: Path, comparison: Comparison) -> Path:
    """Write the report into a folder, which is made. Returns the HTML file."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = plots_of(comparison)
    for name, image in plots.items():
        (folder / name).write_bytes(image)
    facts = {
        "comparison": comparison,
        "figures": [name for name in NAMES if any(name in one.figures for one in comparison.models)],
        "labels": LABELS,
        "costs": COSTS,
        "plots": {name: f"data:image/png;base64,{b64encode(image).decode()}" for name, image in plots.items()},
        "fallen": [(gain, _fallen(comparison, gain.ours, gain.theirs)) for gain in comparison.gains],
        "found": [(one.name, _found(one)) for one in comparison.models],
    }
    for file, environment in ((MARKDOWN, _environment(html=False)), (HTML, _environment(html=True))):
        write_text_atomic(folder / file, environment.get_template(file).render(facts))
    return folder / HTML


def _fallen(comparison: Comparison, ours: str, theirs: str) -> list[Fallen]:
    """The answerable questions whose F1 fell most, the worst first."""
    answers = {one.name: {row["id"]: row for row in one.rows["answers"]} for one in comparison.models}
    changes = []
    for key, row in answers[ours].items():
        before = answers[theirs].get(key)
        if before and "answer_f1" in row["values"]:
            change = row["values"]["answer_f1"] - before["values"]["answer_f1"]
            changes.append(Fallen(row["question"], row["expected"], before["answer"], row["answer"], change))
    return [one for one in sorted(changes, key=lambda one: one.change) if one.change < 0][:EXAMPLES_SHOWN]


def _found(one: Compared) -> list[str]:
    """The prompts of the probes whose answers the guards objected to."""
    return [row["prompt"] for row in one.rows["probes"] if any(row["values"].values())]


@cache
def _environment(*, html: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        # The templates put everything that is not ours through a filter; HTML is escaped besides.
        autoescape=html,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "plain": _plain,
        "md": _markdown,
        "estimate": _estimate,
        "difference": _difference,
        "verdict": _verdict,
    }
    return environment


def _plain(text: object) -> str:
    """One line of text that a page may show."""
    line = " ".join(_CONTROLS.sub(" ", str(text)).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def _markdown(text: object) -> str:
    """The same, with all that Markdown or HTML could take for markup escaped."""
    return _MARKUP.sub(r"\\\1", escape(_plain(text), quote=False))


def _estimate(one: Estimate | None) -> str:
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})" if one else "–"  # noqa: RUF001  a dash in a table


def _difference(one: Difference) -> str:
    return f"{one.mean:+.3f} ({one.low:+.3f} to {one.high:+.3f})"


def _verdict(one: Difference, name: str) -> str:
    return {True: "better", False: "worse", None: "no clear difference"}[better(name, one)]
