"""What changed from one data set to another: documents, counts and figures, settings.

In: two versions of the stage `documents`, whose tables are sorted by url. Out: a stream of `Change`s, and the numbers
that moved. Both tables are read once, side by side, so memory does not depend on their size.

Known limit: a document that moved to another address is one removed and one added.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from configs.artifacts import Version, Workspace
from configs.errors import ArtifactError
from ingest.versions.ancestry import DOCUMENTS_STAGE, TABLES, ancestors

COLUMNS = ["url", "id", "title", "text"]

Kind = Literal["added", "changed", "removed"]


@dataclass(frozen=True)
class Change:
    """A document that is in one data set only, or in both with another text.

    Attributes:
        before, after: its id in the first and in the second data set; empty where it is not in it.
        words_before, words_after: length of its text.
    """

    kind: Kind
    url: str
    title: str
    before: str
    after: str
    words_before: int
    words_after: int


@dataclass(frozen=True)
class Moved:
    """A number or a setting that differs; None where a data set does not have it."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class _Row:
    url: str
    id: str
    title: str
    text: str


def changes(before: Version, after: Version) -> Iterator[Change]:
    """The documents that differ, by url.

    Raises:
        ArtifactError: a table is missing, damaged, or not sorted by url.
    """
    return _merge(_by_url(before.path), _by_url(after.path))


def moved_counts(before: Version, after: Version) -> list[Moved]:
    """The counts and figures of the two manifests that differ."""
    first, second = before.manifest, after.manifest
    return _moved({**first.counts, **first.figures}, {**second.counts, **second.figures})


def moved_settings(workspace: Workspace, before: Version, after: Version) -> list[Moved]:
    """The settings that differ, of the two and of the versions they were made from, as `stage.name`."""
    return _moved(_settings(workspace, before), _settings(workspace, after))


def _merge(first: Iterator[list[_Row]], second: Iterator[list[_Row]]) -> Iterator[Change]:
    old, new = next(first, None), next(second, None)
    while old or new:
        if new is None or (old is not None and old[0].url < new[0].url):
            yield _change("removed", old or [], [])
            old = next(first, None)
        elif old is None or new[0].url < old[0].url:
            yield _change("added", [], new)
            new = next(second, None)
        else:
            if [row.text for row in old] != [row.text for row in new]:
                yield _change("changed", old, new)
            old, new = next(first, None), next(second, None)


def _change(kind: Kind, old: list[_Row], new: list[_Row]) -> Change:
    shown = (new or old)[0]
    before, after = (",".join(row.id for row in rows) for rows in (old, new))
    return Change(kind, shown.url, shown.title, before, after, _words(old), _words(new))


def _words(rows: list[_Row]) -> int:
    return sum(len(row.text.split()) for row in rows)


def _by_url(folder: Path) -> Iterator[list[_Row]]:
    """The documents of each address; a page gives one, but a table of someone's may hold several."""
    last = ""
    for url, rows in groupby(_rows(folder / TABLES[DOCUMENTS_STAGE]), lambda row: row.url):
        if url < last:
            raise ArtifactError(
                f"{folder} is not sorted by address ({last} stands before {url})",
                "It was made by an older version of wellread: run `wellread ingest` again",
            )
        last = url
        yield list(rows)


def _rows(path: Path) -> Iterator[_Row]:
    # Four columns only: headings with their offsets would be most of the work.
    try:
        # By default Arrow keeps all that it has read of the file.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(256, columns=COLUMNS):
                yield from (_Row(**row) for row in batch.to_pylist())
    except (OSError, KeyError, TypeError, pa.ArrowInvalid) as error:
        raise ArtifactError(f"cannot read {path}: {error}", "Run `wellread ingest` again") from None


def _settings(workspace: Workspace, version: Version) -> dict[str, Any]:
    behind: Iterable[Version] = (*ancestors(workspace, version), version)
    return {f"{one.manifest.stage}.{name}": value for one in behind for name, value in one.manifest.settings.items()}


def _moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Moved]:
    names = sorted(before.keys() | after.keys())
    return [Moved(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]
