"""Pages of files, written beside what the version before knew of them.

In: pages sorted by address, and the folder of the previous version, if there is one. Out: `pages.parquet`, in which a
page whose content is the same as before keeps the time and the number of the run that first found it. A page that is
gone leaves at once: a file, unlike a server, does not fail to answer for a day.

Both tables are read once, side by side, so that memory does not grow with them.
"""

import errno
import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from configs.errors import ArtifactError
from ingest.records import Page, column, read_table, write_table

PAGES, REJECTS = "pages.parquet", "rejects.parquet"

_DISK_ERRORS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES))
DISK_REMEDY = "Make room or fix its permissions, then run the same command again"


@dataclass
class Snapshot:
    """What was written.

    Attributes:
        counts: pages, added, changed, unchanged, gone.
        fingerprint: SHA-256 over the sorted (url, type, charset, SHA-256 of body).
    """

    counts: dict[str, int]
    fingerprint: str


def write_snapshot(pages: Iterable[Page], out: Path, previous: Path | None) -> Snapshot:
    """Write pages to `pages.parquet` in `out`.

    Args:
        pages: sorted by address, each address once.
        previous: folder of the previous version, or None.

    Raises:
        ArtifactError: the disk is full, or the previous version cannot be read.
    """
    state = _State()
    old = _known(previous) if previous else iter(())
    crawl = 1 + max(column(previous / PAGES, "crawl"), default=0) if previous else 1
    with disk_errors(out):
        total = write_table(out / PAGES, _carried(pages, old, crawl, state), Page)
    changes = {name: state.counts[name] for name in ("added", "changed", "unchanged", "gone")}
    return Snapshot({"pages": total, **changes}, state.fingerprint.hexdigest())


@contextmanager
def disk_errors(folder: Path, *, database: Path | None = None, remedy: str = DISK_REMEDY) -> Iterator[None]:
    """Turn what a full or closed disk raises into one line.

    Args:
        folder: what is being written.
        database: the SQLite file that errors of SQLite are about; by default the folder is named.
        remedy: what to do about it.

    Raises:
        ArtifactError: instead of it.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        raise ArtifactError(f"cannot write {database or folder}: {error}", remedy) from None
    except sqlite3.DatabaseError as error:
        raise ArtifactError(
            f"{database or folder} is damaged: {error}", "Delete it and run the command again"
        ) from None
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise ArtifactError(f"cannot write {folder}: {os.strerror(error.errno)}", remedy) from None


@dataclass
class _State:
    counts: Counter[str] = field(default_factory=Counter)
    fingerprint: Any = field(default_factory=hashlib.sha256)


@dataclass(frozen=True)
class _Old:
    """What is needed of a page of the previous version; its body may be large."""

    url: str
    content: tuple[str, str, str]
    fetched_at: datetime
    crawl: int


def _known(previous: Path) -> Iterator[_Old]:
    for page in read_table(previous / PAGES, Page):
        yield _Old(page.url, _content(page), page.fetched_at, page.crawl)


def _content(page: Page) -> tuple[str, str, str]:
    return page.content_type, page.charset, hashlib.sha256(page.body).hexdigest()


def _carried(pages: Iterable[Page], old: Iterator[_Old], crawl: int, state: _State) -> Iterator[Page]:
    """The pages with the time and number of the run that first found their content."""
    known = next(old, None)
    for page in pages:
        while known is not None and known.url < page.url:
            state.counts["gone"] += 1
            known = next(old, None)
        content = _content(page)
        state.fingerprint.update(f"{page.url}\n{' '.join(content)}\n".encode("utf-8", "replace"))
        if known is None or known.url != page.url:
            state.counts["added"] += 1
            yield replace(page, crawl=crawl)
            continue
        same = known.content == content
        state.counts["unchanged" if same else "changed"] += 1
        yield replace(page, fetched_at=known.fetched_at, crawl=known.crawl) if same else replace(page, crawl=crawl)
        known = next(old, None)
    state.counts["gone"] += sum(1 for _ in old) + (known is not None)
