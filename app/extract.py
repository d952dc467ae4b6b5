"""`wellread extract`: the readable text of files, as JSON lines.

Files are read one after another and each is answered at once, so that any number of them takes the memory of one. The
format is told by the name of the file, and of what comes on standard input by its beginning: PDF, DOCX, HTML, else
plain text.
"""

import json
import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.console import say
from app.options import Debug
from ingest.formats import BY_EXTENSION, DOCX, READABLE, media_type

if TYPE_CHECKING:
    from ingest.records import Document

STDIN = Path("-")
MARKUP = re.compile(rb"<(!doctype|html|head|body|div|p|h[1-6]|article|main|section|table|ul|pre)\b", re.IGNORECASE)
# More than any document; reading it takes a few hundred megabytes.
LARGEST = 64_000_000


def extract(
    files: Annotated[list[Path], typer.Argument(help="Files to read, in this order; - is standard input.")],
    debug: Debug = False,  # noqa: ARG001  read by `app.cli.run` before the command line is parsed
) -> None:
    """Print the text of files with its headings: `{"path", "title", "text", "sections"}`, one line a file.

    A file that cannot be read is one line on stderr, and the exit code is 1 at the end.
    """
    failed = False
    for path in files:
        found = _extracted(path)
        if isinstance(found, str):
            say(f"{path}: {found}")
            failed = True
        elif not _printed(path, found):
            return
    if failed:
        raise typer.Exit(1)


def _extracted(path: Path) -> "Document | str":
    """The document, or in one line why there is none."""
    from ingest.extract import extract as read
    from ingest.records import Page, Reject

    kind = media_type("", path.name)
    if path != STDIN and kind not in READABLE:
        return f"not a format that can be read ({', '.join(sorted(BY_EXTENSION))})"
    try:
        body = sys.stdin.buffer.read(LARGEST + 1) if path == STDIN else _body(path)
        url = "file:///stdin" if path == STDIN else path.resolve().as_uri()
    except (OSError, RuntimeError) as error:
        return getattr(error, "strerror", None) or str(error)
    if len(body) > LARGEST:
        return f"more than {LARGEST} bytes"
    if path == STDIN:
        kind = _sniffed(body)
    made = read(Page(url, kind, "", body, datetime.now(UTC)))
    return f"{made.rule}: {made.detail}" if isinstance(made, Reject) else made


def _sniffed(body: bytes) -> str:
    if body.startswith(b"PK"):
        return DOCX
    return "text/html" if body.startswith(b"%PDF-") or MARKUP.search(body[:8192]) else "text/plain"


def _body(path: Path) -> bytes:
    # Opening a named pipe would wait for a writer that never comes; a folder has a clear error of its own.
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(None, "not a regular file")
    with path.open("rb") as file:
        return file.read(LARGEST + 1)


def _printed(path: Path, document: "Document") -> bool:
    """Whether the line could be written: whoever reads the output may have seen enough."""
    line = json.dumps(_row(path, document), ensure_ascii=False)
    try:
        sys.stdout.buffer.write(line.encode("utf-8", "backslashreplace") + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Python flushes once more at exit, into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def _row(path: Path, document: "Document") -> dict[str, Any]:
    return {
        "path": str(path).encode("utf-8", "replace").decode(),
        "title": document.title,
        "text": document.text,
        "sections": list(_sections(document)),
    }


def _sections(document: "Document") -> Iterator[dict[str, Any]]:
    for section in document.sections:
        text = document.text[section.start : section.end]
        yield {"level": section.level, "heading": section.heading, "text": text}
