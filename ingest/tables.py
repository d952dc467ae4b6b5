"""Tables of documents: JSONL (also gzipped) and Parquet, one document a row, read as a stream.

    column      use
    markdown    the text, if it is there; else html, else text
    url         the page's address; must be complete
    id          names the row where there is no url: `file:///docs.jsonl#id`
    title       for markdown it becomes front matter, for text the first line; html names its own
    date        for markdown it becomes front matter; text and html have no place for it

Columns of other names are not read. In: a file. Out: `Row`s, and a `Reject` for every row that cannot be read.

Known limits: rows without url and id are named by their place, so a row put before them renames them all; a row group
of a Parquet file is decoded in pieces, but its compressed pages are as large as their writer made them.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import SourceError
from ingest.records import Reject

EXTENSIONS = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz", ".parquet")
KINDS = {"markdown": "text/markdown", "html": "text/html", "text": "text/plain"}
COLUMNS = (*KINDS, "url", "id", "title", "date")
LONGEST_ADDRESS = 2000

_REMEDY = "A table needs a column text, html or markdown; url, id, title and date are optional"
_ROWS_AT_ONCE = 64
# JSON may write a byte as six characters; names and the other columns take the rest.
_LINE_PER_BODY, _LINE_BESIDE = 6, 1_000_000


class _BadRowError(Exception):
    """A column of a row holds what it must not."""


@dataclass(frozen=True)
class Row:
    """One document of a table.

    Attributes:
        place: address of the table with the number of its line or row.
        url: the row's address, or its id as an address, or its place.
        names: what no other row may be called: its address, and its id as an address.
        charset: of the body; empty when it is not known.
    """

    place: str
    url: str
    names: tuple[str, ...]
    content_type: str
    charset: str
    body: bytes


def is_table(path: Path) -> bool:
    """Whether a file is read as a table, by its name."""
    return path.name.lower().endswith(EXTENSIONS)


def read_rows(path: Path, *, max_page_bytes: int) -> Iterator[Row | Reject]:
    """The rows of a table, in order.

    Args:
        max_page_bytes: larger documents are rejected.

    Returns:
        Rows, and a reject for each that cannot be read: `bad_row`, `too_large`, `empty`; `unreadable` for the rest of
        a file that breaks off.

    Raises:
        SourceError: the file cannot be opened, or has no column with a text.
    """
    base = path.as_uri()
    reader = _parquet if path.suffix.lower() == ".parquet" else _jsonl
    try:
        for place, found in reader(path, base, max_page_bytes):
            yield found if isinstance(found, Reject) else _row(found, base, place, max_page_bytes)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        yield Reject(base, "unreadable", f"the table breaks off: {_line(error)}")


def count_rows(path: Path, *, max_page_bytes: int) -> int:
    """How many rows a table has, those that cannot be read among them, as far as it can be read."""
    try:
        if path.suffix.lower() == ".parquet":
            return int(pq.read_metadata(path).num_rows)
        with _opened(path) as file:
            return sum(line is None or bool(line.strip()) for line in _lines(file, _longest_line(max_page_bytes)))
    except (OSError, EOFError, zlib.error, pa.ArrowException):
        return 0


def _jsonl(path: Path, base: str, max_page_bytes: int) -> Iterator[tuple[str, Mapping[str, Any] | Reject]]:
    shown = False
    longest = _longest_line(max_page_bytes)
    with _opened(path) as file:
        for number, line in enumerate(_lines(file, longest), 1):
            place = f"{base}#line-{number}"
            if line is None:
                yield place, Reject(place, "too_large", f"a line of more than {longest} bytes", 0.0, max_page_bytes)
                continue
            if not line.strip():
                continue
            row = _parsed(line, place)
            if not shown and not isinstance(row, Reject):
                _check_columns(path, row)
                shown = True
            yield place, row


def _opened(path: Path) -> IO[bytes]:
    try:
        return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}", "Check source.files") from None


def _longest_line(max_page_bytes: int) -> int:
    return _LINE_PER_BODY * max_page_bytes + _LINE_BESIDE


def _lines(file: IO[bytes], longest: int) -> Iterator[bytes | None]:
    """The lines of a file; None for one that is too long to hold."""
    while line := file.readline(longest + 1):
        if len(line) <= longest or line.endswith(b"\n"):
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(longest)
        yield None


def _parsed(line: bytes, place: str) -> Mapping[str, Any] | Reject:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return Reject(place, "bad_row", "the line is not UTF-8")
    except ValueError as error:
        return Reject(place, "bad_row", f"the line is not JSON: {_line(error)}")
    except RecursionError:
        return Reject(place, "bad_row", "the line is nested too deeply")
    return row if isinstance(row, dict) else Reject(place, "bad_row", "the line is JSON, but not an object")


def _parquet(path: Path, base: str, _max_page_bytes: int) -> Iterator[tuple[str, Mapping[str, Any] | Reject]]:
    try:
        # Without these two, a row group's columns are read into memory as a whole.
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"cannot read {path}: {_line(error)}", "Check source.files") from None
    with file:
        _check_columns(path, dict.fromkeys(file.schema_arrow.names))
        columns = [name for name in file.schema_arrow.names if name in COLUMNS]
        number = 0
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns, use_threads=False):
            for row in batch.to_pylist():
                number += 1
                yield f"{base}#row-{number}", row


def _check_columns(path: Path, row: Mapping[str, Any]) -> None:
    if not any(name in row for name in KINDS):
        names = ", ".join(list(row)[:20]) or "none"
        raise SourceError(f"{path} has no column to read: it has {names}", _REMEDY)


def _row(row: Mapping[str, Any], base: str, place: str, max_page_bytes: int) -> Row | Reject:
    try:
        kind = _column_of_text(row)
        url = _url(row)
        title, date = (_short(row, name) for name in ("title", "date"))
        named = _id(row)
    except _BadRowError as error:
        return Reject(place, "bad_row", str(error))
    if kind is None:
        return Reject(place, "empty", "the row holds no text")
    text = _with_heading(row[kind], kind, title, date)
    # Lone surrogates, which JSON can write, are no text.
    body = text.encode("utf-8", "ignore")
    if len(body) > max_page_bytes:
        return Reject(place, "too_large", f"{len(body)} bytes", float(len(body)), float(max_page_bytes))
    by_id = f"{base}#{quote(named, safe='', errors='surrogatepass')}" if named else ""
    address = url or by_id or place
    return Row(place, address, tuple(dict.fromkeys(filter(None, (address, by_id)))), KINDS[kind], "utf-8", body)


def _column_of_text(row: Mapping[str, Any]) -> str | None:
    for name in KINDS:
        text = row.get(name)
        if text is not None and not isinstance(text, str):
            raise _BadRowError(f"{name} holds {type(text).__name__}, not text")
        if text and text.strip():
            return name
    return None


def _url(row: Mapping[str, Any]) -> str:
    url = _short(row, "url")
    try:
        whole = not url or bool(urlsplit(url).scheme)
    except ValueError:
        whole = False
    if not whole or len(url) > LONGEST_ADDRESS or " " in url or not url.isprintable():
        raise _BadRowError(f"url is no complete address: {url[:100]!r}")
    return url


def _id(row: Mapping[str, Any]) -> str:
    name = _short(row, "id")
    if len(name) > LONGEST_ADDRESS:
        raise _BadRowError(f"id has {len(name)} characters")
    return name


def _short(row: Mapping[str, Any], name: str) -> str:
    """A column as one line; numbers and times are written out."""
    found = row.get(name)
    if found is None:
        return ""
    if isinstance(found, bytes | dict | list | bool):
        raise _BadRowError(f"{name} holds {type(found).__name__}, not text")
    return " ".join(str(found).split())


def _with_heading(text: str, kind: str, title: str, date: str) -> str:
    """The text with its title and date, in the way that its kind has for them."""
    if kind == "markdown" and (title or date) and not text.lstrip().startswith("---"):
        marks = {"title": title, "date": date}
        front = "".join(f"{name}: {json.dumps(mark, ensure_ascii=False)}\n" for name, mark in marks.items() if mark)
        return f"---\n{front}---\n\n{text}"
    if kind == "text" and title and not text.lstrip().startswith(title):
        return f"{title}\n\n{text}"
    return text


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
