"""Extraction from HTML beside other extractors, in one run on the same pages: quality, and pages per CPU second.

    python -m bench.extract --data DATA --out extract.json
    python -m bench.extract --data DATA --docs /usr/share/doc/postgresql-doc-15/html --docs /usr/share/doc/git-doc
    python -m bench.extract --data DATA --only speed

DATA is a folder with `html_trafilatura`, `html_scrapinghub` (articles, see `bench/extract_articles.py`) and
`mlops_sites` (documentation with its sources, see `bench/extract_docs.py`). Extractors that are not installed are left
out. Time is CPU time of this process in one thread, reading of files excluded, the best of `--rounds`.
"""

import argparse
import json
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench import extract_articles, extract_docs
from bench.loop import machine
from ingest.extract import extract
from ingest.records import Document, Page

PARTS = ("articles", "docs", "speed")
PACKAGES = ("wellread", "lxml", "beautifulsoup4", "trafilatura", "readability-lxml", "justext", "resiliparse")
WHEN = datetime(2026, 1, 1, tzinfo=UTC)
DOCS_PAGES = 300

Texts = Callable[[bytes, str], str]


def wellread(body: bytes, url: str) -> Document | None:
    """Ours."""
    found = extract(Page(url, "text/html", "", body, WHEN))
    return found if isinstance(found, Document) else None


def ours(body: bytes, url: str) -> str:
    """The text of ours."""
    found = wellread(body, url)
    return found.text if found else ""


def peers() -> dict[str, Texts]:
    """The other extractors that are installed, each with the options that score best on these sets."""
    found: dict[str, Texts] = {}
    if find_spec("trafilatura"):
        import trafilatura

        def of(body: bytes, *, fast: bool) -> str:
            return trafilatura.extract(body, include_comments=False, fast=fast) or ""

        found |= {"trafilatura fast": lambda body, _: of(body, fast=True)}
        found |= {"trafilatura": lambda body, _: of(body, fast=False)}
        found |= {"trafilatura baseline": lambda body, _: trafilatura.baseline(body)[1]}
    if find_spec("readability"):
        from lxml.html import fromstring

        readability = import_module("readability")
        found["readability"] = lambda body, _: fromstring(readability.Document(body).summary()).text_content()
    if find_spec("resiliparse"):
        html2text = import_module("resiliparse.extract.html2text")
        found["resiliparse"] = lambda body, _: html2text.extract_plain_text(
            body.decode("utf-8", "replace"), main_content=True
        )
    return found


def articles(data: Path) -> dict[str, Any]:
    """Each extractor's figures on each set."""
    result: dict[str, Any] = {}
    for name, metric in extract_articles.METRICS.items():
        rows, bodies = extract_articles.pages(data, name)
        result[name] = {"pages": len(rows)}
        for extractor, text in {"wellread": ours, **peers()}.items():
            started = time.process_time()
            texts = {row["id"]: attempted(text, bodies[row["id"]], row["url"]) for row in rows}
            speed = {"pages_per_cpu_s": round(len(rows) / (time.process_time() - started), 1)}
            result[name][extractor] = metric(rows, texts) | speed
    return result


def attempted(text: Texts, body: bytes, url: str) -> str:
    """The text; nothing where the extractor fails, as peers do on some pages."""
    try:
        return text(body, url)
    except Exception:  # noqa: BLE001
        return ""


def documentation(data: Path, folders: Sequence[Path]) -> dict[str, Any]:
    """Headings and code that are kept, of ours and, by its Markdown, of trafilatura."""
    extractors: dict[str, extract_docs.Extractor] = {"wellread": sections}
    if find_spec("trafilatura"):
        extractors["trafilatura"] = markdown_of_trafilatura
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        sources, pages = Path(temporary) / "sources", Path(temporary) / "pages"
        for archive, target in (("mlrun_src.tar.xz", sources), ("mlrun_html.tar.xz", pages)):
            with tarfile.open(data / "mlops_sites" / "dev" / archive) as packed:
                packed.extractall(target, filter="data")
        result["mlops_sites"] = {name: extract_docs.sources(sources, pages, one) for name, one in extractors.items()}
    for folder in folders:
        result[str(folder)] = {name: extract_docs.sites(folder, one, DOCS_PAGES) for name, one in extractors.items()}
    return result


def sections(body: bytes, url: str) -> extract_docs.Extracted:
    """Headings and text of ours."""
    found = wellread(body, url)
    return ([part.heading for part in found.sections if part.level], found.text) if found else ([], "")


def markdown_of_trafilatura(body: bytes, _url: str) -> extract_docs.Extracted:
    """Headings and text of the Markdown that trafilatura writes."""
    import trafilatura

    text = trafilatura.extract(body, output_format="markdown", include_formatting=True, include_comments=False) or ""
    return [line.lstrip("#").strip() for line in text.split("\n") if line.startswith("#")], text


def speed(data: Path, folders: Sequence[Path], rounds: int) -> dict[str, Any]:
    """Pages per CPU second on articles, and on each folder of documentation."""
    sets = {name: list(extract_articles.pages(data, name)[1].values()) for name in extract_articles.METRICS}
    for folder in folders:
        sets[str(folder)] = [page.read_bytes() for page in sorted(folder.rglob("*.html"))[:DOCS_PAGES]]
    chosen = {"wellread": ours, **peers()}
    return {
        name: {"pages": len(bodies), "mean_kB": round(sum(map(len, bodies)) / len(bodies) / 1000, 1)}
        | {extractor: per_second(text, bodies, rounds) for extractor, text in chosen.items()}
        for name, bodies in sets.items()
        if bodies
    }


def per_second(text: Texts, bodies: Sequence[bytes], rounds: int) -> float:
    """Pages per CPU second."""
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        for body in bodies:
            attempted(text, body, "https://site.example/page.html")
        best = min(best, time.process_time() - started)
    return round(len(bodies) / best, 1)


def targets(parts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What we want to reach, with what was measured."""
    rows: list[tuple[str, float, Any]] = []
    for name, least in (("html_trafilatura", 0.95), ("html_scrapinghub", 0.97)):
        if "articles" in parts:
            rows.append((f"F1 on {name}", least, parts["articles"][name]["wellread"]["f1"]))
    for name, figures in parts.get("docs", {}).items():
        rows.append((f"headings kept in order on {name}", 0.97, figures["wellread"]["headings_share"]))
        if "code_share" in figures["wellread"]:
            rows.append((f"code word for word on {name}", 1.0, figures["wellread"]["code_share"]))
    return [{"what": what, "at_least": least, "figure": one, "met": one >= least} for what, least, one in rows]


def main() -> None:
    """Run the bench and print its JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument(
        "--docs", type=Path, action="append", default=[], help="folder of HTML documentation; repeat it"
    )
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; repeat it for several")
    parser.add_argument("--rounds", type=int, default=3, help="times that speed is measured; the best counts")
    parser.add_argument("--out", type=Path, help="file for the JSON; else stdout")
    arguments = parser.parse_args()
    # Peers warn about pages, and there are hundreds.
    warnings.simplefilter("ignore")
    measure: dict[str, Callable[[], dict[str, Any]]] = {
        "articles": lambda: articles(arguments.data),
        "docs": lambda: documentation(arguments.data, arguments.docs),
        "speed": lambda: speed(arguments.data, arguments.docs, arguments.rounds),
    }
    parts: dict[str, Any] = {}
    for part in arguments.only or PARTS:
        print(f"{part} ...", file=sys.stderr, flush=True)
        parts[part] = measure[part]()
    versions = {dist.name: dist.version for dist in metadata.distributions() if dist.name in PACKAGES}
    result = {
        "bench": "extract",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "packages": versions,
        "parts": parts,
        "targets": targets(parts),
    }
    written = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    if arguments.out:
        arguments.out.write_text(written, encoding="utf-8")
    else:
        print(written, end="")


if __name__ == "__main__":
    main()
