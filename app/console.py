"""What the terminal shows: progress on stderr, results on stdout, and every error as one line.

Progress is a live bar on a terminal, and a line every few seconds elsewhere, so that a log file shows that work goes
on. With `--json`, stdout holds one JSON document and nothing else.
"""

import json
import logging
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text
from typer.exceptions import Abort, Exit, TyperException

from configs.artifacts import Version
from configs.errors import WellreadError, is_full_disk

INTERRUPTED = 130
LINE_EVERY_S = 5.0
ROOMS = ("configs", "guards", "ingest", "feedback", "train", "serve", "monitor", "app")
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class Progress:
    """Shows how far long work is; call it with (what, done, total or None). Use it as a context manager."""

    def __init__(self) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bars = Bars(*columns, TimeElapsedColumn(), console=err, disable=not err.is_terminal)
        self._tasks: dict[str, Any] = {}
        self._next_line = 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        if err.is_terminal:
            task = self._tasks.get(what)
            if task is None:
                task = self._tasks[what] = self._bars.add_task(what, total=total)
            self._bars.update(task, completed=done, total=total)
            return
        now = time.monotonic()
        if what not in self._tasks or now >= self._next_line or done == total:
            self._tasks[what] = None
            self._next_line = now + LINE_EVERY_S
            count = f"{done} of {total}" if total else str(done or "...")
            say(f"{what}: {count}")


def safe(text: str) -> str:
    """The text without control characters. Titles and error texts come from crawled sites, and an escape sequence in
    one could rewrite what the terminal shows."""
    return CONTROLS.sub("", text)


def say(line: str) -> None:
    """A line for the reader, on stderr."""
    err.print(Text(safe(line)), soft_wrap=True)


def tell(line: str) -> None:
    """A line of the result, on stdout."""
    out.print(Text(safe(line)), soft_wrap=True)


def show_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def show_version(version: Version, *, as_json: bool) -> None:
    """What a stage made."""
    manifest = version.manifest
    if as_json:
        show_json({**manifest.model_dump(mode="json"), "path": str(version.path), "reused": version.reused})
        return
    state = "unchanged" if version.reused else f"{manifest.seconds:.1f} s"
    details = "; ".join(part for part in (readable(manifest.counts), readable(manifest.figures), state) if part)
    out.print(Text.assemble((f"{manifest.stage} {version.id}", "bold"), f"  {details}"), soft_wrap=True)


def readable(values: Mapping[str, float]) -> str:
    """Counts or figures in one line."""
    shown = {name: f"{value:,}" if isinstance(value, int) else f"{value:.4g}" for name, value in values.items()}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items())


def show_rows(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table on stdout. Cells are shown as plain text: what people or pages wrote is never markup."""
    table = Table(title=title, title_justify="left", expand=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else safe(str(cell))) for cell in row))
    out.print(table)


class _SafeFormatter(logging.Formatter):
    """Log lines quote addresses and answers of servers, too."""

    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record))


def set_up_logging(*, debug: bool) -> None:
    """Our own messages from INFO, everyone else's from WARNING; warnings of libraries only with `debug`, since their
    reader is whoever maintains wellread."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_SafeFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for room in ROOMS:
        logging.getLogger(room).setLevel(logging.DEBUG if debug else logging.INFO)
    if not debug:
        warnings.simplefilter("ignore")


def guarded(work: Callable[[], Any], *, debug: bool) -> int:
    """Run a command; whatever it raises becomes one line on stderr and an exit code.

    Args:
        debug: show the traceback too.
    """
    try:
        result = work()
        sys.stdout.flush()
    except Exit as stop:
        return int(stop.exit_code)
    except (KeyboardInterrupt, Abort):
        result = INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough. Python flushes once more at exit, into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001  the last line of defence: nobody should meet a traceback unasked
        if debug:
            traceback.print_exc()
        return _explain(error, debug=debug)
    # Typer turns Ctrl-C and `typer.Exit` into a returned code.
    if result == INTERRUPTED:
        say("Stopped. What was finished is kept; run the same command again to go on.")
    return result if isinstance(result, int) else 0


def _explain(error: Exception, *, debug: bool) -> int:
    match error:
        case TyperException():
            # Errors of usage know the command they are about; typer does not export their class.
            error.show()  # type: ignore[attr-defined]
            return 2
        case _ if is_full_disk(error):
            say("Error: the disk is full. Free some space, or put root elsewhere with --set root=/other/disk")
        case WellreadError():
            say(f"Error: {error}")
            return error.exit_code
        case OSError() if error.filename:
            say(f"Error: {error.filename}: {error.strerror}. Check that it exists and that you may read and write it")
        case _:
            text = " ".join(str(error).split())[:300]
            hint = "" if debug else " Run again with --debug for the traceback, and please report it."
            say(f"Error: unexpected {type(error).__name__}: {text}.{hint}")
    return 1
