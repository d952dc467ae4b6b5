"""The manual: it builds without a warning, asks nothing of other hosts, quotes the code as it is, and teaches well."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from docs.generate import BEGIN, END, fill, pages
from ingest.examples import opening_sentences

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
FETCHED = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}


class Fetches(HTMLParser):
    """Collects the addresses that a browser loads by itself when it opens a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in FETCHED and values.get("rel") != "canonical":
            self.found.append(values.get(FETCHED[tag]) or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manual") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_every_page_and_no_program(site: Path) -> None:
    built = {path.parent.name for path in site.glob("*/index.html")} | {"index"}
    assert {page.stem for page in PAGES} <= built
    assert not list(site.rglob("*.py"))


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    for page in site.rglob("*.html"):
        reader = Fetches()
        reader.feed(page.read_text(encoding="utf-8"))
        assert not [address for address in reader.found if re.match(r"(https?:)?//", address)], page
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", styles)


def test_generated_pages_are_fresh() -> None:
    stale = [path.name for path, text in pages().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "run `python -m docs.generate`"


def test_check_passes_on_fresh_pages() -> None:
    done = subprocess.run([sys.executable, "-m", "docs.generate", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_a_page_without_markers_is_an_error() -> None:
    with pytest.raises(ValueError, match="the page needs the lines"):
        fill("# A page", "text")
    assert fill(f"a\n{BEGIN}\nold\n{END}\nb\n", "new") == f"a\n{BEGIN}\n\nnew\n\n{END}\nb\n"


def sections(page: Path) -> list[tuple[str, str]]:
    """Headings below the title, each with the paragraph that follows it, without Markdown's marks."""
    text = re.sub(r"```.*?```|<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = re.findall(r"^##+ ([^\n]+)\n\n(.+?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    plain = [(heading, re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", paragraph)) for heading, paragraph in found]
    return [(heading, re.sub(r"[`*]", "", " ".join(paragraph.split()))) for heading, paragraph in plain]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_heading_is_followed_by_sentences_that_answer_it(page: Path) -> None:
    wanting = [heading for heading, paragraph in sections(page) if not opening_sentences(paragraph)]
    assert not wanting, "the first paragraph is whole sentences, starts with a letter, and its first one is no essay"


def test_headings_are_not_repeated_between_pages() -> None:
    headings = [heading for page in PAGES for heading, _ in sections(page)]
    assert len(headings) == len(set(headings)), sorted({name for name in headings if headings.count(name) > 1})
