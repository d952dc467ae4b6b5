"""Single files and tables of documents in, the same tables as a crawl's out.

A file is read as in a folder; a table (JSONL or Parquet, see `ingest/tables.py`) gives one page a row. Rows come in any
order and number, so they are kept in `rows.db` (SQLite) beside the output until all are there: that sorts them by
address and finds those that share one. Writes `pages.parquet` and `rejects.parquet`, both sorted by address.

A killed run starts again. Known limit: `rows.db` needs as much disk as the documents, decoded.
"""

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from configs.artifacts import Made
from configs.errors import SourceError
from ingest.folder import read_file
from ingest.formats import BY_EXTENSION
from ingest.records import Page, Progress, Reject, write_table
from ingest.snapshot import REJECTS, disk_errors, write_snapshot
from ingest.tables import EXTENSIONS, Row, count_rows, is_table, read_rows

logger = logging.getLogger(__name__)

STATE = "rows.db"
REMEDY = f"Name files that end in {', '.join(sorted(BY_EXTENSION))}, or tables that end in {', '.join(EXTENSIONS)}"


def read_files(
    files: Sequence[Path],
    out: Path,
    *,
    max_pages: int,
    max_page_bytes: int,
    previous: Path | None = None,
    now: datetime | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> Made:
    """Read files and the rows of tables into `out`.

    Args:
        files: of two rows that share an address or an id, the one of the earlier file stays.
        max_pages: files and rows read; the rest is counted as unvisited.
        max_page_bytes: larger documents are rejected.
        previous: folder of the previous version of the pages; what is unchanged keeps its time and crawl number.
        now: the time that all new pages get; the present by default.
        progress: called with ("read", documents so far, None).

    Returns:
        Counts (pages, rejected, unvisited, added, changed, unchanged, gone) and the fingerprint: SHA-256 over the
        sorted (url, SHA-256 of body).

    Raises:
        SourceError: a file does not exist, a table has no column to read, or there is nothing to read.
        ArtifactError: the disk is full, or the previous version cannot be read.
    """
    paths = [_checked(path) for path in files]
    with disk_errors(out, database=out / STATE), _spool(out) as spool:
        unvisited = _fill(spool, paths, max_pages, max_page_bytes, progress)
        made = write_snapshot(spool.pages(now or datetime.now(UTC)), out, previous)
        rejected = write_table(out / REJECTS, spool.rejects(), Reject)
    if not made.counts["pages"]:
        raise SourceError(f"the files of source.files hold nothing to read ({rejected} rejected)", REMEDY)
    if unvisited:
        logger.warning("source.max_pages (%d) reached: %d documents not read", max_pages, unvisited)
    return Made({**made.counts, "rejected": rejected, "unvisited": unvisited}, fingerprint=made.fingerprint)


@contextmanager
def _spool(out: Path) -> Iterator["_Spool"]:
    """An empty spool in a folder, gone at the end."""
    out.mkdir(parents=True, exist_ok=True)
    state = out / STATE
    state.unlink(missing_ok=True)
    with closing(sqlite3.connect(state, isolation_level=None)) as db:
        yield _Spool(db)
    state.unlink()


def _checked(path: Path) -> Path:
    try:
        found = path.expanduser().resolve(strict=True)
    except (OSError, RuntimeError):
        raise SourceError(f"the file {path} does not exist", "Check source.files") from None
    if found.is_dir():
        raise SourceError(f"{path} is a folder", "Set source.folder to read a folder")
    return found


def _fill(spool: "_Spool", paths: Sequence[Path], max_pages: int, max_page_bytes: int, progress: Progress) -> int:
    """Read until the limit. Returns how many documents lie beyond it."""
    read = unvisited = 0
    for path in paths:
        taken = 0
        for found in _documents(path, max_page_bytes) if spool.kept < max_pages else ():
            spool.add(found)
            taken += 1
            progress("read", read + taken, None)
            if spool.kept == max_pages:
                break
        read += taken
        if spool.kept == max_pages:
            unvisited += (count_rows(path, max_page_bytes=max_page_bytes) if is_table(path) else 1) - taken
    return unvisited


def _documents(path: Path, max_page_bytes: int) -> Iterator[Row | Reject]:
    if is_table(path):
        yield from read_rows(path, max_page_bytes=max_page_bytes)
        return
    page = read_file(path, max_page_bytes=max_page_bytes, now=datetime.now(UTC))
    # A file by itself is a table of one row.
    yield (
        page
        if isinstance(page, Reject)
        else Row(page.url, page.url, (page.url,), page.content_type, page.charset, page.body)
    )


class _Spool:
    """Documents on disk, each address once.

    Attributes:
        kept: documents that are no rejects.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.kept = 0
        # It is made anew after a crash, so nothing in it need survive one.
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN")
        db.execute("CREATE TABLE name (name TEXT PRIMARY KEY, place TEXT NOT NULL) WITHOUT ROWID")
        db.execute("CREATE TABLE page (url TEXT PRIMARY KEY, kind TEXT, charset TEXT, body BLOB)")
        db.execute("CREATE TABLE reject (url TEXT, rule TEXT, detail TEXT, score REAL, threshold REAL, matched TEXT)")

    def add(self, found: Row | Reject) -> None:
        """Keep a document, or the reason why not; a name that another one has is a reason."""
        if isinstance(found, Row):
            first = next(filter(None, map(self._place_of, found.names)), None)
            if first is None:
                page = (found.url, found.content_type, found.charset, found.body)
                self._db.executemany("INSERT INTO name VALUES (?, ?)", [(name, found.place) for name in found.names])
                self._db.execute("INSERT INTO page VALUES (?, ?, ?, ?)", page)
                self.kept += 1
                return
            found = Reject(found.place, "duplicate_id", f"{found.url} is already that of {first}", matched=first)
        row = (found.url, found.rule, found.detail, found.score, found.threshold, found.matched)
        self._db.execute("INSERT INTO reject VALUES (?, ?, ?, ?, ?, ?)", row)

    def pages(self, now: datetime) -> Iterator[Page]:
        """All pages, sorted by address."""
        for url, kind, charset, body in self._db.execute("SELECT url, kind, charset, body FROM page ORDER BY url"):
            yield Page(url, kind, charset, body, now)

    def rejects(self) -> Iterator[Reject]:
        """All rejects, sorted by address."""
        for row in self._db.execute("SELECT * FROM reject ORDER BY url, rule"):
            yield Reject(*row)

    def _place_of(self, name: str) -> str | None:
        row = self._db.execute("SELECT place FROM name WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])
