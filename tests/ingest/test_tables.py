"""Files and tables of documents: what a row becomes, what is refused, and what a second run keeps."""

import gzip
import json
import random
import resource
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.artifacts import Made
from configs.errors import ArtifactError, SourceError
from ingest.extract import extract
from ingest.files import read_files
from ingest.records import Document, Page, Reject, read_table
from ingest.tables import Row, read_rows

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def run(out: Path, *files: Path, **more: Any) -> Made:
    return read_files(files, out, **{"max_pages": 1000, "max_page_bytes": 1000, "now": NOW, **more})


def pages(out: Path) -> list[Page]:
    return list(read_table(out / "pages.parquet", Page))


def rejects(out: Path) -> list[tuple[str, str]]:
    return [(reject.url.rpartition("/")[2], reject.rule) for reject in read_table(out / "rejects.parquet", Reject)]


def test_each_row_is_a_page_sorted_by_address(tmp_path: Path) -> None:
    table = jsonl(
        tmp_path / "docs.jsonl",
        {"url": "https://x.org/b", "html": "<p>B</p>", "text": "not read", "more": [1]},
        {"id": 7, "text": "Seven"},
        {"markdown": "# M"},
    )
    made = run(tmp_path / "out", table)
    found = [(page.url, page.content_type, page.body) for page in pages(tmp_path / "out")]
    assert found == [
        (f"{table.as_uri()}#7", "text/plain", b"Seven"),
        (f"{table.as_uri()}#line-3", "text/markdown", b"# M"),
        ("https://x.org/b", "text/html", b"<p>B</p>"),
    ]
    assert made.counts == {
        "pages": 3,
        "added": 3,
        **dict.fromkeys(("changed", "unchanged", "gone", "rejected", "unvisited"), 0),
    }
    assert not (tmp_path / "out" / "rows.db").exists()


def test_title_and_date_travel_with_the_text(tmp_path: Path) -> None:
    title = 'It\'s "here": now'
    rows = [{"id": kind, kind: "Some text.", "title": title, "date": "2024-03-01"} for kind in ("markdown", "text")]
    run(tmp_path / "out", jsonl(tmp_path / "docs.jsonl", *rows))
    found = [extract(page) for page in pages(tmp_path / "out")]
    assert [document.title for document in found if isinstance(document, Document)] == [title, title]
    assert pages(tmp_path / "out")[0].body.startswith(b'---\ntitle: "It')
    assert pages(tmp_path / "out")[1].body == f"{title}\n\nSome text.".encode()


def test_every_row_that_cannot_be_read_is_named_by_its_line(tmp_path: Path) -> None:
    table = jsonl(
        tmp_path / "docs.jsonl",
        *('{"text": "cut off', "[1]", "", '{"text": "fine"}', '{"text": 1}', '{"text": "x", "url": "docs/a"}'),
        *('{"text": " "}', json.dumps({"text": "x" * 1001}), "[" * 100_000, '{"text": "x", "id": {}}'),
        '{"text": "' + "x" * 1_100_000 + '"}',
        '{"text": "after"}',
    )
    with table.open("ab") as file:
        file.write(b'{"text": "\xff"}\n')
    made = run(tmp_path / "out", table)
    assert [page.body for page in pages(tmp_path / "out")] == [b"after", b"fine"]
    rules = {1: "bad_row", 2: "bad_row", 5: "bad_row", 6: "bad_row", 7: "empty", 8: "too_large", 9: "bad_row"}
    rules |= {10: "bad_row", 11: "too_large", 13: "bad_row"}
    assert rejects(tmp_path / "out") == sorted((f"docs.jsonl#line-{line}", rule) for line, rule in rules.items())
    assert made.counts["rejected"] == 10


def test_a_name_is_given_once(tmp_path: Path) -> None:
    first = jsonl(
        tmp_path / "a.jsonl", {"id": "x", "url": "https://x.org/1", "text": "one"}, {"id": "x", "text": "two"}
    )
    second = jsonl(tmp_path / "b.jsonl", {"url": "https://x.org/1", "text": "three"}, {"id": "x", "text": "four"})
    run(tmp_path / "out", first, second, first)
    assert sorted(page.body for page in pages(tmp_path / "out")) == [b"four", b"one"]
    found = list(read_table(tmp_path / "out" / "rejects.parquet", Reject))
    assert [reject.rule for reject in found] == ["duplicate_id"] * 4
    assert {reject.matched for reject in found} == {f"{first.as_uri()}#line-1"}


def test_parquet_and_gzip_give_what_jsonl_gives(tmp_path: Path) -> None:
    rows = [{"url": f"https://x.org/{n}", "text": f"Text {n}", "title": f"T{n}", "n": n} for n in range(300)]
    random.Random(3).shuffle(rows)
    plain = jsonl(tmp_path / "docs.ndjson", *rows)
    with gzip.open(tmp_path / "docs.jsonl.gz", "wb") as file:
        file.write(plain.read_bytes())
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "docs.parquet", row_group_size=100)
    made = [run(tmp_path / name, tmp_path / name.removeprefix("out-")) for name in ("out-docs.ndjson",)]
    made += [run(tmp_path / f"out-{name}", tmp_path / name) for name in ("docs.jsonl.gz", "docs.parquet")]
    assert len({one.fingerprint for one in made}) == 1
    bodies = [
        (tmp_path / f"out-docs.{kind}" / "pages.parquet").read_bytes() for kind in ("ndjson", "jsonl.gz", "parquet")
    ]
    assert bodies[0] == bodies[1] == bodies[2]


def test_single_files_stand_beside_tables(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A")
    (tmp_path / "b.png").write_bytes(b"x")
    run(tmp_path / "out", tmp_path / "a.md", tmp_path / "b.png", jsonl(tmp_path / "c.jsonl", {"text": "C"}))
    assert [page.content_type for page in pages(tmp_path / "out")] == ["text/markdown", "text/plain"]
    assert rejects(tmp_path / "out") == [("b.png", "not_a_document")]


def test_what_is_the_same_keeps_its_time_and_number(tmp_path: Path) -> None:
    rows = {name: {"id": name, "text": name} for name in ("same", "changed", "gone")}
    table = jsonl(tmp_path / "docs.jsonl", *rows.values())
    run(tmp_path / "1", table)
    jsonl(table, {"id": "changed", "text": "other"}, {"id": "added", "text": "new"}, rows["same"])
    later = NOW + timedelta(days=1)
    made = run(tmp_path / "2", table, previous=tmp_path / "1", now=later)
    assert {name: made.counts[name] for name in ("added", "changed", "unchanged", "gone")} == dict.fromkeys(
        ("added", "changed", "unchanged", "gone"), 1
    )
    found = {page.url.partition("#")[2]: (page.crawl, page.fetched_at) for page in pages(tmp_path / "2")}
    assert found == {"same": (1, NOW), "changed": (2, later), "added": (2, later)}
    third = run(tmp_path / "3", table, previous=tmp_path / "2", now=later + timedelta(days=1))
    assert (tmp_path / "3" / "pages.parquet").read_bytes() == (tmp_path / "2" / "pages.parquet").read_bytes()
    assert third.fingerprint == made.fingerprint


def test_the_limit_counts_what_it_leaves(tmp_path: Path) -> None:
    first = jsonl(tmp_path / "a.jsonl", *({"text": str(n)} for n in range(5)), "", "broken")
    pq.write_table(pa.table({"text": ["x", "y"]}), tmp_path / "b.parquet")
    (tmp_path / "c.md").write_text("c")
    made = run(tmp_path / "out", first, tmp_path / "b.parquet", tmp_path / "c.md", max_pages=3)
    assert (made.counts["pages"], made.counts["unvisited"]) == (3, 3 + 2 + 1)


def test_tables_of_other_shapes_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"docs.jsonl has no column to read: it has content, name\. A table needs"):
        run(tmp_path / "out", jsonl(tmp_path / "docs.jsonl", {"content": "x", "name": "y"}))
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "docs.parquet")
    with pytest.raises(SourceError, match="it has body"):
        run(tmp_path / "out", tmp_path / "docs.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"no table")
    with pytest.raises(SourceError, match=r"cannot read .*bad\.parquet"):
        run(tmp_path / "out", tmp_path / "bad.parquet")
    with pytest.raises(SourceError, match="does not exist"):
        run(tmp_path / "out", tmp_path / "missing.md")
    with pytest.raises(SourceError, match="is a folder"):
        run(tmp_path / "out", tmp_path)
    with pytest.raises(SourceError, match=r"nothing to read \(1 rejected\)"):
        run(tmp_path / "out", jsonl(tmp_path / "array.jsonl", "[]"))


def test_a_table_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    random_text = random.Random(5).randbytes(200_000).hex()
    packed = gzip.compress(b'{"text": "one"}\n' + f'{{"text": "{random_text}"}}\n'.encode())
    (tmp_path / "docs.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    run(tmp_path / "out", tmp_path / "docs.jsonl.gz")
    assert [page.body for page in pages(tmp_path / "out")] == [b"one"]
    assert rejects(tmp_path / "out") == [("docs.jsonl.gz", "unreadable")]


def test_what_a_killed_run_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rows.db").write_bytes(b"half written")
    assert run(tmp_path / "out", jsonl(tmp_path / "docs.jsonl", {"text": "x"})).counts["pages"] == 1


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    table = jsonl(tmp_path / "docs.jsonl", *({"text": random.Random(n).randbytes(400).hex()} for n in range(50)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(ArtifactError, match=r"cannot write .*Make room"):
            run(tmp_path / "out", table)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run(tmp_path / "out", table).counts["pages"] == 50


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)
json_rows = st.dictionaries(st.sampled_from(["text", "id", "url", "html"]), values)
any_lines = st.lists(st.binary(max_size=30) | json_rows, max_size=8)


@given(any_lines)
def test_any_line_gives_a_row_or_a_reason(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("any") / "docs.jsonl"
    encoded = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in [{"text": "first"}, *rows]]
    path.write_bytes(b"\n".join(encoded))
    found = list(read_rows(path, max_page_bytes=100))
    assert len(found) == sum(bool(line.strip()) for line in b"\n".join(encoded).split(b"\n"))
    assert all(isinstance(one, Row | Reject) for one in found)
