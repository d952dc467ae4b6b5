"""`wellread feedback` and `wellread monitor`: what people thought of the answers, and how the assistant is doing."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.console import show_json, show_rows, tell
from app.options import AsJson, ConfigFile, Debug, Overrides
from configs.artifacts import write_text_atomic
from configs.load import load_config

if TYPE_CHECKING:
    from feedback.store import Store

feedback_app = typer.Typer(help="See and export what people thought of the answers.", no_args_is_help=True)
monitor_app = typer.Typer(help="See how the assistant is doing.", no_args_is_help=True)


@feedback_app.command(name="list")
def list_feedback(
    limit: Annotated[int, typer.Option(min=1, help="At most this many, newest first.")] = 50,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Votes, corrections and comments, newest first, with the question and answer they are about."""
    with _store(config, set_) as store:
        rows = _joined(store, limit)
    if as_json:
        show_json(rows)
        return
    columns = ("time", "vote", "question", "answer", "correction", "comment", "user")
    cells = [(f"{row['created']:%Y-%m-%d %H:%M:%S}", *(row[name] for name in columns[1:])) for row in rows]
    show_rows("Feedback", columns, cells)


@feedback_app.command()
def export(
    file: Annotated[Path, typer.Argument(help="JSONL file to write.")],
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write all feedback with its interactions as JSON lines."""
    with _store(config, set_) as store:
        rows = _joined(store, None)
    lines = "".join(json.dumps(row, default=str, ensure_ascii=False) + "\n" for row in rows)
    if file.exists() and not file.is_file():
        # A pipe or a device is written to; replacing it by a file would break it for everyone.
        file.write_text(lines, encoding="utf-8")
    else:
        write_text_atomic(file, lines)
    show_json({"file": str(file), "rows": len(rows)}) if as_json else tell(f"{len(rows)} rows in {file}")


@monitor_app.command()
def report(config: ConfigFile = None, set_: Overrides = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """Rates over the stored interactions: grounded, abstained, blocked, votes, latency."""
    from monitor.report import make_report

    with _store(config, set_) as store:
        figures = asdict(make_report(store.interactions(), store.votes()))
    if as_json:
        show_json(figures)
        return
    show_rows("Report", ("figure", "value"), [(name, _readable(value)) for name, value in figures.items()])


@contextmanager
def _store(config: Path | None, overrides: list[str] | None) -> Iterator["Store"]:
    # Every command imports this file, and SQLAlchemy takes longer to import than most of them run.
    from feedback.store import Store

    with closing(Store(load_config(config, overrides or ()).database_url)) as store:
        yield store


def _joined(store: "Store", limit: int | None) -> list[dict[str, Any]]:
    """Feedback rows, newest first, each with its interaction's question, answer and model."""
    rows = []
    for feedback in store.feedback(limit=limit):
        interaction = store.interaction(feedback.interaction_id)
        about = asdict(interaction) if interaction else {}
        kept = {name: about.get(name) for name in ("question", "answer", "model", "index_version", "passages")}
        rows.append({**asdict(feedback), **kept})
    return rows


def _readable(value: Any) -> str:
    if value is None:
        return "no data yet"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
