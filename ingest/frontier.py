"""What a crawl knows: every address it has met, what became of it, and the bodies. Kept in one SQLite file.

Each result is one transaction, so a process killed at any point has every address either still queued or done, never
half. Rows are visited in waves: all addresses of one depth (and one number of redirects) before any of the next, in
the order of their addresses. So what is reached within a page limit does not depend on which answer came first.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ingest.fetch import Fetched
from ingest.records import Page, Reject

_SCHEMA = """
CREATE TABLE IF NOT EXISTS start (url TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entry (
    url TEXT PRIMARY KEY, depth INTEGER NOT NULL, hops INTEGER NOT NULL, status TEXT NOT NULL DEFAULT 'queued',
    reason TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT '', score REAL NOT NULL DEFAULT 0,
    threshold REAL NOT NULL DEFAULT 0, target TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entry_order ON entry (status, depth, hops, url);
CREATE TABLE IF NOT EXISTS page (
    url TEXT PRIMARY KEY, content_type TEXT NOT NULL, charset TEXT NOT NULL, body BLOB NOT NULL,
    sha256 TEXT NOT NULL, fetched_at TEXT NOT NULL
);
"""


class Wave(NamedTuple):
    """Addresses that may be fetched in parallel: links from the start page, and redirects on the way."""

    depth: int
    hops: int


class Frontier:
    """The crawl's state. Opening an existing file continues it; one that began elsewhere is cleared.

    Raises:
        sqlite3.OperationalError: the file cannot be written (by any method).
    """

    def __init__(self, path: Path, start: str) -> None:
        self._path = path
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        # Survives the death of the process; only a power cut may cost the last pages, which are then fetched again.
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        known = self._db.execute("SELECT url FROM start").fetchone()
        if known != (start,):
            with self._transaction():
                for table in ("start", "entry", "page"):
                    self._db.execute(f"DELETE FROM {table}")  # noqa: S608  # names from the line above
                self._db.execute("INSERT INTO start VALUES (?)", (start,))
                self._enqueue([start], Wave(0, 0))

    def close(self) -> None:
        self._db.close()

    def delete(self) -> None:
        """Close, and remove the file."""
        self.close()
        for suffix in ("-wal", "-shm", ""):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def next_wave(self) -> Wave | None:
        """The first wave that still has queued addresses."""
        row = self._db.execute(
            "SELECT depth, hops FROM entry WHERE status = 'queued' ORDER BY depth, hops LIMIT 1"
        ).fetchone()
        return Wave(*row) if row else None

    def queued(self, wave: Wave) -> list[str]:
        """Its queued addresses, in order."""
        return self._column(
            "SELECT url FROM entry WHERE status = 'queued' AND depth = ? AND hops = ? ORDER BY url", wave
        )

    def count(self, status: str) -> int:
        """How many addresses are `queued`, `page`, `rejected` or `redirected`."""
        found = self._db.execute("SELECT count(*) FROM entry WHERE status = ?", (status,)).fetchone()
        return int(found[0])

    def add_page(self, url: str, fetched: Fetched, links: Iterable[str], barred: Iterable[str], wave: Wave) -> None:
        """Keep a body, queue its links one deeper than `wave`, and note those that robots.txt bars."""
        digest = hashlib.sha256(fetched.body).hexdigest()
        now = datetime.now(UTC).isoformat()
        with self._transaction():
            self._db.execute(
                "INSERT INTO page VALUES (?, ?, ?, ?, ?, ?)",
                (url, fetched.content_type, fetched.charset, fetched.body, digest, now),
            )
            self._db.execute("UPDATE entry SET status = 'page' WHERE url = ?", (url,))
            self._enqueue(links, Wave(wave.depth + 1, 0))
            self._db.executemany(
                "INSERT OR IGNORE INTO entry (url, depth, hops, status, reason, detail) "
                "VALUES (?, ?, 0, 'rejected', 'robots', 'robots.txt asks not to fetch it')",
                [(link, wave.depth + 1) for link in barred],
            )

    def add_redirect(self, url: str, target: str, wave: Wave) -> bool:
        """Note a redirect and queue its target. False, changing nothing, when following it would lead back to `url`."""
        if url in self._redirects_from(target):
            return False
        with self._transaction():
            self._db.execute("UPDATE entry SET status = 'redirected', target = ? WHERE url = ?", (target, url))
            self._enqueue([target], Wave(wave.depth, wave.hops + 1))
        return True

    def reject(self, reject: Reject) -> None:
        """Note why an address gave no page."""
        self._db.execute(
            "UPDATE entry SET status = 'rejected', reason = ?, detail = ?, score = ?, threshold = ? WHERE url = ?",
            (reject.rule, reject.detail, reject.score, reject.threshold, reject.url),
        )

    def requeue(self, reasons: tuple[str, ...]) -> None:
        """Put addresses that were rejected for these reasons back into the queue."""
        for reason in reasons:
            self._db.execute("UPDATE entry SET status = 'queued' WHERE status = 'rejected' AND reason = ?", (reason,))

    def pages(self) -> Iterator[Page]:
        """All pages, sorted by address."""
        rows = self._db.execute("SELECT url, content_type, charset, body, fetched_at FROM page ORDER BY url")
        for url, content_type, charset, body, fetched_at in rows:
            yield Page(url, content_type, charset, body, datetime.fromisoformat(fetched_at))

    def rejects(self) -> Iterator[Reject]:
        """All rejects, sorted by address."""
        rows = self._db.execute(
            "SELECT url, reason, detail, score, threshold FROM entry WHERE status = 'rejected' ORDER BY url"
        )
        for row in rows:
            yield Reject(*row)

    def fingerprint(self) -> str:
        """SHA-256 over the sorted pairs of address and SHA-256 of the body."""
        total = hashlib.sha256()
        for url, digest in self._db.execute("SELECT url, sha256 FROM page ORDER BY url"):
            total.update(f"{url}\n{digest}\n".encode())
        return total.hexdigest()

    def _enqueue(self, urls: Iterable[str], wave: Wave) -> None:
        self._db.executemany(
            "INSERT INTO entry (url, depth, hops) VALUES (?, ?, ?) ON CONFLICT (url) DO UPDATE "
            "SET depth = excluded.depth, hops = excluded.hops "
            "WHERE status = 'queued' AND (excluded.depth, excluded.hops) < (depth, hops)",
            [(url, *wave) for url in urls],
        )

    def _redirects_from(self, url: str) -> set[str]:
        """The address and all that its known redirects lead to."""
        seen: set[str] = set()
        at: str | None = url
        while at is not None and at not in seen:
            seen.add(at)
            row = self._db.execute("SELECT target FROM entry WHERE url = ?", (at,)).fetchone()
            at = row[0] if row else None
        return seen

    def _column(self, query: str, values: Iterable[object]) -> list[str]:
        return [row[0] for row in self._db.execute(query, tuple(values))]

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db)


class _Transaction:
    """All or nothing. (`with connection:` does not begin a transaction in autocommit mode.)"""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        # A full disk has SQLite roll back by itself, and a second rollback would hide that error behind its own.
        if self._db.in_transaction:
            self._db.execute("COMMIT" if kind is None else "ROLLBACK")
