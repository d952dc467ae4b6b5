"""Reading a local folder: what is taken, what is left out and why, and the errors."""

import os
from pathlib import Path

import pytest

from configs.errors import SourceError
from ingest.folder import read_folder
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
        "/manual.pdf": "application/pdf",
    }
    assert rejects == {"/picture.png": "not_a_document", "/huge.html": "too_large", "/void.md": "empty"}
    assert made.counts == {"pages": 5, "rejected": 3, "unvisited": 0}
    assert steps[-1] == ("read", 8, 8)


def test_the_fingerprint_depends_on_names_and_content_only(folder_small: Path, tmp_path: Path) -> None:
    first = read_folder(folder_small, tmp_path / "1", **LIMITS)
    os.utime(folder_small / "index.html", (1, 1))
    again = read_folder(folder_small, tmp_path / "2", **LIMITS)
    (folder_small / "index.html").write_text("<p>Changed</p>")

    assert first.fingerprint == again.fingerprint != read_folder(folder_small, tmp_path / "3", **LIMITS).fingerprint


def test_files_beyond_the_limit_are_counted(folder_small: Path, tmp_path: Path) -> None:
    made = read_folder(folder_small, tmp_path / "out", max_pages=2, max_page_bytes=1000)
    assert made.counts == {"pages": 2, "rejected": 0, "unvisited": 6}


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
