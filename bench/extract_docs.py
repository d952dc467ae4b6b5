"""How much of documentation survives extraction: headings in order, code word for word, and nothing of the navigation.

    sources     a site whose Markdown, reStructuredText or notebooks are known: headings and code come from these
    sites       folders of HTML: headings come from the page itself, by rules of this file and another parser

A heading is kept when it is a section's heading, in the order of the source (longest common subsequence). A code block
is kept when its lines stand in the text as they are. Navigation is text that the page has outside the element that
holds its article.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag
from markdown_it import MarkdownIt

# Title, sections' headings and text, as every extractor here gives them.
Extracted = tuple[Sequence[str], str]
Extractor = Callable[[bytes, str], Extracted]

CODE = ("{code-block}", "{code}", "{sourcecode}")
ARTICLES = ("article.bd-article", "div[role=main]", "#docContent", "#content", "main", "body")
FURNITURE = (
    ".navheader .navfooter .toc .sphinxsidebar .related .contents nav footer aside [role=navigation] .toctree-wrapper"
).split()
NOTES = frozenset("note tip caution warning important admonition seealso topic sidebar".split())
ROLE = re.compile(r"\{[\w:.-]+\}`([^`<]*?)\s*(?:<[^`>]*>)?`")
MARKS = "¶#🔗§"


def sources(folder: Path, pages: Path, extractor: Extractor) -> dict[str, Any]:
    """Figures over the pages whose source lies at the same path below `folder`."""
    total: Counter[str] = Counter()
    lost: list[str] = []
    for page, source in pairs(folder, pages):
        html = page.read_bytes()
        headings, text = extractor(html, page.as_uri())
        wanted, code = of_source(source)
        found = in_order(wanted, headings)
        blocks = [block for block in code if shown(block, html)]
        kept = [block for block in blocks if block in text]
        total += Counter(pages=1, headings=len(wanted), headings_kept=found, code=len(blocks), code_kept=len(kept))
        total += Counter(words=len(text.split()), navigation_words=outside(html, text))
        if found < len(wanted):
            lost.append(f"{page.relative_to(pages)}: {found} of {len(wanted)}")
    return figures(total) | {"pages_that_lose_headings": lost[:10]}


def sites(folder: Path, extractor: Extractor, limit: int) -> dict[str, Any]:
    """Figures over a folder of HTML pages."""
    total: Counter[str] = Counter()
    for page in sorted(folder.rglob("*.html"))[:limit]:
        html = page.read_bytes()
        headings, text = extractor(html, page.as_uri())
        wanted = real_headings(html)
        total += Counter(
            pages=1, headings=len(wanted), headings_kept=in_order(wanted, headings), words=len(text.split())
        )
    return figures(total)


def figures(total: Counter[str]) -> dict[str, Any]:
    """Counts with the shares that they make."""
    shares = {
        f"{name}_share": round(total[f"{name}_kept"] / total[name], 4) for name in ("headings", "code") if total[name]
    }
    if "navigation_words" in total or total["code"]:
        shares["navigation_share"] = round(total["navigation_words"] / max(total["words"], 1), 4)
    return dict(total) | shares


def pairs(folder: Path, pages: Path) -> Iterator[tuple[Path, Path]]:
    """Each page with its source."""
    for source in sorted(folder.rglob("*")):
        page = pages / source.relative_to(folder).with_suffix(".html")
        if source.suffix in (".md", ".ipynb") and page.is_file():
            yield page, source


def of_source(source: Path) -> tuple[list[str], list[str]]:
    """Headings, and code as it is written."""
    text = source.read_text(encoding="utf-8")
    if source.suffix == ".md":
        return of_markdown(text)
    headings: list[str] = []
    code: list[str] = []
    for cell in json.loads(text)["cells"]:
        written = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            more = of_markdown(written)
            headings += more[0]
            code += more[1]
        elif cell["cell_type"] == "code":
            code += [block for block in [tidy(written)] if block]
    return headings, code


def of_markdown(text: str) -> tuple[list[str], list[str]]:
    """Headings and fenced code of a Markdown text; directives of MyST other than code are neither."""
    headings: list[str] = []
    code: list[str] = []
    tokens = MarkdownIt("commonmark").enable("table").parse(re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL))
    for token, following in zip(tokens, [*tokens[1:], None], strict=False):
        if token.type == "heading_open" and token.level == 0 and following and following.children:
            shown_text = "".join(child.content for child in following.children if child.type in ("text", "code_inline"))
            headings.append(ROLE.sub(r"\1", following.content) if "{" in following.content else shown_text)
        elif token.type == "fence" and (not token.info.startswith("{") or token.info.split()[0] in CODE):
            lines = [line for line in token.content.split("\n") if not re.match(r":[\w-]+:", line)]
            code += [block for block in [tidy("\n".join(lines))] if block]
    return [heading for heading in headings if letters(heading)], code


def tidy(code: str) -> str:
    """Code without the empty lines around it."""
    return code.strip("\n").rstrip()


def shown(code: str, html: bytes) -> bool:
    """Whether the page shows the code: builders leave out cells that are marked so, and change magics."""
    pres = BeautifulSoup(html, "lxml").find_all("pre")
    return any(code in pre.get_text() for pre in pres)


def real_headings(html: bytes) -> list[str]:
    """The headings of the element that holds the page's text, without those of navigation and of notes."""
    soup = BeautifulSoup(html, "lxml")
    root = next(filter(None, map(soup.select_one, ARTICLES)), soup)
    for furniture in [found for name in FURNITURE for found in root.select(name)]:
        furniture.decompose()
    return [text for tag in root.find_all(re.compile("^h[1-6]$")) if not in_note(tag) and (text := heading(tag))]


def in_note(tag: Tag) -> bool:
    """Whether a heading is the label of a box."""
    return any(not NOTES.isdisjoint(parent.get("class") or ()) for parent in [tag, *tag.parents])


def heading(tag: Tag) -> str:
    """A heading's words; empty when it has none."""
    text = " ".join(tag.get_text().split()).strip(MARKS + " ")
    return text if letters(text) else ""


def outside(html: bytes, text: str) -> int:
    """Words of lines that are nowhere in the element that holds the article."""
    soup = BeautifulSoup(html, "lxml")
    root = next(filter(None, map(soup.select_one, ARTICLES)), soup)
    inside = letters(root.get_text())
    return sum(len(line.split()) for line in text.split("\n") if letters(line) not in inside)


def in_order(wanted: Sequence[str], found: Sequence[str]) -> int:
    """Length of the longest common subsequence, by letters and digits alone."""
    first, second = [letters(text) for text in wanted], [letters(text) for text in found]
    row = [0] * (len(second) + 1)
    for one in first:
        before = row[:]
        for at, other in enumerate(second, 1):
            row[at] = before[at - 1] + 1 if one == other else max(before[at], row[at - 1])
    return row[-1]


def letters(text: str) -> str:
    """Only letters and digits, in lower case."""
    return "".join(filter(str.isalnum, text.casefold()))
