"""From a settled frontier to the tables of a version, its counts and its fingerprint.

In: the frontier, and the previous version, where the bodies that have not changed lie. Out: `pages.parquet` (Page),
`trails.parquet` (Trail) and `rejects.parquet` (Reject). Bodies pass one row group at a time.
"""

import hashlib
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from configs.artifacts import Made
from ingest.records import Page, Reject, write_table
from ingest.web.frontier import Frontier
from ingest.web.previous import PAGES, TRAILS, Known, PreviousPages, Trail

REJECTS = "rejects.parquet"
# Rows of a row group of pages: what later stages read and work on at once.
WRITTEN_AT_ONCE = 32
_COLUMNS = ", ".join(f"page.{name}" for name in Known._fields)


def publish(folder: Path, frontier: Frontier, previous: PreviousPages | None) -> Made:
    """Write the tables into `folder`. Counts and fingerprint are those of `ingest.web.crawl.crawl`."""
    if previous and _is_as_before(frontier):
        # Compressing all bodies again would take longer than all else that an unchanged site costs.
        for name in (PAGES, TRAILS):
            shutil.copyfile(previous.path.with_name(name), folder / name)
    else:
        write_table(folder / PAGES, _pages(frontier, previous), Page, batch=WRITTEN_AT_ONCE)
        trails = (Trail(page.url, page.sha256, page.size, page.links) for page in _kept(frontier))
        write_table(folder / TRAILS, trails, Trail)
    write_table(folder / REJECTS, frontier.rejects(), Reject)
    return Made(counts=_counts(frontier), fingerprint=_fingerprint(frontier))


def _pages(frontier: Frontier, previous: PreviousPages | None) -> Iterator[Page]:
    rows = frontier.db.execute(
        f"SELECT {_COLUMNS}, body, place FROM page LEFT JOIN previous USING (url) ORDER BY url"  # noqa: S608
    )
    for *fields, body, place in rows:
        page = Known(*fields)
        if body is None and previous is not None:
            body = previous.body(page.url, place)
        at = datetime.fromisoformat(page.fetched_at)
        validators = (page.etag, page.last_modified)
        yield Page(page.url, page.content_type, page.charset, body, at, *validators, page.crawl, page.missing)


def _kept(frontier: Frontier) -> Iterator[Known]:
    for row in frontier.db.execute(f"SELECT {_COLUMNS} FROM page ORDER BY url"):  # noqa: S608  # our own names
        yield Known(*row)


def _is_as_before(frontier: Frontier) -> bool:
    """Whether the pages are those of the previous crawl, in every field."""
    columns = ", ".join(Known._fields)
    differs = frontier.db.execute(
        f"SELECT EXISTS (SELECT {columns} FROM page EXCEPT SELECT {columns} FROM previous) OR "  # noqa: S608
        "(SELECT count(*) FROM page) != (SELECT count(*) FROM previous)"
    ).fetchone()
    return not differs[0]


def _counts(frontier: Frontier) -> dict[str, int]:
    pages, added, same = frontier.db.execute(
        "SELECT count(*), coalesce(sum(previous.url IS NULL), 0), coalesce(sum(page.sha256 = previous.sha256), 0) "
        "FROM page LEFT JOIN previous USING (url)"
    ).fetchone()
    carried, unanswered = (int(frontier.fact(name) or 0) for name in ("carried", "unanswered"))
    gone = frontier.db.execute("SELECT count(*) FROM entry WHERE status = 'rejected' AND reason = 'gone'").fetchone()
    return {
        "pages": pages,
        "rejected": frontier.count("rejected"),
        "unvisited": frontier.count("queued"),
        "added": added,
        "changed": pages - added - same,
        "unchanged": same - carried,
        "missing": carried - unanswered,
        "unanswered": unanswered,
        "gone": gone[0],
    }


def _fingerprint(frontier: Frontier) -> str:
    total = hashlib.sha256()
    for page in _kept(frontier):
        said = f"{page.content_type} {page.charset}"
        total.update(f"{page.url}\n{page.sha256}\n{said}\n{page.missing or ''}\n".encode("utf-8", "replace"))
    return total.hexdigest()
