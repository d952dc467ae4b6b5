"""`wellread eval`: measures a language model on what was held out; `wellread eval model` puts several side by side;
`wellread eval retrieval` measures the search."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.console import Progress, say, show_json, show_rows, tell
from app.options import AsJson, ConfigFile, Debug, Overrides
from app.stage import run_stage
from configs.errors import ConfigError
from configs.load import load_config

# Arrow takes a third of a second, which `wellread --help` need not pay.
if TYPE_CHECKING:
    from ingest.relevance.evaluate import Report
    from ingest.relevance.report import CollectionReport, KnownItemReport
    from train.evaluation.compare import Comparison, Gain
    from train.evaluation.figures import Estimate
    from train.promotion import Judged

WORST_SHOWN = 10

eval_app = typer.Typer(invoke_without_command=True, help="Measure a language model, or the search.")


@eval_app.callback()
def evaluate(
    context: typer.Context,
    model: Annotated[
        str, typer.Option(help="latest, base, champion, previous, reference (the champion, else base), or a version.")
    ] = "latest",
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Answer the held-out questions with a model, and measure the answers."""
    if context.invoked_subcommand:
        return
    from train.evaluation.stage import run_eval

    run_stage(lambda settings, progress: run_eval(settings, model, progress), config, set_, as_json=as_json)


@eval_app.command()
def model(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="What is measured; latest when not given.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(help="What it is compared with; may be repeated. Base, and the champion, when not given."),
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure models side by side, and write a report; what is measured already is not measured again."""
    from train.evaluation.compare import run_comparison

    with Progress() as progress:
        comparison, folder = run_comparison(load_config(config, set_ or ()), models or [], against or [], progress)
    if as_json:
        show_json({**comparison.as_json(), "report": str(folder)})
        return
    _show_models(comparison)
    for gain in comparison.gains:
        _show_gain(gain, comparison.confidence)
    tell(f"Report: {folder / 'report.html'} (and report.md beside it)")


@eval_app.command()
def retrieval(
    corpus: Annotated[
        Path | None, typer.Option(help="Documents in BEIR's layout, .jsonl or .jsonl.gz; else the current index.")
    ] = None,
    queries: Annotated[Path | None, typer.Option(help="With --corpus: its queries.")] = None,
    qrels: Annotated[Path | None, typer.Option(help="With --corpus: which documents are relevant.")] = None,
    runs: Annotated[
        Path | None, typer.Option(help="With --corpus: write what was found into this folder, as TREC runs.")
    ] = None,
    questions: Annotated[
        int, typer.Option(min=1, help="Without --corpus: at most so many from headings, and from links.")
    ] = 300,
    hold_out: Annotated[
        bool, typer.Option("--hold-out", help="Without --corpus: search without the headings that are asked for.")
    ] = False,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure the search: on a test collection, or on questions made from the current index's headings and links."""
    files = (corpus, queries, qrels)
    if any(files) and not all(files):
        missing = [f"--{name}" for name, file in zip(("corpus", "queries", "qrels"), files, strict=True) if not file]
        raise ConfigError(f"{' and '.join(missing)} missing", "A test collection is three files: name all, or none")
    from ingest.relevance.measure import measure_collection, measure_index

    settings = load_config(config, set_ or ())
    if corpus and queries and qrels:
        with Progress() as progress:
            measured = measure_collection(settings, corpus, queries, qrels, progress)
        if runs:
            measured.report.write_runs(runs)
        show_json(measured.as_json()) if as_json else _show_collection(measured)
        return
    with Progress() as progress:
        known = measure_index(settings, questions, hold_out, progress)
    show_json(known.as_json()) if as_json else _show_known_items(known)


def _show_models(comparison: "Comparison") -> None:
    from train.evaluation.figures import COSTS, LABELS, NAMES

    models = comparison.models
    rows = [
        (
            f"{LABELS[name]}{' (less is better)' if name in COSTS else ''}",
            next(one.figures[name].rows for one in models if name in one.figures),
            *(_interval(one.figures[name]) if name in one.figures else "" for one in models),
        )
        for name in NAMES
        if any(name in one.figures for one in models)
    ]
    title = f"Held-out examples {comparison.examples}, {comparison.confidence:.0%} intervals"
    show_rows(title, ("figure", "rows", *(one.name for one in models)), rows)


def _show_gain(gain: "Gain", confidence: float) -> None:
    from train.evaluation.figures import LABELS, better

    said = {True: "better", False: "worse", None: "no clear difference"}
    rows = [
        (LABELS[name], f"{apart.mean:+.3f} ({apart.low:+.3f} to {apart.high:+.3f})", said[better(name, apart)])
        for name, apart in gain.differences.items()
    ]
    show_rows(f"{gain.ours} against {gain.theirs}", ("figure", f"difference ({confidence:.0%})", ""), rows)
    failed = [check.reason for check in gain.checks if check.passed is False]
    tell(f"The gate would {'refuse it: ' + '; '.join(failed) if failed else 'let it pass'}")


def _interval(one: "Estimate") -> str:
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"


def show_gate(judged: "Judged") -> None:
    """The conditions of the gate as a table, each limit, both figures, whether it holds; then what they were taken
    from."""
    said = {True: "passed", False: "FAILED", None: "not measured"}
    rows = [
        (
            one.figure,
            one.limit,
            *(("" if value is None else f"{value:.3f}") for value in (one.ours, one.theirs)),
            said[one.passed],
        )
        for one in judged.checks
    ]
    if rows:
        show_rows("Gate", ("figure", "limit", "this model", "other", ""), rows)
    tell(f"Measured on {judged}")


def _show_collection(measured: "CollectionReport") -> None:
    for note in measured.collection.notes:
        say(f"Note: {note}")
    counts = f"{len(measured.collection.documents):,} documents, {len(measured.collection.queries):,} queries"
    _show_report(counts, measured.report)
    for name, gain in measured.gains.items():
        tell(
            f"over {name} alone: nDCG@10 {gain.mean:+.4f} (95% between {gain.low:+.4f} and {gain.high:+.4f}), "
            f"better for {gain.better} queries, worse for {gain.worse}"
        )


def _show_known_items(known: "KnownItemReport") -> None:
    for kind, report in known.reports.items():
        _show_report(f"{len(known.items[kind]):,} questions from {kind}s, index {known.version}", report)
    if known.misses:
        tell(f"The worst of {len(known.misses)} whose page was not found first:")
    # Addresses are too long for the cells of a table.
    for miss in known.misses[:WORST_SHOWN]:
        place = f"at rank {miss.rank}" if miss.rank else "not found"
        tell(f"{miss.item.kind} “{miss.item.question}”: {miss.item.url} {place}, first was {miss.found or 'nothing'}")


def _show_report(title: str, report: "Report") -> None:
    means = {name: scores.means for name, scores in report.scores.items()}
    columns = ("ranking", *next(iter(means.values())))
    show_rows(title, columns, [(name, *(f"{value:.4f}" for value in row.values())) for name, row in means.items()])
    if report.latency:
        tell("a search takes " + ", ".join(f"{name.replace('_', ' ')} {ms:.1f}" for name, ms in report.latency.items()))
