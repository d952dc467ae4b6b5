"""A map over a table in parts: what every stage that treats rows one by one runs on.

In: a table sorted by url, and a function from one row to an `Outcome`-like record (`url`, `key`, ...). Out: a table of
those records in the same order. The rows are cut into parts of bounded size; each part is one file, written under a
temporary name and renamed, and any executor may make any of them. So a killed run goes on with the parts that are
missing, and the bytes of the result depend neither on the number of processes nor on where they run.

A row whose key is the one it had in the previous version is taken over from there.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.executor import Executor
from ingest.records import read_groups, read_table, row_groups, write_table

PART_ROWS, PART_BYTES = 64, 64_000_000
# Row groups of the results: what a later stage reads at once, and what has to be read for one changed row.
GROUP_ROWS = 64
PARTS = "parts"


class Keyed(Protocol):
    """The least that a result holds."""

    @property
    def url(self) -> str: ...
    @property
    def key(self) -> str: ...


Row = TypeVar("Row")
Result = TypeVar("Result", bound=Keyed)


class Step(Protocol[Row, Result]):
    """What is done to one row. Picklable; it may be called in another process, or on another machine."""

    @property
    def reads(self) -> type[Row]: ...
    @property
    def makes(self) -> type[Result]: ...

    def prepare(self, row: Row, /) -> tuple[Row, str]:
        """The row as it will be treated, and the key of all that its result depends on."""

    def treat(self, row: Row, key: str, before: Result | None, /) -> Result:
        """The result. `before` is what this address had in the previous version, for another key."""

    def known(self, previous: Path, first: str, last: str) -> Iterable[Result]:
        """The results in the folder of the previous version for `first <= url <= last`."""


@dataclass(frozen=True)
class Part(Generic[Row, Result]):
    """One task for an executor."""

    step: Step[Row, Result]
    source: Path
    groups: tuple[int, ...]
    previous: Path | None
    out: Path

    def run(self) -> int:
        """Make the part's file. Returns the number of its rows."""
        rows = read_groups(self.source, self.step.reads, self.groups)
        temporary = self.out.with_suffix(f".{os.getpid()}.tmp")
        write_table(temporary, self._results(rows), self.step.makes, batch=GROUP_ROWS)
        os.replace(temporary, self.out)
        return len(rows)

    def _results(self, rows: Sequence[Any]) -> Iterator[Result]:
        known = self._known(rows[0].url, rows[-1].url) if rows else {}
        for row in rows:
            ready, key = self.step.prepare(row)
            before = known.get(row.url)
            yield before if before is not None and before.key == key else self.step.treat(ready, key, before)

    def _known(self, first: str, last: str) -> dict[str, Result]:
        if self.previous is None:
            return {}
        return {row.url: row for row in self.step.known(self.previous, first, last)}


def run_parts(
    step: Step[Row, Result],
    source: Path,
    folder: Path,
    *,
    previous: Path | None,
    executor: Executor,
    progress: Callable[[int, int], None],
) -> Iterator[Result]:
    """All results in the order of the rows. What is already in `folder` from a killed run is not made again.

    Args:
        source: a table sorted by url.
        folder: holds the parts until `forget_parts`.
        previous: folder of the version from which results may be taken over.
        progress: called with (rows done, rows in all).
    """
    home = folder / PARTS
    home.mkdir(exist_ok=True)
    parts = [
        Part(step, source, groups, previous, home / f"{number:06}.parquet")
        for number, groups in enumerate(_groups_of_parts(source))
    ]
    total = row_groups(source).num_rows
    rows_of = {part: _rows(part.out) for part in parts}
    missing = [part for part, rows in rows_of.items() if rows is None]
    done = sum(rows or 0 for rows in rows_of.values())
    progress(done, total)
    for rows in executor.run(missing):
        done += rows
        progress(done, total)
    for part in parts:
        yield from read_table(part.out, step.makes)


def _rows(path: Path) -> int | None:
    """How many rows a part has; None where it is missing, or was cut by a machine that lost its power."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowInvalid):
        return None


def forget_parts(folder: Path) -> None:
    """Remove the parts, once what they hold is in the stage's own tables."""
    shutil.rmtree(folder / PARTS, ignore_errors=True)


def _groups_of_parts(source: Path) -> Iterator[tuple[int, ...]]:
    metadata = row_groups(source)
    taken: list[int] = []
    rows = size = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if taken and (rows + group.num_rows > PART_ROWS or size + group.total_byte_size > PART_BYTES):
            yield tuple(taken)
            taken, rows, size = [], 0, 0
        taken.append(number)
        rows += group.num_rows
        size += group.total_byte_size
    if taken:
        yield tuple(taken)
