"""A crawl that is killed, or whose site goes away, goes on where it was."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from configs.errors import SourceError
from ingest.frontier import Frontier
from tests.ingest.conftest import Serve
from tests.ingest.site_server import Answer, Site, page
from tests.ingest.test_crawl import SETTINGS, pages_in, run

PAGES = 60
KILLED_AT = 25
CONCURRENCY = 3

# The crawl alone, without the test framework, so that it starts quickly.
CHILD = """
import json, sys
from pathlib import Path
from ingest.crawl import crawl

crawl(sys.argv[1], Path(sys.argv[2]), **json.loads(sys.argv[3]))
"""
# The same where no file may grow beyond 200 kB: to a program, a disk that is full.
CHILD_ON_A_FULL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))" + CHILD


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
    asked = Counter(path for path in site_chain.asked if path != "/robots.txt")
    assert max(asked.values()) <= 2
    assert sum(count == 2 for count in asked.values()) <= CONCURRENCY
    assert not (broken / "crawl.db").exists()


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
    assert run(site_chain.url, tmp_path).counts == {"pages": PAGES + 1, "rejected": 0, "unvisited": 0}


def test_state_of_another_site_is_not_mixed_in(site_small: Site, tmp_path: Path) -> None:
    Frontier(tmp_path / "crawl.db", "http://elsewhere.example/").close()

    assert run(site_small.url, tmp_path).counts["pages"] == 4


def test_a_full_disk_is_one_clear_line_and_the_next_try_goes_on(site_chain: Site, tmp_path: Path) -> None:
    site_chain.answers |= {f"/{n}": page("Long. " * 3000, f"/{n + 1}") for n in range(PAGES - 1)}
    command = [sys.executable, "-c", CHILD_ON_A_FULL_DISK, site_chain.url, str(tmp_path), json.dumps(SETTINGS)]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)

    assert "configs.errors.ArtifactError: cannot write" in failed.stderr.splitlines()[-1]
    asked = len(site_chain.asked)
    assert run(site_chain.url, tmp_path).counts == {"pages": PAGES + 1, "rejected": 0, "unvisited": 0}
    # What had been stored before the disk was full is not asked for again.
    assert len(site_chain.asked) - asked < PAGES
