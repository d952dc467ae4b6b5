"""`wellread guard`: one decision of a policy's guards for each text of a stream or a file.

A stream is read line by line and answered line by line, so that another program may talk to it. A file (`--in` and
`--out`) is a piece of work that can be stopped and goes on where it was: see `guards.files.resume`.
"""

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.console import Progress, readable, say, show_json, tell
from app.options import AsJson, ConfigFile, Debug, Overrides
from configs.errors import ConfigError
from configs.load import load_config

if TYPE_CHECKING:
    from configs.schema import Config
    from guards.moderate import Columns, Item
    from guards.policy import Policy
    from guards.rules import Resources
    from ingest.embed import Embedder, Vectors
    from ingest.index import Index

# Each text may have several guards at work, and all of them share one set of threads.
MOST_WORKERS = 8

Counts = Counter[tuple[str, str]]


class StageName(StrEnum):
    """Where the texts come from."""

    INPUT = "input"
    OUTPUT = "output"
    DOCUMENT = "document"
    PASSAGE = "passage"


def guard(
    stage: Annotated[StageName, typer.Option(help="Which of the policy's stages checks the texts.")],
    policy: Annotated[
        str | None, typer.Option(help="A preset or a YAML file; by default the setting guards.policy.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--in", help="JSONL, CSV, TSV or Parquet file; by default JSON lines from stdin.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="JSONL, CSV, TSV or Parquet file; by default JSON lines to stdout.")
    ] = None,
    text_column: Annotated[str, typer.Option(help="The field that holds the text.")] = "text",
    id_column: Annotated[
        str, typer.Option(help="The field that names the text; without it, lines are counted.")
    ] = "id",
    passages_column: Annotated[
        str, typer.Option(help="The field with the passages that an answer was written from.")
    ] = "passages",
    encoding: Annotated[str, typer.Option(help="Of a CSV file.")] = "utf-8-sig",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the other fields of each text, too.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Add a field that says why, in plain words.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Write an error in place of what cannot be checked, and go on.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget earlier work on --out, and write over it.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=MOST_WORKERS, help="Threads that check.")] = 1,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001  read by `app.cli.run` before the command line is parsed
) -> None:
    """Check texts with the guards of a policy, and write one decision for each.

    Each line `{"id", "text"}` gives a line `{"id", "allowed", "action", "text", "verdicts", "failures"}`, in the same
    order. The text that comes out is redacted, and null when it is not allowed.
    """
    from guards.files.read import read_items
    from guards.files.resume import Job, moderate_file
    from guards.moderate import Columns, Shape, decisions

    if out is not None and source is None:
        raise ConfigError("--out needs --in", "Name the file to read; what is piped in is answered on standard output")
    if restart and out is None:
        raise ConfigError("--restart is about --out, and there is none", "Name it, or leave out --restart")
    settings = load_config(config, set_ or ())
    rules = _policy(settings, policy or settings.guards.policy, stage)
    columns = Columns(text_column, id_column, passages_column)
    shape = Shape(keep=keep, explain=explain, skip_bad=skip_bad)
    if source is None or out is None:
        items = _stdin(columns) if source is None else read_items(source, columns, encoding=encoding, rest=keep)
        _show(_streamed(decisions(items, rules.stage(stage), shape, workers)), rules, None, as_json)
        return
    job = Job(source, out, rules, stage, columns, shape, encoding, workers)
    with Progress() as progress:
        counts = moderate_file(job, progress, restart=restart)
    _show(counts, rules, out, as_json)


def _policy(settings: "Config", name: str, stage: str) -> "Policy":
    """The policy with the guards of one stage, loaded."""
    from guards.policy import load_policy

    policy = load_policy(name, _resources(settings), only=[stage])
    policy.warm_up(stage)
    return policy


def _resources(settings: "Config") -> "Resources":
    """What guards need besides their own: the embedder, and the topics of the index where there is one. Each is loaded
    by the first guard that asks for it, since most policies have none that does."""
    from guards.rules import Resources

    indexed = (settings.root / "index" / "current").exists()

    @cache
    def index() -> "Index":
        from ingest.index_stage import open_index

        return open_index(settings)

    @cache
    def embedder() -> "Embedder":
        # The topics are vectors of the index, so that what is compared with them must be, too.
        if indexed:
            return index().embedder
        from ingest.index_stage import configured_embedder

        return configured_embedder(settings)[0]

    # Two guards may ask at once; `cache` alone would load it twice then.
    loading = threading.Lock()

    def embed(texts: Sequence[str]) -> "Vectors":
        with loading:
            encode = embedder().encode
        return encode(texts)

    def topics() -> "Vectors":
        with loading:
            opened = index()
        return opened.topics()

    return Resources(embed=embed, topics=topics if indexed else None)


def _stdin(columns: "Columns") -> Iterator["Item"]:
    from guards.files.read import read_jsonl

    if sys.stdin is None:
        raise ConfigError("standard input is closed", "Pipe JSON lines in, or name a file with --in")
    if sys.stdin.isatty():
        say('Reading lines like {"id": 1, "text": "..."} from the terminal; end with Ctrl-D.')
    # A reader of its own: Python would wait at exit for the lock of `sys.stdin` while a thread still reads from it.
    with open(sys.stdin.fileno(), "rb", closefd=False) as handle:
        yield from read_jsonl(handle, columns)


def _streamed(decided: Iterator[dict[str, Any]]) -> Counts:
    """Write decisions to stdout, each at once; their counts."""
    from guards.files.write import line_of
    from guards.moderate import counted

    counts: Counts = Counter()
    try:
        for row in decided:
            sys.stdout.buffer.write(line_of(row))
            sys.stdout.buffer.flush()
            counts += counted(row)
    except BrokenPipeError:
        # Whoever read the output has seen enough. Python flushes once more at exit, into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return counts


def _show(counts: Counts, policy: "Policy", out: Path | None, as_json: bool) -> None:
    """What came of it: on stdout or, where that holds the decisions, on stderr."""
    from guards.moderate import summary

    found = summary(counts)
    if as_json:
        about = {"policy": policy.name, "version": policy.version, "out": out and str(out), **found}
        if out is None:
            say(json.dumps(about, ensure_ascii=False))
        else:
            show_json(about)
        return
    line = f"{found['texts']:,} texts" + (f": {readable(found['actions'])}" if found["actions"] else "")
    line += f"; found: {readable(found['categories'])}" if found["categories"] else ""
    (say if out is None else tell)(line + (f"; in {out}" if out else ""))
    if found["failures"]:
        say(f"Guards that broke, and for how many texts: {readable(found['failures'])}")
