"""A crawl that is killed, or whose site goes away, goes on where it was."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from configs.errors import SourceError
from ingest.records import Page, read_table
from ingest.web.frontier import Frontier
from tests.ingest.conftest import Serve
from tests.ingest.site_server import Answer, Site, page, tagged
from tests.ingest.test_crawl import SETTINGS, pages_in, run

PAGES = 60
KILLED_AT = 25
CONCURRENCY = 3

# The crawl alone, without the test framework, so that it starts quickly.
CHILD = """
import json, sys
from pathlib import Path
from ingest.web.crawl import crawl

previous = Path(sys.argv[4]) if sys.argv[4:] else None
crawl(sys.argv[1], Path(sys.argv[2]), previous=previous, **json.loads(sys.argv[3]))
"""
# The same where no file may grow beyond 500 kB: to a program, a disk that is full.
CHILD_ON_A_FULL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))" + CHILD


@pytest.fixture
def site_chain(site_of: Serve) -> Site:
    """Each page links to the next three."""
    following = {n: [f"/{k}" for k in range(n + 1, min(n + 4, PAGES))] for n in range(PAGES)}
    answers = {f"/{n}": page(f"Page {n}.", *links) for n, links in following.items()}
    return site_of({"/": page("Start.", "/0"), **answers})


def kill_when_asked(site: Site, child: subprocess.Popen[bytes], requests: int) -> None:
    while len(site.asked) < requests:
        assert child.poll() is None, "the crawl ended before it could be killed"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()


def test_a_killed_crawl_loses_and_repeats_nothing(site_chain: Site, tmp_path: Path) -> None:
    whole = run(site_chain.url, tmp_path / "whole")
    site_chain.asked.clear()
    broken = tmp_path / "broken"
    settings = json.dumps(SETTINGS | {"concurrency": CONCURRENCY, "delay_s": 0.01})
    with subprocess.Popen([sys.executable, "-c", CHILD, site_chain.url, str(broken), settings]) as child:
        kill_when_asked(site_chain, child, KILLED_AT)
    assert (broken / "crawl.db").exists()
    resumed = run(site_chain.url, broken)

    assert resumed.fingerprint == whole.fingerprint
    assert resumed.counts == whole.counts
    assert pages_in(broken) == pages_in(tmp_path / "whole")
    asked = Counter(path for path in site_chain.asked if path not in ("/robots.txt", "/sitemap.xml"))
    assert max(asked.values()) <= 2
    assert sum(count == 2 for count in asked.values()) <= CONCURRENCY
    assert not (broken / "crawl.db").exists()


@pytest.mark.parametrize("requests", [3, 40, 63])
def test_a_killed_crawl_that_goes_on_from_an_earlier_one(site_chain: Site, tmp_path: Path, requests: int) -> None:
    first = tmp_path / "first"
    site_chain.answers |= {
        path: tagged(answer, path) for path, answer in site_chain.answers.items() if path[-1] in "024"
    }
    run(site_chain.url, first)
    del site_chain.answers["/30"]
    site_chain.answers |= {"/31": page("Changed.", "/32", "/33", "/34"), "/35": Answer(status=500)}
    site_chain.answers["/1"] = page("Changed, too.", "/2", "/3", "/4")
    whole = run(site_chain.url, tmp_path / "whole", previous=first)
    site_chain.asked.clear()
    broken = tmp_path / "broken"
    settings = json.dumps(SETTINGS | {"concurrency": CONCURRENCY, "delay_s": 0.01})
    with subprocess.Popen([sys.executable, "-c", CHILD, site_chain.url, str(broken), settings, str(first)]) as child:
        kill_when_asked(site_chain, child, requests)
    resumed = run(site_chain.url, broken, previous=first)

    assert (resumed.counts, resumed.fingerprint) == (whole.counts, whole.fingerprint)
    assert [resumed.counts[name] for name in ("changed", "missing", "unanswered")] == [2, 1, 1]
    assert without_times(broken) == without_times(tmp_path / "whole")
    assert len({found.fetched_at for found in read_table(broken / "pages.parquet", Page) if found.crawl == 2}) == 1
    asked = Counter(path for path in site_chain.asked if path not in ("/robots.txt", "/sitemap.xml"))
    assert sum(count == 2 for count in asked.values()) <= CONCURRENCY
    assert max(asked.values()) <= 2


def without_times(folder: Path) -> list[Page]:
    """The pages; those of this run were found at another time in each try."""
    first = datetime.fromtimestamp(0, UTC)
    found = read_table(folder / "pages.parquet", Page)
    return [replace(page, fetched_at=first) if page.crawl == 2 else page for page in found]


def test_a_site_that_goes_away_is_an_error_and_the_next_try_goes_on(site_chain: Site, tmp_path: Path) -> None:
    hung_up = Answer([b"<p>cut"], headers={"Content-Length": "9999"})
    links = [f"/{n}" for n in range(PAGES)]
    whole = {**site_chain.answers, "/": page("Start.", *links)}
    # Addresses are visited in their order, and "/1..." comes before "/2...": nothing answers again after the first.
    site_chain.answers = {**whole, **{f"/{n}": hung_up for n in range(PAGES) if str(n) >= "2"}}
    with pytest.raises(SourceError, match="stopped answering"):
        run(site_chain.url, tmp_path)
    assert (tmp_path / "crawl.db").exists()

    site_chain.answers = whole
    assert run(site_chain.url, tmp_path).counts["pages"] == PAGES + 1


def test_state_of_another_site_is_not_mixed_in(site_small: Site, tmp_path: Path) -> None:
    Frontier(tmp_path / "crawl.db", "http://elsewhere.example/").close()

    assert run(site_small.url, tmp_path).counts["pages"] == 4


def test_a_full_disk_is_one_clear_line_and_the_next_try_goes_on(site_chain: Site, tmp_path: Path) -> None:
    site_chain.answers |= {f"/{n}": page("Long. " * 3000, f"/{n + 1}") for n in range(PAGES - 1)}
    command = [sys.executable, "-c", CHILD_ON_A_FULL_DISK, site_chain.url, str(tmp_path), json.dumps(SETTINGS)]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)

    assert "configs.errors.ArtifactError: cannot write" in failed.stderr.splitlines()[-1]
    asked = len(site_chain.asked)
    assert run(site_chain.url, tmp_path).counts["pages"] == PAGES + 1
    # What had been stored before the disk was full is not asked for again.
    assert len(site_chain.asked) - asked < PAGES
