"""What the previous crawl of a site kept, for the next one to go on from.

In: the folder of its version. Out: everything about each page but the body (`Known`), a row group at a time; and single
bodies, which stay in their file. No more than two row groups are in memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import ArtifactError
from ingest.records import Page, read_table, schema_of

PAGES, TRAILS = "pages.parquet", "trails.parquet"
MISMATCH = f"{TRAILS} beside it does not belong to it"
# Bodies are asked for almost in the order in which the table is sorted.
_GROUPS_HELD = 2


class Known(NamedTuple):
    """A kept page without its body. Fields are as in `Page`.

    Attributes:
        sha256: of the body, in hexadecimal digits.
        size: of the body, in bytes.
        links: where the page leads, as `PageLinks.to_text` gives it.
        fetched_at: in ISO 8601.
    """

    url: str
    content_type: str
    charset: str
    sha256: str
    size: int
    fetched_at: str
    etag: str
    last_modified: str
    crawl: int
    missing: int
    links: str


@dataclass(frozen=True)
class Trail:
    """What the next crawl wants to know of a page without reading its body. Fields are as in `Known`."""

    url: str
    sha256: str
    size: int
    links: str


class PreviousPages:
    """The tables of an earlier version.

    Raises:
        ArtifactError: the table is missing, damaged, or holds other columns (by any method, too).
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / PAGES
        self._held: dict[int, dict[str, bytes]] = {}
        try:
            self._file = pq.ParquetFile(self.path)
        except (OSError, pa.ArrowInvalid) as error:
            raise self._unreadable(str(error)) from None
        if self._file.schema_arrow.names != schema_of(Page).names:
            self.close()
            raise self._unreadable("it was written by another version of wellread")

    def close(self) -> None:
        self._file.close()

    def groups(self) -> Iterator[list[tuple[Known, int]]]:
        """Everything but the bodies, each with the number of the row group that holds its body."""
        trails = read_table(self.path.with_name(TRAILS), Trail)
        columns = [name for name in schema_of(Page).names if name != "body"]
        for number in range(self._file.num_row_groups):
            rows = self._read(number, columns)
            yield [(self._known(row, next(trails, None)), number) for row in rows]
        if next(trails, None) is not None:
            raise self._unreadable(MISMATCH)

    def _known(self, row: dict[str, Any], trail: Trail | None) -> Known:
        if trail is None or trail.url != row["url"]:
            raise self._unreadable(MISMATCH)
        page = Page(body=b"", **row)
        at = page.fetched_at.isoformat()
        facts = (page.url, page.content_type, page.charset, trail.sha256, trail.size, at)
        return Known(*facts, page.etag, page.last_modified, page.crawl, page.missing, trail.links)

    def body(self, url: str, group: int) -> bytes:
        """The body of one page."""
        if group not in self._held:
            while len(self._held) >= _GROUPS_HELD:
                del self._held[next(iter(self._held))]
            self._held[group] = {row["url"]: row["body"] for row in self._read(group, ["url", "body"])}
        return self._held[group][url]

    def _read(self, group: int, columns: list[str]) -> list[dict[str, Any]]:
        try:
            return list(self._file.read_row_group(group, columns=columns).to_pylist())
        except (OSError, pa.ArrowInvalid) as error:
            raise self._unreadable(str(error)) from None

    def _unreadable(self, why: str) -> ArtifactError:
        return ArtifactError(f"cannot read {self.path}: {why}", f"Delete {self.path.parent} and run the crawl again")
