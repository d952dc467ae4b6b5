"""A folder of documents in, the same table as a crawl's out.

Reads HTML, Markdown, plain text, reStructuredText (as plain text) and PDF files, recursively, in the order of their
paths. Writes `pages.parquet` (Page, with `file:///` addresses) and `rejects.parquet` (Reject).

Hidden files and folders are skipped, and so is what a symbolic link outside the folder points to.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from configs.artifacts import Made
from configs.errors import SourceError
from ingest.formats import BY_EXTENSION
from ingest.records import Page, Reject, write_table

logger = logging.getLogger(__name__)

PAGES, REJECTS = "pages.parquet", "rejects.parquet"
WRITTEN_AT_ONCE = 32
REMEDY = f"Name a folder that holds {', '.join(sorted(BY_EXTENSION))} files"

Progress = Callable[[str, int, int | None], None]


def read_folder(
    folder: Path,
    out: Path,
    *,
    max_pages: int,
    max_page_bytes: int,
    progress: Progress = lambda _what, _done, _total: None,
) -> Made:
    """Read the documents below `folder` into `out`.

    Args:
        max_pages: files read; the rest is counted as unvisited.
        max_page_bytes: larger files are rejected unread.
        progress: called with ("read", files so far, files in all).

    Returns:
        Counts (pages, rejected, unvisited) and the fingerprint: SHA-256 over the sorted (url, SHA-256 of body).

    Raises:
        SourceError: the folder does not exist, is not a folder, cannot be read, or holds nothing to read.
    """
    root = _checked(folder)
    out.mkdir(parents=True, exist_ok=True)
    paths = sorted(_files(root))
    rejects: list[Reject] = []
    fingerprint = hashlib.sha256()
    taken = 0

    def pages() -> Iterator[Page]:
        nonlocal taken
        read = 0
        for taken, path in enumerate(paths, 1):
            page = _read(root, path, max_page_bytes)
            progress("read", taken, len(paths))
            if isinstance(page, Reject):
                rejects.append(page)
                continue
            fingerprint.update(f"{page.url}\n{hashlib.sha256(page.body).hexdigest()}\n".encode())
            yield page
            read += 1
            if read == max_pages:
                return

    kept = write_table(out / PAGES, pages(), Page, batch=WRITTEN_AT_ONCE)
    write_table(out / REJECTS, rejects, Reject)
    if not kept:
        raise SourceError(f"{folder} holds nothing to read ({len(rejects)} files rejected)", REMEDY)
    if unvisited := len(paths) - taken:
        logger.warning("source.max_pages (%d) reached: %d files not read", max_pages, unvisited)
    counts = {"pages": kept, "rejected": len(rejects), "unvisited": unvisited}
    return Made(counts=counts, fingerprint=fingerprint.hexdigest())


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


def _read(root: Path, path: Path, max_page_bytes: int) -> Page | Reject:
    url = _url(path)
    kind = BY_EXTENSION.get(path.suffix.lower())
    if kind is None:
        return Reject(url, "not_a_document", path.suffix or "no file extension", 0.0, 0.0)
    try:
        target = path.resolve(strict=True)
        if not target.is_relative_to(root):
            return Reject(url, "outside", "a symbolic link to a file outside the folder", 0.0, 0.0)
        # Opening a named pipe would wait for a writer that never comes.
        if not target.is_file():
            return Reject(url, "not_a_document", "not a regular file", 0.0, 0.0)
        with target.open("rb") as file:
            body = file.read(max_page_bytes + 1)
            size = os.fstat(file.fileno()).st_size
    except (OSError, RuntimeError) as error:
        return Reject(url, "unreadable", getattr(error, "strerror", None) or str(error), 0.0, 0.0)
    if len(body) > max_page_bytes:
        return Reject(url, "too_large", f"{size} bytes", float(size), float(max_page_bytes))
    if not body.strip():
        return Reject(url, "empty", "the file has no content", 0.0, 0.0)
    return Page(url, kind, "", body, datetime.now(UTC))


def _url(path: Path) -> str:
    # Names that are not valid UTF-8 come as lone surrogates, which as_uri escapes byte for byte.
    return path.as_uri()
