"""Keywords that pages give themselves become tags, whatever the format writes them like."""

from datetime import UTC, datetime

import pytest

from ingest.extract import extract
from ingest.records import Document, Page


def tags(body: str, content_type: str) -> tuple[str, ...]:
    found = extract(Page("https://site.example/x", content_type, "", body.encode(), datetime(2026, 1, 1, tzinfo=UTC)))
    assert isinstance(found, Document)
    assert "backup" not in found.text
    return found.tags


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (
            '<meta name="keywords" content="Backup, Point-in-Time  Recovery,backup,,">',
            ("backup", "point-in-time recovery"),
        ),
        (
            '<meta property="article:tag" content="Backup"><meta property="article:tag" content="WAL">',
            ("backup", "wal"),
        ),
        ('<meta name="Keywords" content="WAL"><meta property="article:tag" content="wal">', ("wal",)),
        ('<meta name="keywords" content="">', ()),
        ("", ()),
    ],
)
def test_html(head: str, expected: tuple[str, ...]) -> None:
    assert tags(f"<html><head>{head}</head><body><p>Text.</p></body></html>", "text/html") == expected


@pytest.mark.parametrize(
    "front",
    [
        "---\ntitle: x\ntags: [Backup, 'WAL archive']\n---\n",
        "---\ntags:\n  - Backup\n  - WAL archive\ndate: 2026-01-01\n---\n",
        '---\ntags:\n- "Backup"\n- WAL archive\n---\n',
        "---\nkeywords: Backup, WAL archive\n---\n",
        "---\ntags: backup\ncategories: [WAL archive, Backup]\n---\n",
        '+++\ntags = ["Backup", "WAL archive"]\n+++\n',
        '+++\ntags = [\n  "Backup",\n  "WAL archive"\n]\ntitle = "x"\n+++\n',
    ],
)
def test_markdown(front: str) -> None:
    assert tags(f"{front}\n# X\n\nText.\n", "text/markdown") == ("backup", "wal archive")


def test_restructured_text() -> None:
    assert tags(".. meta::\n   :keywords: Backup, WAL archive\n\nX\n=\n\nText.\n", "text/x-rst") == (
        "backup",
        "wal archive",
    )


def test_there_are_not_many_and_none_is_long() -> None:
    words = ", ".join(["a" * 61, *(f"word {number}" for number in range(30))])
    found = tags(
        f'<html><head><meta name="keywords" content="{words}"></head><body><p>Text.</p></body></html>', "text/html"
    )
    assert found == tuple(f"word {number}" for number in range(20))
