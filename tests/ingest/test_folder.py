"""Reading a local folder: what is taken, what is left out and why, and the errors."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from configs.errors import SourceError
from ingest.folder import read_folder
from ingest.formats import DOCX
from ingest.records import Page, Reject, read_table

LIMITS = {"max_pages": 100, "max_page_bytes": 1000}


@pytest.fixture
def folder_small(tmp_path: Path) -> Path:
    """Documents of each kind, and things that are none."""
    root = tmp_path / "docs"
    files = {
        "index.html": b"<p>Start</p>",
        "guide/one.md": b"# One",
        "guide/two.TXT": b"Two",
        "guide/caf\u00e9 menu.rst": b"Three",
        "manual.pdf": b"%PDF-1.4",
        "letter.docx": b"PK\x03\x04",
        "try.ipynb": b"{}",
        "picture.png": b"\x89PNG",
        "huge.html": b"x" * 1001,
        "void.md": b" \n",
        ".hidden.md": b"# Hidden",
        ".git/notes.md": b"# Hidden",
    }
    for name, body in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(body)
    return root


def read(root: Path, out: Path) -> tuple[dict[str, Page], dict[str, str]]:
    pages = {page.url.removeprefix(root.as_uri()): page for page in read_table(out / "pages.parquet", Page)}
    rejects = read_table(out / "rejects.parquet", Reject)
    return pages, {reject.url.removeprefix(root.as_uri()): reject.rule for reject in rejects}


def test_reads_documents_and_rejects_the_rest_with_reasons(folder_small: Path, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int | None]] = []
    made = read_folder(folder_small, tmp_path / "out", **LIMITS, progress=lambda *step: steps.append(step))
    pages, rejects = read(folder_small, tmp_path / "out")

    assert {url: page.content_type for url, page in pages.items()} == {
        "/guide/caf%C3%A9%20menu.rst": "text/x-rst",
        "/guide/one.md": "text/markdown",
        "/guide/two.TXT": "text/plain",
        "/index.html": "text/html",
        "/letter.docx": DOCX,
        "/manual.pdf": "application/pdf",
        "/try.ipynb": "application/x-ipynb+json",
    }
    assert rejects == {"/picture.png": "not_a_document", "/huge.html": "too_large", "/void.md": "empty"}
    unmoved = dict.fromkeys(("changed", "unchanged", "gone", "unvisited"), 0)
    assert made.counts == {"pages": 7, "rejected": 3, "added": 7, **unmoved}
    assert steps[-1] == ("read", 10, 10)


def test_the_fingerprint_depends_on_names_and_content_only(folder_small: Path, tmp_path: Path) -> None:
    first = read_folder(folder_small, tmp_path / "1", **LIMITS)
    os.utime(folder_small / "index.html", (1, 1))
    again = read_folder(folder_small, tmp_path / "2", **LIMITS)
    (folder_small / "index.html").write_text("<p>Changed</p>")

    assert first.fingerprint == again.fingerprint != read_folder(folder_small, tmp_path / "3", **LIMITS).fingerprint


def test_files_beyond_the_limit_are_counted(folder_small: Path, tmp_path: Path) -> None:
    made = read_folder(folder_small, tmp_path / "out", max_pages=2, max_page_bytes=1000)
    assert (made.counts["pages"], made.counts["rejected"], made.counts["unvisited"]) == (2, 0, 8)


def test_pages_are_sorted_by_address_and_found_at_one_time(folder_small: Path, tmp_path: Path) -> None:
    # `a b` stands before `a!b` as a path, and behind it as an address, where it is `a%20b`.
    for name in ("a b.txt", "a!b.txt", "a/c.txt", "a-b.txt"):
        (folder_small / name).parent.mkdir(exist_ok=True)
        (folder_small / name).write_text(name)
    read_folder(folder_small, tmp_path / "out", **LIMITS)
    pages = list(read_table(tmp_path / "out" / "pages.parquet", Page))
    assert [page.url for page in pages] == sorted(page.url for page in pages)
    assert len({page.fetched_at for page in pages}) == 1


def test_a_second_run_keeps_what_is_the_same(folder_small: Path, tmp_path: Path) -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    read_folder(folder_small, tmp_path / "1", **LIMITS, now=first)
    (folder_small / "index.html").write_text("<p>Changed</p>")
    (folder_small / "new.md").write_text("# New")
    (folder_small / "guide/one.md").unlink()
    later = first + timedelta(days=1)
    made = read_folder(folder_small, tmp_path / "2", **LIMITS, previous=tmp_path / "1", now=later)
    assert {"added": 1, "changed": 1, "gone": 1, "unchanged": 5}.items() <= made.counts.items()
    pages, _ = read(folder_small, tmp_path / "2")
    new = {url for url, page in pages.items() if (page.crawl, page.fetched_at) == (2, later)}
    assert new == {"/index.html", "/new.md"}
    assert {(page.crawl, page.fetched_at) for url, page in pages.items() if url not in new} == {(1, first)}

    read_folder(folder_small, tmp_path / "3", **LIMITS, previous=tmp_path / "2", now=later + timedelta(days=1))
    for table in ("pages.parquet", "rejects.parquet"):
        assert (tmp_path / "3" / table).read_bytes() == (tmp_path / "2" / table).read_bytes()


def test_what_a_killed_run_left_changes_nothing(folder_small: Path, tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    read_folder(folder_small, tmp_path / "whole", **LIMITS, now=now)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "pages.parquet").write_bytes(b"PAR1 half written")
    read_folder(folder_small, tmp_path / "again", **LIMITS, now=now)
    for table in ("pages.parquet", "rejects.parquet"):
        assert (tmp_path / "again" / table).read_bytes() == (tmp_path / "whole" / table).read_bytes()


def test_links_are_followed_inside_the_folder_only(folder_small: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (folder_small / "out.txt").symlink_to(tmp_path / "secret.txt")
    (folder_small / "in.txt").symlink_to(folder_small / "guide/two.TXT")
    (folder_small / "gone.txt").symlink_to(folder_small / "nowhere.txt")
    (folder_small / "loop.txt").symlink_to(folder_small / "loop.txt")
    (folder_small / "up").symlink_to(tmp_path)
    os.mkfifo(folder_small / "pipe.txt")
    read_folder(folder_small, tmp_path / "out", **LIMITS)
    pages, rejects = read(folder_small, tmp_path / "out")

    assert "/in.txt" in pages
    assert rejects["/out.txt"] == "outside"
    assert rejects["/gone.txt"] == rejects["/loop.txt"] == "unreadable"
    assert rejects["/pipe.txt"] == "not_a_document"
    assert not any(url.startswith("/up") for url in pages)


def test_folders_that_cannot_be_read_are_one_clear_line(folder_small: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="does not exist"):
        read_folder(tmp_path / "missing", tmp_path / "out", **LIMITS)
    with pytest.raises(SourceError, match="is not a folder"):
        read_folder(folder_small / "index.html", tmp_path / "out", **LIMITS)
    with pytest.raises(SourceError, match=r"holds nothing to read .*\.html"):
        read_folder(tmp_path / "empty", tmp_path / "out", **LIMITS)
