"""A folder of documents in, the same tables as a crawl's out.

Reads the files of the kinds in `ingest/formats.py`, recursively. Writes `pages.parquet` (Page, with `file:///`
addresses) and `rejects.parquet` (Reject), both sorted by address. Every file is read and compared by content, because
times and sizes do not show every change; a killed run starts again.

Hidden files and folders are skipped, and so is what a symbolic link outside the folder points to.
"""

import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from configs.artifacts import Made
from configs.errors import SourceError
from ingest.formats import BY_EXTENSION
from ingest.records import Page, Progress, Reject, write_table
from ingest.snapshot import REJECTS, disk_errors, write_snapshot

logger = logging.getLogger(__name__)

REMEDY = f"Name a folder that holds {', '.join(sorted(BY_EXTENSION))} files"


def read_folder(
    folder: Path,
    out: Path,
    *,
    max_pages: int,
    max_page_bytes: int,
    previous: Path | None = None,
    now: datetime | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> Made:
    """Read the documents below `folder` into `out`.

    Args:
        max_pages: files read; the rest is counted as unvisited.
        max_page_bytes: larger files are rejected unread.
        previous: folder of the previous version of the pages; what is unchanged keeps its time and crawl number.
        now: the time that all new pages get; the present by default.
        progress: called with ("read", files so far, files in all).

    Returns:
        Counts (pages, rejected, unvisited, added, changed, unchanged, gone) and the fingerprint: SHA-256 over the
        sorted (url, SHA-256 of body).

    Raises:
        SourceError: the folder does not exist, is not a folder, cannot be read, or holds nothing to read.
        ArtifactError: the disk is full, or the previous version cannot be read.
    """
    root = _checked(folder)
    out.mkdir(parents=True, exist_ok=True)
    # Sorted by address, not by path: escaped characters sort differently.
    paths = sorted(_files(root), key=address_of)
    now = now or datetime.now(UTC)
    rejects: list[Reject] = []
    taken = 0

    def pages() -> Iterator[Page]:
        nonlocal taken
        read = 0
        for taken, path in enumerate(paths, 1):
            page = read_file(path, max_page_bytes=max_page_bytes, now=now, root=root)
            progress("read", taken, len(paths))
            if isinstance(page, Reject):
                rejects.append(page)
                continue
            yield page
            read += 1
            if read == max_pages:
                return

    made = write_snapshot(pages(), out, previous)
    with disk_errors(out):
        write_table(out / REJECTS, rejects, Reject)
    if not made.counts["pages"]:
        raise SourceError(f"{folder} holds nothing to read ({len(rejects)} files rejected)", REMEDY)
    if unvisited := len(paths) - taken:
        logger.warning("source.max_pages (%d) reached: %d files not read", max_pages, unvisited)
    return Made({**made.counts, "rejected": len(rejects), "unvisited": unvisited}, fingerprint=made.fingerprint)


def read_file(path: Path, *, max_page_bytes: int, now: datetime, root: Path | None = None) -> Page | Reject:
    """Read one file.

    Args:
        now: the time that the page gets.
        root: links to files outside this resolved folder are rejected; None allows any.

    Returns:
        The page, or a reject: `not_a_document`, `outside`, `unreadable`, `too_large`, `empty`.
    """
    url = address_of(path)
    kind = BY_EXTENSION.get(path.suffix.lower())
    if kind is None:
        return Reject(url, "not_a_document", path.suffix or "no file extension")
    try:
        target = path.resolve(strict=True)
        if root is not None and not target.is_relative_to(root):
            return Reject(url, "outside", "a symbolic link to a file outside the folder")
        # Opening a named pipe would wait for a writer that never comes.
        if not target.is_file():
            return Reject(url, "not_a_document", "not a regular file")
        with target.open("rb") as file:
            body = file.read(max_page_bytes + 1)
            size = os.fstat(file.fileno()).st_size
    except (OSError, RuntimeError) as error:
        return Reject(url, "unreadable", getattr(error, "strerror", None) or str(error))
    if len(body) > max_page_bytes:
        return Reject(url, "too_large", f"{size} bytes", float(size), float(max_page_bytes))
    if not body.strip():
        return Reject(url, "empty", "the file has no content")
    return Page(url, kind, "", body, now)


def address_of(path: Path) -> str:
    """The `file:///` address of an absolute path."""
    # Names that are not valid UTF-8 come as lone surrogates, which as_uri escapes byte for byte.
    return path.as_uri()


def _checked(folder: Path) -> Path:
    try:
        root = folder.expanduser().resolve(strict=True)
        if not root.is_dir():
            raise SourceError(f"{folder} is not a folder", REMEDY)
        next(root.iterdir(), None)
    except FileNotFoundError:
        raise SourceError(f"the folder {folder} does not exist", "Check source.folder") from None
    except OSError as error:
        raise SourceError(f"cannot read the folder {folder}: {error.strerror}", "Check its permissions") from None
    return root


def _files(root: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                yield Path(place) / name
