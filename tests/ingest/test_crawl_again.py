"""A crawl that goes on from an earlier one: what is asked for, what is kept, and how a page leaves."""

from pathlib import Path
from typing import Any

import pytest

from configs.artifacts import Made
from configs.errors import ArtifactError
from ingest.records import Page, Reject, read_table
from tests.ingest.conftest import Serve
from tests.ingest.site_server import Answer, Site, page, redirect, tagged, with_head
from tests.ingest.test_crawl import pages_in, paths_of, rejects_in, run

Kept = dict[str, Page]


class Runs:
    """Crawls of one site, each going on from the one before."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self._folder = folder
        self._number = 0
        self.made = Made()

    def again(self, **changes: Any) -> Kept:
        """Crawl once more; the pages by their paths."""
        before = self._folder / str(self._number)
        self._number += 1
        self.site.asked.clear()
        self.site.spared.clear()
        self.out = self._folder / str(self._number)
        previous = before if before.exists() else None
        self.made = run(self.site.url, self.out, previous=previous, **changes)
        base = self.site.url.rstrip("/")
        return {found.url.removeprefix(base): found for found in read_table(self.out / "pages.parquet", Page)}

    def rejects(self) -> dict[str, str]:
        base = self.site.url.rstrip("/")
        return {url.removeprefix(base): rule for url, rule in rejects_in(self.out).items()}

    def counted(self, *names: str) -> tuple[int, ...]:
        return tuple(self.made.counts[name] for name in names)


PATHS = [f"/{n}" for n in range(8)]


@pytest.fixture
def runs(site_of: Serve, tmp_path: Path) -> Runs:
    """A start page with eight others; those of even numbers have an ETag."""
    answers = {path: page(f"Page {path}.") for path in PATHS}
    answers |= {path: tagged(answers[path], path[1:]) for path in PATHS[::2]}
    return Runs(site_of({"/": page("Start.", *PATHS), **answers}), tmp_path)


def test_what_has_not_changed_is_not_sent_and_keeps_time_and_number(runs: Runs) -> None:
    first = runs.again()
    fingerprint = runs.made.fingerprint
    second = runs.again()

    assert first == second
    assert sorted(runs.site.spared) == PATHS[::2]
    assert runs.made.fingerprint == fingerprint
    assert runs.counted("pages", "unchanged", "changed", "added", "gone") == (9, 9, 0, 0, 0)
    assert {found.crawl for found in second.values()} == {1}


def test_an_unchanged_site_gives_the_same_bytes(runs: Runs) -> None:
    runs.again()
    first = (runs.out / "pages.parquet").read_bytes()
    runs.again()

    assert (runs.out / "pages.parquet").read_bytes() == first


def test_changed_and_new_pages_carry_the_time_and_number_of_their_run(runs: Runs) -> None:
    first = runs.again()
    runs.site.answers["/3"] = page("New text.", "/new")
    runs.site.answers["/4"] = tagged(page("New text, too."), "other")
    runs.site.answers["/new"] = page("A new page.")
    second = runs.again()

    assert {path for path, found in second.items() if found.crawl == 2} == {"/3", "/4", "/new"}
    assert {found.fetched_at for found in second.values() if found.crawl == 1} == {first["/"].fetched_at}
    assert len({found.fetched_at for found in second.values() if found.crawl == 2}) == 1
    assert second["/3"].fetched_at > first["/3"].fetched_at
    assert runs.counted("changed", "added", "unchanged") == (2, 1, 7)
    assert b"New text, too" in second["/4"].body


def test_links_of_an_unchanged_page_are_those_of_the_known_body(site_of: Serve, tmp_path: Path) -> None:
    runs = Runs(
        site_of({"/": tagged(page("Start.", "/a"), "1"), "/a": tagged(page("A.", "/b"), "2"), "/b": page("B.")}),
        tmp_path,
    )
    runs.again()
    runs.site.answers["/b"] = page("Changed.")
    second = runs.again()

    assert runs.site.spared == ["/", "/a"]
    assert b"Changed" in second["/b"].body


def test_a_page_that_is_gone_leaves_after_some_runs(runs: Runs) -> None:
    runs.again()
    fingerprint = runs.made.fingerprint
    del runs.site.answers["/5"]
    once = runs.again(gone_after=3)
    assert once["/5"].missing == 1
    assert runs.made.fingerprint != fingerprint
    assert runs.counted("pages", "missing", "gone") == (9, 1, 0)
    assert runs.again(gone_after=3)["/5"].missing == 2
    third = runs.again(gone_after=3)

    assert "/5" not in third
    assert runs.rejects() == {"/5": "gone"}
    assert runs.counted("pages", "missing", "gone") == (8, 0, 1)
    (reject,) = read_table(runs.out / "rejects.parquet", Reject)
    assert "3 runs in a row" in reject.detail
    assert (reject.score, reject.threshold) == (3, 3)


def test_a_page_that_comes_back_is_not_missing_any_more(runs: Runs) -> None:
    first = runs.again()
    answer = runs.site.answers.pop("/5")
    runs.again()
    runs.site.answers["/5"] = answer

    assert runs.again() == first


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_page_that_gives_no_answer_is_kept_and_not_missing(runs: Runs, status: int) -> None:
    first = runs.again()
    runs.site.answers["/5"] = Answer(status=status)
    for _ in range(3):
        assert runs.again() == first
    assert runs.counted("unanswered", "unchanged", "missing", "gone") == (1, 8, 0, 0)


def test_a_page_that_nothing_links_to_any_more_is_asked_for_once(runs: Runs) -> None:
    first = runs.again()
    runs.site.answers["/"] = page("Start.", *PATHS[:-2])
    del runs.site.answers["/7"]
    second = runs.again(gone_after=1)

    assert runs.site.asked.count("/6") == runs.site.asked.count("/7") == 1
    assert second["/6"] == first["/6"]
    assert runs.rejects() == {"/7": "gone"}


def test_a_page_that_has_moved_leaves_for_its_new_address(runs: Runs) -> None:
    runs.again()
    runs.site.answers["/5"] = redirect("/moved", 301)
    runs.site.answers["/moved"] = page("Page /5.")
    second = runs.again()

    assert "/moved" in second
    assert runs.rejects() == {"/5": "moved"}
    (reject,) = read_table(runs.out / "rejects.parquet", Reject)
    assert reject.matched.endswith("/moved")
    assert runs.again() == second


@pytest.mark.parametrize(
    ("status", "kept", "missing"), [pytest.param(500, True, 0, id="broken"), pytest.param(404, True, 1, id="gone")]
)
def test_a_page_that_moves_to_where_nothing_is_stays_for_now(runs: Runs, status: int, kept: bool, missing: int) -> None:
    runs.again()
    runs.site.answers |= {"/5": redirect("/moved"), "/moved": Answer(status=status)}
    assert runs.again()["/5"].missing == missing


def test_a_page_that_asks_not_to_be_kept_any_more_leaves(runs: Runs) -> None:
    runs.again()
    runs.site.answers["/5"] = with_head(page("Page."), '<meta name="robots" content="noindex">')
    runs.site.answers["/robots.txt"] = Answer(b"User-agent: *\nDisallow: /6\n", content_type="text/plain")
    assert {path for path, found in runs.again().items() if found.missing} == {"/5", "/6"}
    runs.again()

    assert runs.rejects() == {"/5": "gone", "/6": "gone"}
    assert "/6" not in runs.site.asked


def test_a_header_on_an_unchanged_page_counts(runs: Runs) -> None:
    runs.again()
    runs.site.answers["/4"] = tagged(Answer(b"", headers={"X-Robots-Tag": "noindex"}), "4")
    second = runs.again()

    assert "/4" in runs.site.spared
    assert second["/4"].missing == 1


def test_pages_beyond_the_limit_are_named(runs: Runs) -> None:
    runs.again()
    runs.site.answers["/"] = page("Start.", *PATHS, "/00")
    runs.site.answers["/00"] = page("New, and before the others.")
    second = runs.again(max_pages=9)

    assert "/00" in second
    assert runs.rejects() == {"/7": "limit"}


def test_tags_on_one_run_and_not_on_the_next(runs: Runs) -> None:
    runs.again()
    plain = {path: page(f"Page {path}.") for path in PATHS}
    runs.site.answers |= plain
    second = runs.again()
    assert (runs.site.spared, runs.counted("unchanged")) == ([], (9,))
    assert {found.etag for found in second.values()} == {""}
    runs.site.answers |= {path: tagged(answer, "x") for path, answer in plain.items()}
    runs.again()
    runs.again()

    assert sorted(runs.site.spared) == PATHS


def test_an_answer_without_a_body_to_a_page_that_is_not_known(runs: Runs) -> None:
    runs.site.answers["/3"] = Answer(status=304)
    first = runs.again()

    assert "/3" not in first
    assert runs.rejects() == {"/3": "http_304"}


def test_one_percent_changed_among_many(site_of: Serve, tmp_path: Path) -> None:
    paths = [f"/p{n:03}" for n in range(200)]
    runs = Runs(
        site_of({"/": page("Start.", *paths), **{path: tagged(page(path), path[1:]) for path in paths}}), tmp_path
    )
    runs.again(max_pages=500)
    runs.site.answers |= {path: tagged(page("Changed."), "new") for path in ("/p007", "/p150")}
    second = runs.again(max_pages=500)

    assert len(runs.site.spared) == 198
    assert runs.counted("pages", "changed", "unchanged") == (201, 2, 199)
    assert sorted(path for path, found in second.items() if found.crawl == 2) == ["/p007", "/p150"]


@pytest.mark.parametrize("name", ["pages.parquet", "trails.parquet"])
def test_a_damaged_previous_version_is_one_clear_line(runs: Runs, name: str) -> None:
    runs.again()
    table = runs.out / name
    table.write_bytes(table.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match=rf"cannot read .*{name}"):
        runs.again()


def test_tables_of_two_versions_are_not_mixed(runs: Runs) -> None:
    runs.again()
    pages = (runs.out / "pages.parquet").read_bytes()
    runs.site.answers["/"] = page("Start.", *PATHS, "/00")
    runs.site.answers["/00"] = page("New, and before the others.")
    runs.again()
    (runs.out / "pages.parquet").write_bytes(pages)
    with pytest.raises(ArtifactError, match=r"trails\.parquet beside it"):
        runs.again()


def test_pages_and_rejects_never_overlap(runs: Runs) -> None:
    runs.again()
    for path in PATHS[:4]:
        del runs.site.answers[path]
    runs.again()
    runs.again()

    assert not set(pages_in(runs.out)) & set(rejects_in(runs.out))
    assert paths_of(runs.site, [*pages_in(runs.out), *rejects_in(runs.out)]) == {"/", *PATHS}
