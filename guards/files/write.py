"""Writes decisions as JSON Lines, CSV or Parquet, row by row.

In: decisions, as `guards.moderate` makes them. Out: a file with one row for each, in their order.

Known limits: CSV and Parquet cannot hold half a surrogate pair, as JSON can; it becomes U+FFFD there. In CSV, verdicts
and failures are JSON in their cells. Kept columns become text in Parquet, unless they came from Parquet: then they, and
the ids, stay what they were.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guards.moderate import DECIDED, Columns, Shape, kept_name

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 256
# A row group of Parquet ends at either.
GROUP_ROWS, GROUP_BYTES = 16_384, 1 << 25
BATCH_CHARS = 1 << 23
HALF_PAIR = re.compile("[\ud800-\udfff]")


def line_of(decided: Mapping[str, Any]) -> bytes:
    """A decision as a line of JSON. What is no valid Unicode comes out escaped, as JSON allows."""
    text = json.dumps(decided, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def write_csv(
    decided: Iterable[Mapping[str, Any]], kept: Sequence[str], shape: Shape, file: Path, delimiter: str = ","
) -> None:
    """Decisions as text in columns.

    Args:
        kept: columns to keep, by their names in the decisions.
    """
    columns = [*_columns(shape), *kept]
    with file.open("w", encoding="utf-8", newline="") as handle:
        rows = csv.writer(handle, delimiter=delimiter, lineterminator="\n")
        rows.writerow(columns)
        rows.writerows([_cell(row.get(name)) for name in columns] for row in decided)


def write_parquet(decided: Iterable[Mapping[str, Any]], kept: Sequence[str], shape: Shape, file: Path) -> None:
    """Decisions as typed columns; ids and kept columns are text."""
    import pyarrow as pa

    types = {**_types(shape), **dict.fromkeys(kept, pa.string())}
    batches = (pa.record_batch(_arrays(rows, types), schema=pa.schema(types.items())) for rows in _groups(decided))
    _write(batches, pa.schema(types.items()), file)


def write_parquet_beside(
    decided: Iterable[Mapping[str, Any]], source: Path, columns: Columns, shape: Shape, file: Path
) -> None:
    """Like `write_parquet`, for decisions on the rows of a Parquet file: ids and kept columns come from there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(source) as table:
        there = table.schema_arrow
        kept = [name for name in there.names if shape.keep and name not in (columns.id, columns.text)]
        identified = columns.id in there.names
        own = {name: kind for name, kind in _types(shape).items() if not (identified and name == "id")}
        fields = [there.field(columns.id).with_name("id")] if identified else []
        fields += [pa.field(name, kind) for name, kind in own.items()]
        fields += [there.field(name).with_name(kept_name(name)) for name in kept]
        schema = pa.schema(fields)
        rows = iter(decided)

        def beside(given: pa.RecordBatch) -> pa.RecordBatch:
            arrays = _arrays(list(islice(rows, given.num_rows)), own)
            ids = [given.column(columns.id)] if identified else []
            return pa.record_batch([*ids, *arrays, *(given.column(name) for name in kept)], schema=schema)

        read = [columns.id, *kept] if identified else kept
        _write(map(beside, table.iter_batches(BATCH_ROWS, columns=read)), schema, file)


def _columns(shape: Shape) -> list[str]:
    chosen = {"explanation": shape.explain, "error": shape.skip_bad}
    return [name for name in DECIDED if chosen.get(name, True)]


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    return _whole(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _whole(text: str) -> str:
    return HALF_PAIR.sub("\ufffd", text)


def _types(shape: Shape) -> "dict[str, pa.DataType]":
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    span = pa.struct([("start", pa.int64()), ("end", pa.int64()), ("category", text)])
    verdict = [("action", text), ("category", text), ("score", number), ("threshold", number), ("reason", text)]
    verdict += [("detector", text), ("version", text), ("spans", pa.list_(span))]
    failure = pa.struct([("guard", text), ("error", text), ("closed", pa.bool_())])
    known = {"allowed": pa.bool_(), "verdicts": pa.list_(pa.struct(verdict)), "failures": pa.list_(failure)}
    return {name: known.get(name, text) for name in _columns(shape)}


def _groups(decided: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Decisions in lists that are neither long nor, with long texts, large."""
    rows: list[Mapping[str, Any]] = []
    chars = 0
    for row in decided:
        rows.append(row)
        chars += len(row["text"] or "")
        if len(rows) == BATCH_ROWS or chars > BATCH_CHARS:
            yield rows
            rows, chars = [], 0
    if rows:
        yield rows


def _arrays(rows: Sequence[Mapping[str, Any]], types: "Mapping[str, pa.DataType]") -> "list[pa.Array]":
    import pyarrow as pa

    return [
        pa.array([_cell(row.get(name)) for row in rows], kind)
        if pa.types.is_string(kind)
        else pa.array([_named(row.get(name)) for row in rows], kind)
        for name, kind in types.items()
    ]


def _named(value: Any) -> Any:
    """Verdicts with the parts of their spans by name, as a column of structs takes them."""
    if not isinstance(value, list):
        return value
    return [
        {**one, "spans": [dict(zip(("start", "end", "category"), span, strict=True)) for span in one["spans"]]}
        if "spans" in one
        else one
        for one in value
    ]


def _write(batches: "Iterable[pa.RecordBatch]", schema: "pa.Schema", file: Path) -> None:
    """A Parquet file with row groups of a good size."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    waiting: list[pa.RecordBatch] = []
    with pq.ParquetWriter(file, schema) as out:
        for batch in batches:
            waiting.append(batch)
            if sum(one.num_rows for one in waiting) >= GROUP_ROWS or sum(one.nbytes for one in waiting) > GROUP_BYTES:
                out.write_table(pa.Table.from_batches(waiting))
                waiting = []
        if waiting:
            out.write_table(pa.Table.from_batches(waiting))
