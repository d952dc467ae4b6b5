"""Reads files of texts, JSON Lines, CSV and Parquet, row by row, as items to moderate.

One row is in memory at a time; of Parquet, one row group's columns. A row that cannot be read becomes an item with a
problem that names its line, so that the rows after it are not lost.

Known limits: `.csv` may be separated by comma, semicolon, tab or `|`; the one that gives a text column is taken.
"""

import base64
import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from configs.errors import ConfigError, SourceError
from guards.moderate import Columns, Item, item_of

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
DELIMITERS = ",;\t|"
# A quote that is never closed would otherwise read the rest of the file as one cell.
LONGEST = 1 << 28
BATCH_ROWS = 256
# What `surrogateescape` makes of bytes that do not fit the encoding.
BAD_BYTE = re.compile("[\udc80-\udcff]")


def format_of(file: Path) -> str:
    """`jsonl`, `csv` or `parquet`, by the file's ending.

    Raises:
        ConfigError: it ends otherwise.
    """
    try:
        return FORMATS[file.suffix.lower()]
    except KeyError:
        raise ConfigError(f"{file} does not end in one of {', '.join(FORMATS)}", "Rename it, or convert it") from None


def read_items(file: Path, columns: Columns, *, encoding: str = "utf-8-sig", rest: bool = False) -> Iterator[Item]:
    """The rows of a file.

    Args:
        encoding: of a CSV file; the others have none to choose.
        rest: also read the columns that the check does not need.

    Raises:
        SourceError: the file cannot be read.
        ConfigError: it lacks a column, or `encoding` does not exist.
    """
    try:
        match format_of(file):
            case "csv":
                yield from _read_csv(file, columns, encoding)
            case "parquet":
                yield from _read_parquet(file, columns, rest)
            case _:
                with file.open("rb") as handle:
                    yield from read_jsonl(handle, columns)
    except OSError as error:
        raise SourceError(f"cannot read {file}: {error.strerror or error}", "Check its name and your rights") from None


def read_jsonl(handle: BinaryIO, columns: Columns) -> Iterator[Item]:
    """The lines of a stream, each as soon as it is there. Blank lines are passed over; a line's number is its id where
    it has none."""
    for number, line in enumerate(_lines(handle), 1):
        place = f"line {number}"
        if line is None:
            yield Item(place, None, problem=f"is longer than {LONGEST >> 20} MiB")
        elif line.strip():
            yield _from_json(line, place, number, columns)


def _lines(handle: BinaryIO) -> Iterator[bytes | None]:
    """Lines; None for one that is too long to be held."""
    first = True
    while line := handle.readline(LONGEST):
        if len(line) == LONGEST and not line.endswith(b"\n"):
            while (more := handle.readline(LONGEST)) and not more.endswith(b"\n"):
                pass
            yield None
        else:
            yield line.removeprefix(b"\xef\xbb\xbf") if first else line
        first = False


def _from_json(line: bytes, place: str, number: int, columns: Columns) -> Item:
    try:
        record = json.loads(line.decode(), parse_constant=_no_constant, parse_float=_finite)
    except UnicodeDecodeError:
        return Item(place, None, problem="is not UTF-8")
    except json.JSONDecodeError as error:
        return Item(place, None, problem=f"is not JSON: {error.msg.lower()} (column {error.colno})")
    except ValueError as error:
        return Item(place, None, problem=f"is not JSON: {error}")
    except RecursionError:
        return Item(place, None, problem="is nested too deeply")
    return item_of(record, place, number, columns)


def _no_constant(name: str) -> float:
    raise ValueError(f"there is no {name} in it")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


def _read_csv(file: Path, columns: Columns, encoding: str) -> Iterator[Item]:
    # A setting of the whole process, and the csv module's only one against cells over 128 KiB.
    csv.field_size_limit(LONGEST)
    try:
        delimiter, header = _header(file, columns, encoding)
        with file.open(encoding=encoding, errors="surrogateescape", newline="") as handle:
            for number, (place, cells) in enumerate(islice(_rows(handle, delimiter), 1, None), 1):
                yield _from_cells(header, cells, place, number, columns)
    except LookupError:
        raise ConfigError(f"there is no encoding {encoding!r}", "Try utf-8, cp1252 or utf-16") from None
    except UnicodeError as error:
        raise SourceError(f"{file} is not {encoding}: {error}", "Name its encoding with --encoding") from None


def _header(file: Path, columns: Columns, encoding: str) -> tuple[str, list[str]]:
    """The delimiter and the names of the columns."""
    found: list[str] = []
    for delimiter in DELIMITERS:
        with file.open(encoding=encoding, errors="surrogateescape", newline="") as handle:
            _, cells = next(_rows(handle, delimiter), ("", []))
        header = cells if isinstance(cells, list) else []
        if columns.text in header:
            break
        # One that splits the line is what the file's author meant.
        found = max(found, header, key=len)
    else:
        header = found
    _need(file, columns, header)
    return delimiter, header


def _need(file: Path, columns: Columns, names: Sequence[str]) -> None:
    for option, name, default in (
        ("text", columns.text, None),
        ("id", columns.id, Columns.id),
        ("passages", columns.passages, Columns.passages),
    ):
        if name not in names and name != default:
            there = f"it has {', '.join(names)}" if any(names) else "it is empty"
            raise ConfigError(f"no column {name!r} in {file}: {there}", f"Name the right one with --{option}-column")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"{file} has two columns named {twice!r}", "Rename one of them")


def _rows(handle: Iterable[str], delimiter: str) -> Iterator[tuple[str, list[str] | str]]:
    """Where each row begins, and its cells or what is wrong with it; empty lines are passed over."""
    reader = csv.reader(handle, delimiter=delimiter, strict=True)
    while True:
        place = f"line {reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield place, f"is not CSV: {error}"
            continue
        if cells:
            yield place, cells


def _from_cells(header: Sequence[str], cells: list[str] | str, place: str, number: int, columns: Columns) -> Item:
    if isinstance(cells, str):
        return Item(place, None, problem=cells)
    if len(cells) != len(header):
        return Item(place, None, problem=f"has {len(cells)} cells, and the header has {len(header)}")
    if any(BAD_BYTE.search(cell) for cell in cells):
        return Item(place, None, problem="is not in the file's encoding; name the right one with --encoding")
    record: dict[str, Any] = dict(zip(header, cells, strict=True))
    item = item_of({**record, columns.passages: _passages(record.get(columns.passages, ""))}, place, number, columns)
    rest = {name: value for name, value in record.items() if name in item.rest}
    return Item(item.place, item.id, item.text, item.passages, rest, item.problem)


def _passages(cell: str) -> list[str]:
    """A cell of passages: a JSON list, or one passage as it stands."""
    try:
        listed = json.loads(cell) if cell.startswith("[") else None
    except ValueError:
        listed = None
    if isinstance(listed, list) and all(isinstance(passage, str) for passage in listed):
        return listed
    return [cell] if cell else []


def _read_parquet(file: Path, columns: Columns, rest: bool) -> Iterator[Item]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            names = table.schema_arrow.names
            _need(file, columns, names)
            kind = table.schema_arrow.field(columns.text).type
            if not _is_text(kind):
                raise ConfigError(f"column {columns.text!r} of {file} holds {kind}, not text", "Name another column")
            read = names if rest else [name for name in names if name in (columns.text, columns.id, columns.passages)]
            number = 0
            for batch in table.iter_batches(BATCH_ROWS, columns=read):
                for record in _records(batch):
                    number += 1
                    yield _from_record(record, f"row {number}", number, columns)
    except pa.ArrowException as error:
        raise SourceError(f"cannot read {file}: {error}", "Check that it is a Parquet file") from None


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(check(inner) for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _records(batch: "pa.RecordBatch") -> Iterator[dict[str, Any] | None]:
    """Rows as mappings; None for one with text that is not UTF-8, which Parquet does not check."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for place in range(batch.num_rows):
            try:
                yield from batch.slice(place, 1).to_pylist()
            except UnicodeDecodeError:
                yield None


def _from_record(record: dict[str, Any] | None, place: str, number: int, columns: Columns) -> Item:
    if record is None:
        return Item(place, None, problem="is not UTF-8")
    return item_of({name: _in_json(value) for name, value in record.items()}, place, number, columns)


def _in_json(value: Any) -> Any:
    """A value of a Parquet table as JSON can hold it."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return base64.b64encode(value).decode()
        case datetime() | date() | time():
            return value.isoformat()
        case list() | tuple():
            return [_in_json(one) for one in value]
        case dict():
            return {str(name): _in_json(one) for name, one in value.items()}
    return str(value)
