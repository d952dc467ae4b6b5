"""The passages of an index in a file that is mapped, not read: any row is there at once, whatever the size.

`passages.arrow` is an uncompressed Arrow IPC file of `Chunk` records in reading order, with two columns more: the
passage's number (`number_of`), which the vector index knows it by, and the number of the text that is embedded for it,
by which an unchanged passage keeps its vector.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from configs.errors import ArtifactError
from ingest.records import Chunk, revive, schema_of, stable_id

PASSAGES = "passages.arrow"
_AT_ONCE = 4096


def number_of(identifier: str) -> int:
    """The 63-bit number of a `stable_id`."""
    return int(identifier, 16) >> 1


def embedding_text(chunk: Chunk) -> str:
    """What is embedded for a chunk: its place in the document gives short passages the context they lack."""
    return f"{chunk.heading_path}\n{chunk.text}"


class Passages(Sequence[Chunk]):
    """The passages of an index, by row. Safe to read from several threads."""

    def __init__(self, batches: Sequence[pa.RecordBatch]) -> None:
        # All but the last have `_AT_ONCE` rows, so that a row's batch is known; taking rows from the table as a whole
        # would join its batches first.
        self._batches = batches
        self._table = pa.Table.from_batches(batches, schema=_schema())

    @classmethod
    def load(cls, folder: Path) -> "Passages":
        """Open a folder's passages.

        Raises:
            ArtifactError: the file is missing, damaged, or of another version.
        """
        path = folder / PASSAGES
        try:
            file = pa.ipc.open_file(pa.memory_map(str(path)))
            batches = [file.get_batch(number) for number in range(file.num_record_batches)]
            # What is mapped is followed without looking: a damaged offset would end the process, not raise.
            for batch in batches:
                batch.validate(full=True)
        except (OSError, pa.ArrowInvalid) as error:
            raise ArtifactError(f"cannot read {path}: {error}", _REMEDY.format(folder)) from None
        if file.schema.names != _schema().names:
            raise ArtifactError(f"{path} holds {file.schema.names}, not passages", _REMEDY.format(folder))
        return cls(batches)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, row: int) -> Chunk: ...
    @overload
    def __getitem__(self, row: slice) -> "list[Chunk]": ...
    def __getitem__(self, row: int | slice) -> "Chunk | list[Chunk]":
        if isinstance(row, slice):
            return self.take(range(*row.indices(len(self))))
        return self.take([range(len(self))[row]])[0]

    def __iter__(self) -> Iterator[Chunk]:
        names = schema_of(Chunk).names
        for batch in self._batches:
            yield from (revive(Chunk, row) for row in batch.select(names).to_pylist())

    def take(self, rows: Iterable[int]) -> list[Chunk]:
        """The passages of these rows, in the order given."""
        return [revive(Chunk, self._row(*divmod(row, _AT_ONCE))) for row in rows]

    @cached_property
    def numbers(self) -> npt.NDArray[np.int64]:
        """`number_of` each passage, [rows]."""
        return np.asarray(self._table["number"])

    @cached_property
    def texts(self) -> npt.NDArray[np.int64]:
        """The number of the text that is embedded for each passage, [rows]."""
        return np.asarray(self._table["embedded"])

    @cached_property
    def documents(self) -> npt.NDArray[np.int64]:
        """The number of each passage's document, from 0 as they come, [rows]."""
        parts = self._table["doc_id"].dictionary_encode().chunks
        return np.concatenate([np.zeros(0, np.int64), *(np.asarray(part.indices) for part in parts)]).astype(np.int64)

    def rows_of(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The row of each number, -1 for one that is not here."""
        if not len(self):
            return np.full(len(numbers), -1, np.int64)
        order, ascending = self._order
        at = np.minimum(np.searchsorted(ascending, numbers), len(ascending) - 1)
        return np.where(ascending[at] == numbers, order[at], -1)

    def column(self, name: str) -> pa.ChunkedArray:
        """One column, not copied: `url`, `date`, `language`, `tags`, `doc_id`, ..."""
        return self._table[name]

    def section(self, row: int, most_parts: int = 64) -> Chunk:
        """The whole section that a passage is part of, as one passage.

        What stood between its parts was white space, of which only the length is known here; offsets stay true.

        Args:
            most_parts: passages looked at before and after it; what is further away of a long section is left out.
        """
        own = self[row]
        near = self[max(row - most_parts, 0) : row + most_parts + 1]
        place = min(row, most_parts)
        first = last = place
        while first > 0 and _together(near[first - 1], near[first]):
            first -= 1
        while last + 1 < len(near) and _together(near[last], near[last + 1]):
            last += 1
        parts = near[first : last + 1]
        text = parts[0].text
        for before, part in pairwise(parts):
            gap = part.start - before.end
            text += ("\n" * gap if gap > 1 else " " * gap) + part.text
        whole = vars(own) | {"text": text, "start": parts[0].start, "end": parts[-1].end}
        return Chunk(**whole)

    def _row(self, batch: int, place: int) -> dict[str, Any]:
        return {name: column[place].as_py() for name, column in self._columns[batch]}

    @cached_property
    def _columns(self) -> list[list[tuple[str, pa.Array]]]:
        """What a passage is made of, by batch: taking a column from a batch takes longer than taking its value."""
        names = schema_of(Chunk).names
        return [[(name, batch.column(at)) for at, name in enumerate(names)] for batch in self._batches]

    @cached_property
    def _order(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        order = np.argsort(self.numbers, kind="stable")
        return order, self.numbers[order]


def write_passages(folder: Path, chunks: Iterable[Chunk]) -> int:
    """Write passages into a folder. Returns how many. One that is there twice, by its id, is written once."""
    schema, waiting, seen = _schema(), [], set[int]()
    with pa.OSFile(str(folder / PASSAGES), "wb") as file, pa.ipc.new_file(file, schema) as out:
        for chunk in chunks:
            number = number_of(chunk.id)
            if number in seen:
                continue
            seen.add(number)
            waiting.append({**vars(chunk), "number": number, "embedded": number_of(stable_id(embedding_text(chunk)))})
            if len(waiting) == _AT_ONCE:
                out.write(pa.RecordBatch.from_pylist(waiting, schema=schema))
                waiting = []
        if waiting:
            out.write(pa.RecordBatch.from_pylist(waiting, schema=schema))
    return len(seen)


def _together(one: Chunk, after: Chunk) -> bool:
    """Whether two neighbours are of one section, and not of two with the same heading, which stands between them."""
    same = (one.doc_id, one.headings) == (after.doc_id, after.headings)
    # A heading has a line feed before and after it.
    return same and (not one.headings or after.start - one.end < len(one.headings[-1]) + 2)


_REMEDY = "Delete {} and run `wellread index`"


def _schema() -> pa.Schema:
    extra = [pa.field(name, pa.int64(), nullable=False) for name in ("number", "embedded")]
    return pa.schema([*schema_of(Chunk), *extra])
