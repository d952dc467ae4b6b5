"""The index of a manual: how much of its building is embedding, and what a small change costs.

In: a folder of HTML pages. Out: JSON. `wellread ingest` and `wellread index` run as a user runs them, each in a process
of its own; then one page in a hundred gets another sentence, and both run again.

`embedding_share`: the same texts embedded by the embedder alone, over the whole of `wellread index`, without what
starting Python and loading the model takes, which does not grow with the texts. `changed_share`: the second run of
`wellread index`, all of it, over the first. Both are of processor time, which other work on the machine changes least,
and of wall time.

    python -m bench.index --pages FOLDER
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE"}

from bench.loop import machine
from configs.artifacts import Workspace
from ingest.embed import load_embedder
from ingest.index_stage import STAGE
from ingest.passages import Passages, embedding_text

EVERY = 100
ADDED = "<p>This page was looked through again in November, and one sentence was added to it.</p></body>"


def run(command: str, pages: Path, root: Path) -> dict[str, float]:
    """Seconds of a `wellread` command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    options = [f"root={root}", f"source.folder={pages}", "source.max_pages=100000", "guards.policy=off"]
    sets = [part for option in options for part in ("--set", option)]
    subprocess.run([sys.executable, "-m", "app.entry", command, *sets], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"wall_s": round(time.monotonic() - started, 2), "cpu_s": round(cpu_s, 2)}


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Seconds that something takes in this process."""
    started, cpu = time.monotonic(), time.process_time()
    work()
    return {"wall_s": round(time.monotonic() - started, 2), "cpu_s": round(time.process_time() - cpu, 2)}


def ratio(part: dict[str, float], whole: dict[str, float]) -> dict[str, float]:
    """One over the other, by both clocks."""
    return {name.removesuffix("_s"): round(part[name] / whole[name], 4) for name in part}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=Path, required=True, help="folder of HTML pages")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measured(options.pages, Path(folder)), indent=2))


def measured(source: Path, home: Path) -> dict[str, Any]:
    """All figures; works in `home`."""
    pages, root = home / "pages", home / "root"
    pages.mkdir()
    for path in sorted(source.glob("*.html")):
        shutil.copyfile(path, pages / path.name)
    run("ingest", pages, root)
    first = run("index", pages, root)
    workspace = Workspace(root)
    made = workspace.current(STAGE)
    texts = [embedding_text(chunk) for chunk in Passages.load(made.path)]
    texts = sorted(set(texts), key=len)
    embedder = load_embedder("embedded:all-MiniLM-L6-v2", "cpu")
    embedder.encode_passages(texts[:64])
    alone = timed(lambda: embedder.encode_passages(texts))
    # Nothing is left to do, but for what every run does.
    started = run("index", pages, root)
    loading = timed(lambda: load_embedder("embedded:all-MiniLM-L6-v2", "cpu"))
    changed = sorted(pages.glob("*.html"))[::EVERY]
    for path in changed:
        text = path.read_text(encoding="utf-8", errors="replace")
        path.write_text(text.replace("</body>", ADDED), encoding="utf-8")
    run("ingest", pages, root)
    second = run("index", pages, root)
    fixed = {name: started[name] + loading[name] for name in started}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "pages": len(list(pages.iterdir())),
        "pages_changed": len(changed),
        "counts": {"first": made.manifest.counts, "second": workspace.current(STAGE).manifest.counts},
        "first": first,
        "embedding_alone": alone,
        "nothing_to_do": started,
        "second": second,
        "embedding_share": ratio(alone, {name: first[name] - fixed[name] for name in first}),
        "changed_share": ratio(second, first),
        "changed_share_of_work": ratio(
            {name: second[name] - fixed[name] for name in second}, {name: first[name] - fixed[name] for name in first}
        ),
    }


if __name__ == "__main__":
    main()
