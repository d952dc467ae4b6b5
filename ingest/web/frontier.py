"""What a crawl knows: every address it has met, what became of it, and the bodies. Kept in one SQLite file.

Each result is one transaction, so a process killed at any point has every address either still queued or done, never
half. Rows are visited in waves: all addresses of one depth (and one number of redirects) before any of the next, in
the order of their addresses, host by host in turn. So what is reached within a limit does not depend on which answer
came first.

Addresses that only a sitemap lists have depths from `LISTED` on, and pages of the previous crawl that nothing leads to
any more have `ORPHANED`: they come after all that links lead to.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ingest.records import Reject
from ingest.web.previous import Known
from ingest.web.scope import family, too_many, trap
from ingest.web.urls import site_of

LISTED, ORPHANED = 1_000_000, 2_000_000
_BATCH = 256
_FOLLOWED_HELD = 50_000

# What is long stands last in its row: SQLite walks through what stands before a column to get to it.
_KNOWN = """
    url TEXT PRIMARY KEY, content_type TEXT NOT NULL, charset TEXT NOT NULL, sha256 TEXT NOT NULL,
    size INTEGER NOT NULL, fetched_at TEXT NOT NULL, etag TEXT NOT NULL, last_modified TEXT NOT NULL,
    crawl INTEGER NOT NULL, missing INTEGER NOT NULL, links TEXT NOT NULL
"""
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entry (
    url TEXT PRIMARY KEY, depth INTEGER NOT NULL, hops INTEGER NOT NULL, turn INTEGER NOT NULL DEFAULT -1,
    status TEXT NOT NULL DEFAULT 'queued', reason TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT '',
    score REAL NOT NULL DEFAULT 0, threshold REAL NOT NULL DEFAULT 0, target TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entry_order ON entry (status, depth, hops, turn, url);
CREATE TABLE IF NOT EXISTS family (name TEXT PRIMARY KEY, members INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sitemap (url TEXT PRIMARY KEY, depth INTEGER NOT NULL, done INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS previous ({_KNOWN}, place INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS page (canonical TEXT NOT NULL, {_KNOWN}, body BLOB);
"""
_TABLES = ("fact", "entry", "family", "sitemap", "previous", "page")
_COLUMNS = ", ".join(Known._fields)


class Wave(NamedTuple):
    """Addresses that may be fetched in parallel: links from the start page, and redirects on the way."""

    depth: int
    hops: int

    @property
    def links(self) -> int:
        """Links followed since the start page; a sitemap counts as one."""
        return self.depth if self.depth < LISTED else self.depth - LISTED + 1


class Leads(NamedTuple):
    """Where a page leads: addresses to visit, rejects that need no visit, and the canonical address, or empty."""

    follow: tuple[str, ...] = ()
    refused: tuple[Reject, ...] = ()
    canonical: str = ""


class Frontier:
    """The crawl's state. Opening an existing file continues it; one of another crawl is cleared.

    Args:
        identity: what makes two crawls the same: start address, version to go on from.
        began: time of this start in ISO 8601; of a crawl that is continued, the first start's time stays.

    Raises:
        sqlite3.OperationalError: the file cannot be written (by any method).
    """

    def __init__(self, path: Path, identity: str, began: datetime | None = None) -> None:
        self._path = path
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        # Survives the death of the process; only a power cut may cost the last pages, which are then fetched again.
        self.db.execute("PRAGMA synchronous=NORMAL")
        self.db.executescript(_SCHEMA)
        if self.fact("identity") != identity:
            with self.transaction():
                for table in _TABLES:
                    self.db.execute(f"DELETE FROM {table}")  # noqa: S608  # names from the tuple above
                self.remember("identity", identity)
                self.remember("began", (began or datetime.now(UTC)).isoformat())
        self._followed: dict[str, None] = {}

    def close(self) -> None:
        self.db.close()

    def delete(self) -> None:
        """Close, and remove the file."""
        self.close()
        for suffix in ("-wal", "-shm", ""):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def fact(self, name: str) -> str:
        """What was remembered under a name, or nothing."""
        row = self.db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def remember(self, name: str, value: str) -> None:
        self.db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    def next_wave(self) -> Wave | None:
        """The first wave that still has queued addresses."""
        row = self.db.execute(
            "SELECT depth, hops FROM entry WHERE status = 'queued' ORDER BY depth, hops LIMIT 1"
        ).fetchone()
        return Wave(*row) if row else None

    def admit(self, wave: Wave, max_per_family: int) -> None:
        """Give each address of a wave its turn, and refuse those that look like a trap; once for each wave.

        Nothing that the previous crawl kept is refused.
        """
        turns: Counter[str] = Counter()
        with self.transaction():
            for url, known in self._batches(
                "SELECT url, EXISTS (SELECT 1 FROM previous WHERE previous.url = entry.url) FROM entry WHERE "
                "status = 'queued' AND depth = ? AND hops = ? AND turn = -1 AND url > ? ORDER BY url LIMIT ?",
                wave,
            ):
                refusal = self._join_family(url, max_per_family) or trap(url)
                if refusal and not known:
                    self.reject(refusal)
                else:
                    turns[site_of(url)] += 1
                    self.db.execute("UPDATE entry SET turn = ? WHERE url = ?", (turns[site_of(url)], url))

    def queued(self, wave: Wave) -> Iterator[str]:
        """Its queued addresses, in the order of their turns."""
        turn, url = -1, ""
        while True:
            rows = self.db.execute(
                "SELECT turn, url FROM entry WHERE status = 'queued' AND depth = ? AND hops = ? "
                "AND (turn, url) > (?, ?) ORDER BY turn, url LIMIT ?",
                (*wave, turn, url, _BATCH),
            ).fetchall()
            if not rows:
                return
            yield from (row[1] for row in rows)
            turn, url = rows[-1]

    def count(self, status: str) -> int:
        """How many addresses are `queued`, `page`, `rejected` or `redirected`."""
        found = self.db.execute("SELECT count(*) FROM entry WHERE status = ?", (status,)).fetchone()
        return int(found[0])

    def total_size(self) -> int:
        """Bytes of all bodies kept so far."""
        return int(self.db.execute("SELECT coalesce(sum(size), 0) FROM page").fetchone()[0])

    def known(self, url: str) -> Known | None:
        """What the previous crawl kept at an address."""
        row = self.db.execute(f"SELECT {_COLUMNS} FROM previous WHERE url = ?", (url,)).fetchone()  # noqa: S608
        return Known(*row) if row else None

    def last_crawl(self) -> int:
        """The highest crawl number of a page of the previous crawl; 0 without one."""
        return int(self.db.execute("SELECT coalesce(max(crawl), 0) FROM previous").fetchone()[0])

    def add_page(self, page: Known, body: bytes | None, leads: Leads, wave: Wave) -> None:
        """Keep a page, and queue what it leads to; without a body, it has that of the previous crawl."""
        with self.transaction():
            self._store(page, body, leads.canonical)
            self._follow(leads, wave)

    def add_redirect(self, url: str, target: str, wave: Wave) -> bool:
        """Note a redirect and queue its target. False, changing nothing, when following it would lead back to `url`."""
        if url in self.redirects_from(target):
            return False
        with self.transaction():
            self.db.execute("UPDATE entry SET status = 'redirected', target = ? WHERE url = ?", (target, url))
            self._enqueue([target], Wave(wave.depth, wave.hops + 1))
        return True

    def reject(self, reject: Reject) -> None:
        """Note why an address gives no page."""
        self.db.execute(
            "UPDATE entry SET status = 'rejected', reason = ?, detail = ?, score = ?, threshold = ?, target = ? "
            "WHERE url = ?",
            (reject.rule, reject.detail, reject.score, reject.threshold, reject.matched, reject.url),
        )

    def reject_leading(self, reject: Reject, leads: Leads, wave: Wave) -> None:
        """The same for a page that is not kept, but leads to others."""
        with self.transaction():
            self.reject(reject)
            self._follow(leads, wave)

    def refuse(self, rejects: Iterable[Reject], wave: Wave) -> None:
        """Note addresses that are never asked for, unless something is known of them already."""
        self.db.executemany(
            "INSERT OR IGNORE INTO entry (url, depth, hops, status, reason, detail) VALUES (?, ?, 0, 'rejected', ?, ?)",
            [(reject.url, wave.depth, reject.rule, reject.detail) for reject in rejects],
        )

    def enqueue(self, urls: Iterable[str], wave: Wave) -> None:
        """Queue addresses, or move those that are queued for a later wave."""
        with self.transaction():
            self._enqueue(urls, wave)

    def enqueue_orphans(self) -> None:
        """Queue the pages of the previous crawl that this one has not met."""
        self.db.execute(
            "INSERT OR IGNORE INTO entry (url, depth, hops) SELECT url, ?, 0 FROM previous",
            (ORPHANED,),
        )

    def add_previous(self, pages: Iterable[tuple[Known, int]]) -> None:
        """Take in what the previous crawl kept, each with the place of its body."""
        marks = ", ".join("?" * (len(Known._fields) + 1))
        with self.transaction():
            rows = ((*known, place) for known, place in pages)
            self.db.executemany(f"INSERT OR REPLACE INTO previous VALUES ({marks})", rows)  # noqa: S608

    def carry(self, known: Known) -> None:
        """Keep what the previous crawl has of an address that gave nothing this time."""
        self._store(known, None, "")

    def requeue(self, reasons: tuple[str, ...]) -> None:
        """Put addresses that were rejected for these reasons back into the queue."""
        for reason in reasons:
            self.db.execute("UPDATE entry SET status = 'queued' WHERE status = 'rejected' AND reason = ?", (reason,))

    def add_sitemaps(self, urls: Iterable[str], depth: int = 0) -> None:
        """Queue sitemaps, so many indexes deep."""
        self.db.executemany("INSERT OR IGNORE INTO sitemap (url, depth) VALUES (?, ?)", [(url, depth) for url in urls])

    def next_sitemap(self) -> tuple[str, int, int] | None:
        """The first unread sitemap: its address, its depth, and that how many-th it is."""
        row = self.db.execute(
            "SELECT url, depth, (SELECT count(*) FROM sitemap WHERE done) + 1 FROM sitemap WHERE NOT done "
            "ORDER BY depth, url LIMIT 1"
        ).fetchone()
        return (row[0], row[1], row[2]) if row else None

    def finish_sitemap(self, url: str, nested: Iterable[str], pages: Iterable[str], rejects: Iterable[Reject]) -> None:
        """Note what a sitemap named."""
        with self.transaction():
            (depth,) = self.db.execute("SELECT depth FROM sitemap WHERE url = ?", (url,)).fetchone()
            self.db.execute("UPDATE sitemap SET done = 1 WHERE url = ?", (url,))
            self.add_sitemaps(nested, depth + 1)
            self._enqueue(pages, Wave(LISTED, 0))
            self.refuse(rejects, Wave(LISTED, 0))

    def rejects(self) -> Iterator[Reject]:
        """All rejects, sorted by address."""
        rows = self.db.execute(
            "SELECT url, reason, detail, score, threshold, target FROM entry WHERE status = 'rejected' ORDER BY url"
        )
        yield from (Reject(*row) for row in rows)

    def redirects_from(self, url: str) -> list[str]:
        """The address and all that its known redirects lead to, in order."""
        seen: dict[str, None] = {}
        at = url
        while at and at not in seen:
            seen[at] = None
            row = self.db.execute("SELECT target FROM entry WHERE url = ? AND status = 'redirected'", (at,)).fetchone()
            at = row[0] if row else ""
        return list(seen)

    def transaction(self) -> "_Transaction":
        return _Transaction(self.db)

    def _store(self, found: Known, body: bytes | None, canonical: str) -> None:
        marks = ", ".join("?" * (len(found) + 2))
        self.db.execute(f"INSERT INTO page VALUES ({marks})", (canonical, *found, body))  # noqa: S608
        self.db.execute("UPDATE entry SET status = 'page' WHERE url = ?", (found.url,))

    def _follow(self, leads: Leads, wave: Wave) -> None:
        deeper = Wave(wave.depth + 1, 0)
        # Waves only go deeper: a link that has been queued before has nothing to gain from being queued again.
        fresh = [url for url in leads.follow if url not in self._followed]
        self._enqueue(fresh, deeper)
        self._followed.update(dict.fromkeys(fresh))
        while len(self._followed) > _FOLLOWED_HELD:
            del self._followed[next(iter(self._followed))]
        self.refuse(leads.refused, deeper)
        if leads.canonical:
            self._enqueue([leads.canonical], Wave(wave.depth, wave.hops + 1))

    def _enqueue(self, urls: Iterable[str], wave: Wave) -> None:
        self.db.executemany(
            "INSERT INTO entry (url, depth, hops) VALUES (?, ?, ?) ON CONFLICT (url) DO UPDATE "
            "SET depth = excluded.depth, hops = excluded.hops "
            "WHERE status = 'queued' AND (excluded.depth, excluded.hops) < (depth, hops)",
            [(url, *wave) for url in urls],
        )

    def _join_family(self, url: str, most: int) -> Reject | None:
        name = family(url)
        if not name:
            return None
        number = self.db.execute(
            "INSERT INTO family VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET members = members + 1 RETURNING members",
            (name,),
        ).fetchone()[0]
        return too_many(url, number, most) if number > most else None

    def _batches(self, query: str, wave: Wave) -> Iterator[tuple[str, int]]:
        """Rows whose first column is the address, in order, though what the query finds changes on the way."""
        at = ""
        while rows := self.db.execute(query, (*wave, at, _BATCH)).fetchall():
            yield from rows
            at = rows[-1][0]


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
