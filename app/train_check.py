"""`wellread train --check`: what training would do, shown before its first step.

In: the settings. Out: a few examples with their trained tokens marked, memory, time and the launcher's command on
stdout; what is worth knowing on stderr. What would fail is raised. Page text is shown as text, never as markup.
"""

import shlex
from typing import TYPE_CHECKING

from rich.panel import Panel
from rich.text import Text

from app.console import Progress, out, safe, say, show_json, show_rows, tell
from configs.schema import Config

if TYPE_CHECKING:
    from train.preflight.check import Report
    from train.preflight.shown import Shown

TRAINED = "bold black on green"


def show_check(config: Config, *, as_json: bool) -> None:
    """Check the run that `wellread train` would make, and show what was found.

    Raises:
        ArtifactError: there are no examples yet.
        ModelError: training would fail, or go well and teach something wrong.
    """
    from train.preflight.check import preflight
    from train.stage import run_of

    with Progress() as progress:
        folder, spec = run_of(config)
        progress("check", 0, None)
        report = preflight(spec, folder, timed=True)
    if as_json:
        show_json(report.tree())
        return
    for one in report.shown:
        _show_example(one)
    _show_figures(report)
    for line in report.warnings:
        say(f"Warning: {line}")


def _show_example(example: "Shown") -> None:
    title = f"{safe(example.id)}: {example.trained_tokens} of {example.tokens} tokens are trained"
    if not out.is_terminal:
        tell(f"--- {title}, between « and »")
        tell(example.plain())
        return
    text = Text()
    for segment in example.segments:
        text.append(safe(segment.text), style=TRAINED if segment.trained else "dim")
    out.print(Panel(text, title=Text(title), title_align="left"))


def _show_figures(report: "Report") -> None:
    from train.preflight.fits import gigabytes
    from train.preflight.remaining import readable

    parts = report.memory.parts().items()
    show_rows("Memory of one device", ("part", "about"), [(name, gigabytes(size)) for name, size in parts])
    tell(report.compared)
    if timing := report.timing:
        tell(
            f"time: {timing.steps:,} steps of about {timing.seconds_per_step:.2f} s, {readable(timing.seconds)} in all "
            f"({timing.timed} steps timed in one process, at a peak of {gigabytes(timing.peak_bytes)})"
        )
    tell(", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in report.counts.items()))
    for line in report.chosen:
        tell(line)
    tell(f"command: {shlex.join(report.command)}")
