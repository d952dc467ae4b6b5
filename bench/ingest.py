"""Ingest beside datatrove, and what a second run costs.

    python -m bench.ingest --pages folder/of/html           # pages per CPU second, the same steps in both
    python -m bench.ingest --site folder/of/html            # crawl, crawl again unchanged, and with 1% changed
    python -m bench.ingest --pages folder --grow 50000      # peak memory over that many pages made from the real ones
    python -m bench.ingest --pages folder --costs           # what each stage costs a page, in time and on disk

Each is a part of one JSON object; any may be left out. The comparison gives both sides the same pages and one core, in
a process of its own that has imported everything, and counts CPU seconds: extraction, Gopher's quality and repetition
rules, those of C4 and FineWeb, and MinHash. datatrove extracts with trafilatura. The second runs are those of
`wellread ingest` over a site served on loopback, with the settings that a user starts with.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.loop import machine, served
from configs.artifacts import package_versions

QUALITY = ("gopher_quality", "gopher_repetition", "c4", "fineweb")
SEED = 17
CHANGED_SHARE = 0.01
# Bytes of a made page's text, about what a page of a manual has.
PARAGRAPHS = 14


def main() -> None:
    """Run the parts that were asked for and print their JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=Path, help="HTML files for the comparison and for --grow")
    parser.add_argument("--site", type=Path, help="HTML files to serve and crawl, with an index.html")
    parser.add_argument("--grow", type=int, default=0, help="pages to make from the real ones")
    parser.add_argument("--costs", action="store_true", help="what each stage costs a page")
    parser.add_argument("--limit", type=int, default=2000, help="files of --pages that are compared")
    parser.add_argument("--policy", default="balanced", help="guards of the runs over --site")
    arguments = parser.parse_args()
    result: dict[str, Any] = {
        "bench": "ingest",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "packages": package_versions(),
    }
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        if arguments.pages and arguments.costs:
            result["costs"] = costs(arguments.pages, arguments.limit, home / "costs")
        if arguments.pages and not arguments.grow and not arguments.costs:
            result["compared"] = compared(arguments.pages, arguments.limit, home)
        if arguments.site:
            result["again"] = again(arguments.site, home / "again", arguments.policy)
        if arguments.pages and arguments.grow:
            result["grown"] = grown(arguments.pages, arguments.grow, home / "grown")
    print(json.dumps(result, indent=2))


def compared(pages: Path, limit: int, home: Path) -> dict[str, Any]:
    """Pages a CPU second of both, in turns, twice each; the better of each counts."""
    files = sorted(pages.rglob("*.html"))[:limit]
    folder = home / "pages"
    folder.mkdir()
    for number, file in enumerate(files):
        (folder / f"{number:06}.html").write_bytes(file.read_bytes())
    sides: dict[str, list[dict[str, Any]]] = {"wellread": [], "datatrove": []}
    for turn in range(2):
        for name, runs in sides.items():
            out = home / f"{name}{turn}"
            code = f"from bench.ingest import {name}_side; {name}_side({str(folder)!r}, {str(out)!r})"
            runs.append(json.loads(_child(code)))
    best = {name: min(runs, key=lambda run: run["cpu_s"]) for name, runs in sides.items()}
    rates = {name: len(files) / run["cpu_s"] for name, run in best.items()}
    return {
        "pages": len(files),
        "megabytes": round(sum(file.stat().st_size for file in files) / 1e6, 1),
        **{name: {**run, "pages_per_cpu_s": round(rates[name], 1)} for name, run in best.items()},
        "ratio": round(rates["wellread"] / rates["datatrove"], 2),
        "target": 2.0,
    }


def wellread_side(folder: str, out: str) -> None:
    """Pages to documents as `wellread ingest` does it, without guards; prints JSON."""
    from configs.load import SHIPPED, load_config
    from ingest.pipeline import run_documents

    def config(source: str, root: str) -> Any:
        rules = f"clean.rules=[{','.join(QUALITY)}]"
        options = [f"root={root}", f"source.folder={source}", "guards.policy=off", "work.workers=1", rules]
        return load_config(SHIPPED / "corpus.yaml", [*options, "source.max_pages=1000000"], {})

    run_documents(config(_first(folder, out), f"{out}/warm"), _quiet)
    started = time.process_time()
    documents = run_documents(config(folder, f"{out}/root"), _quiet)
    print(json.dumps({"cpu_s": round(time.process_time() - started, 2), "counts": documents.manifest.counts}))


def datatrove_side(folder: str, out: str) -> None:
    """The same steps by datatrove, with its defaults; prints JSON."""
    home = Path(out)
    home.mkdir(parents=True)
    for name, source in (("warm", _first(folder, out)), ("all", folder)):
        rows = home / name / "rows"
        rows.mkdir(parents=True)
        with (rows / "rows.jsonl").open("w", encoding="utf-8") as file:
            for path in sorted(Path(source).glob("*.html")):
                file.write(json.dumps({"id": path.name, "text": path.read_text("utf-8", "replace")}) + "\n")
        started = time.process_time()
        _datatrove(home / name)
    cpu_s = time.process_time() - started
    kept = sum(1 for path in (home / "all" / "unique").glob("*.jsonl") for _ in path.open())
    print(json.dumps({"cpu_s": round(cpu_s, 2), "counts": {"documents": kept}}))


def _datatrove(home: Path) -> None:
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers.jsonl import JsonlWriter
    from datatrove.utils.hashes import xxhash as hashes

    # It hands text to xxhash, which takes only bytes from version 4 on.
    hashes.xxhash64 = lambda text: hashes.xxhash.xxh64_intdigest(text.encode())
    config = MinhashConfig()
    cleaned, signatures, buckets, remove = (str(home / name) for name in ("clean", "sig", "buckets", "remove"))
    # Its executor starts processes; the steps themselves are what is measured.
    _in_this_process(
        JsonlReader(str(home / "rows")),
        # A page that takes longer than its default of a second would be dropped, and cost less than it should.
        Trafilatura(timeout=60),
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(),
        FineWebQualityFilter(),
        JsonlWriter(cleaned, compression=None),
    )
    _in_this_process(JsonlReader(cleaned), MinhashDedupSignature(signatures, config))
    for bucket in range(config.num_buckets):
        _in_this_process(MinhashDedupBuckets(signatures, buckets, config=config), rank=bucket, world=config.num_buckets)
    _in_this_process(MinhashDedupCluster(buckets, remove, config=config))
    unique = JsonlWriter(str(home / "unique"), compression=None)
    _in_this_process(JsonlReader(cleaned), MinhashDedupFilter(remove), unique)


def _in_this_process(*steps: Any, rank: int = 0, world: int = 1) -> None:
    rows: Any = None
    for step in steps:
        rows = step(rows, rank, world)
    if rows is not None:
        for _ in rows:
            pass


def again(site: Path, home: Path, policy: str) -> dict[str, Any]:
    """`wellread ingest` over a site, then over the unchanged site, then with some pages changed."""
    home.mkdir()
    copy = home / "site"
    subprocess.run(["cp", "-r", f"{site}/.", str(copy)], check=True)
    pages = sorted(copy.rglob("*.html"))
    changed = random.Random(SEED).sample(pages, max(1, round(len(pages) * CHANGED_SHARE)))
    with served(copy) as address:
        options = [f"root={home / 'root'}", f"source.site={address}", "source.allow_private=true", "source.delay_s=0"]
        command = ["ingest", *(part for value in [*options, f"guards.policy={policy}"] for part in ("--set", value))]
        first, unchanged = _timed(command), _timed(command)
        for page in changed:
            text = page.read_text("utf-8", "replace")
            page.write_text(text.replace("</p>", f" Written again in {page.stem}.</p>", 1), encoding="utf-8")
            # Servers tell times in whole seconds, and the copy may be younger than one.
            os.utime(page, (time.time() + 5, time.time() + 5))
        after = _timed(command)
    return {
        "files": len(pages),
        "changed": len(changed),
        "policy": policy,
        "first": first,
        "unchanged": {**unchanged, **_shares(unchanged, first), "target": 0.10},
        "one_percent": {**after, **_shares(after, first), "target": 0.15},
    }


def _shares(run: dict[str, float], first: dict[str, float]) -> dict[str, float]:
    return {f"share_of_{name}": round(run[name] / first[name], 3) for name in ("wall_s", "cpu_s")}


def _timed(command: list[str]) -> dict[str, float]:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-m", "app.entry", *command], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"wall_s": round(time.monotonic() - started, 2), "cpu_s": round(cpu_s, 2)}


def costs(pages: Path, limit: int, home: Path) -> dict[str, Any]:
    """Milliseconds and bytes a page of each stage, in one process; cleaning with and without guards."""
    from configs.artifacts import Workspace

    files = sorted(pages.rglob("*.html"))[:limit]
    folder = home / "pages"
    folder.mkdir(parents=True)
    for number, file in enumerate(files):
        (folder / f"{number:06}.html").write_bytes(file.read_bytes())
    result: dict[str, Any] = {"pages": len(files), "bytes_of_a_page": _bytes(folder) // len(files)}
    for policy, commands in (("off", ["ingest", "index"]), ("balanced", ["ingest"])):
        root = home / policy
        options = [f"root={root}", f"source.folder={folder}", f"guards.policy={policy}", "work.workers=1"]
        for command in commands:
            _timed([command, *(part for value in options for part in ("--set", value))])
        for stage in ("pages", "extracted", "cleaned", "documents", "chunks", "index"):
            for version in Workspace(root).versions(stage):
                name = stage if policy == "off" else f"{stage} ({policy})"
                ms = 1000 * version.manifest.seconds / len(files)
                result[name] = {"ms": round(ms, 3), "bytes": _bytes(version.path) // len(files)}
                result[name]["counts"] = version.manifest.counts
    return result


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def grown(pages: Path, count: int, home: Path) -> dict[str, Any]:
    """Peak memory of `wellread ingest`, all its processes together, over many pages made from real ones."""
    folder = home / "pages"
    folder.mkdir(parents=True)
    for number, html in enumerate(made_pages(pages, count)):
        (folder / f"{number:07}.html").write_text(html, encoding="utf-8")
    options = [f"root={home / 'root'}", f"source.folder={folder}", f"source.max_pages={count}", "guards.policy=off"]
    command = ["ingest", *(part for value in options for part in ("--set", value))]
    started = time.monotonic()
    peak = 0
    program = [sys.executable, "-m", "app.entry", *command]
    with subprocess.Popen(program, start_new_session=True, stdout=subprocess.DEVNULL) as child:
        while child.poll() is None:
            peak = max(peak, _resident(child.pid))
            time.sleep(0.2)
    if child.returncode:
        raise SystemExit(f"ingest ended with {child.returncode}")
    wall_s = time.monotonic() - started
    return {
        "pages": count,
        "megabytes": round(sum(path.stat().st_size for path in folder.iterdir()) / 1e6),
        "wall_s": round(wall_s, 1),
        "pages_per_s": round(count / wall_s, 1),
        "peak_rss_gb": round(peak / 1e9, 2),
        "target_gb": 2.0,
    }


def made_pages(pages: Path, count: int) -> Iterator[str]:
    """Pages of paragraphs drawn from real pages, each with its own mixture, inside the furniture of a site."""
    from bs4 import BeautifulSoup

    chosen = random.Random(SEED)
    files = sorted(pages.rglob("*.html"))
    soups = (BeautifulSoup(path.read_bytes(), "lxml") for path in chosen.sample(files, min(300, len(files))))
    pool = [text for soup in soups for tag in soup.find_all("p") if len(text := tag.get_text(" ", strip=True)) > 80]
    links = "".join(f'<li><a href="{number}.html">Chapter {number}</a></li>' for number in range(40))
    for number in range(count):
        parts = [
            (f"<h2>Part {place} of {number}</h2>" if place % 4 == 0 else "") + f"<p>{_escaped(chosen.choice(pool))}</p>"
            for place in range(chosen.randint(PARAGRAPHS // 2, 2 * PARAGRAPHS))
        ]
        head = f"<html><head><title>Page {number}</title></head><body><nav><ul>{links}</ul></nav>"
        main = f"<main><h1>Page {number}</h1>{''.join(parts)}</main>"
        yield f"{head}{main}<footer>All rights reserved</footer></body></html>"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _resident(session: int) -> int:
    """Bytes of memory of all processes of a session that are not shared with another."""
    total = 0
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if fields[3] == str(session):
                line = next(
                    line for line in (entry / "smaps_rollup").read_text().splitlines() if line.startswith("Pss:")
                )
                total += int(line.split()[1]) * 1024
        except (OSError, IndexError, StopIteration):
            continue
    return total


def _first(folder: str, out: str) -> str:
    """A folder with a few of the pages, to import and load everything with."""
    few = Path(f"{out}-few")
    few.mkdir(exist_ok=True)
    for path in sorted(Path(folder).glob("*.html"))[:5]:
        (few / path.name).write_bytes(path.read_bytes())
    return str(few)


def _quiet(_what: str, _done: int, _total: int | None) -> None:
    """No progress: it is measured."""


def _child(code: str) -> str:
    """What a Python process on one core prints last."""
    pinned = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, "-c", pinned + code], stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    return done.stdout.strip().splitlines()[-1]


if __name__ == "__main__":
    main()
