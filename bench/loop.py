"""The whole loop on a real site: seconds and peak memory of each stage, and whether the answers cite the right page.

    python -m bench.loop --folder /usr/share/doc/postgresql-doc-15/html --questions bench/postgresql.jsonl

serves the folder with `python -m http.server` on loopback, crawls it over HTTP, and runs every stage as the command
that a user types. Prints JSON. A question's `pages` are the pages that answer it; none means that the documents do not,
and the right answer is to say so.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

import httpx

from app.cli import ENVIRONMENT
from configs.artifacts import package_versions

STAGES = (["ingest"], ["index"], ["examples"], ["train"], ["eval", "--model", "base"], ["eval"], ["promote", "--force"])


def main() -> None:
    """Run the bench and print its JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="HTML files to serve and crawl")
    parser.add_argument("--questions", type=Path, required=True, help="JSONL of question and pages")
    parser.add_argument("--start", default="index.html", help="start page within the folder")
    parser.add_argument("--root", type=Path, help="keep what is made here; by default a temporary folder")
    parser.add_argument("--config", type=Path, default=Path("configs/laptop.yaml"))
    parser.add_argument("--set", action="append", default=[], help="override a setting")
    arguments = parser.parse_args()
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    with tempfile.TemporaryDirectory() as temporary, served(arguments.folder) as address:
        root = arguments.root or Path(temporary)
        site = [f"source.site={address}{arguments.start}", "source.allow_private=true", "source.delay_s=0"]
        overrides = [f"root={root}", "serve.port=0", *site, *arguments.set]
        options = ["--config", str(arguments.config), *(part for value in overrides for part in ("--set", value))]
        stages = []
        for command in STAGES:
            stages.append(measured([*command, *options]))
            # Told as they come: a later failure must not cost what took half an hour to measure.
            print(json.dumps(stages[-1]), file=sys.stderr, flush=True)
        start, answers = asked(options, read_questions(arguments.questions))
    result = {
        "bench": "loop",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "packages": package_versions(),
        "folder": arguments.folder.name,
        "stages": [*stages, start],
        "summary": summary(answers),
        "answers": answers,
    }
    print(json.dumps(result, indent=2, ensure_ascii=False))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder on loopback, by Python's own HTTP server in a process of its own."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None  # noqa: S101  for the type checker
        # Its one line ends with the address in parentheses.
        yield server.stdout.readline().split("(")[1].split(")")[0]
    finally:
        server.kill()
        server.wait()


def measured(arguments: Sequence[str]) -> dict[str, Any]:
    """Run a wellread command; its seconds, CPU seconds, peak memory (of the largest process), and what it made."""
    print(f"$ wellread {' '.join(arguments[:3])} ...", file=sys.stderr, flush=True)
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([sys.executable, "-m", "app.entry", *arguments, "--json"], stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"wellread {arguments[0]} failed with exit code {process.returncode}")
        output.seek(0)
        made = json.load(output)
    name = " ".join(arguments[: 3 if arguments[1] == "--model" else 1])
    return row_of(name, time.monotonic() - started, usage, made.get("counts", {}), made.get("figures", {}))


def row_of(
    stage: str, seconds: float, usage: resource.struct_rusage, counts: dict[str, Any], figures: dict[str, Any]
) -> dict[str, Any]:
    """A stage's row; `peak_mb` is of the largest process among the stage's own."""
    cpu = round(usage.ru_utime + usage.ru_stime, 1)
    peak = round(usage.ru_maxrss / 1024)
    measured_row = {"stage": stage, "seconds": round(seconds, 1), "cpu_seconds": cpu, "peak_mb": peak}
    return {**measured_row, "counts": counts, "figures": figures}


def asked(options: Sequence[str], questions: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Start the server, ask every question; the server's own row, and the answers."""
    print("$ wellread chat ...", file=sys.stderr, flush=True)
    started = time.monotonic()
    command = [sys.executable, "-m", "app.entry", "chat", *options, "--json"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None  # noqa: S101  for the type checker
        # Until the server is ready it prints nothing; when it fails, nothing at all.
        addresses = "".join(takewhile(lambda line: not line.startswith("}"), server.stdout))
        if not addresses:
            sys.exit(f"wellread chat failed with exit code {server.wait()}")
        address = json.loads(addresses + "}")["api"].removesuffix("/v1")
        ready = time.monotonic() - started
        answers = [ask(address, question) for question in questions]
    finally:
        server.terminate()
        _, _, usage = os.wait4(server.pid, 0)
        server.returncode = 0
    row = {"stage": "chat", "seconds": round(ready, 1), "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1)}
    return {
        **row,
        "peak_mb": round(usage.ru_maxrss / 1024),
        "counts": {"questions": len(answers)},
        "figures": {},
    }, answers


def ask(address: str, question: dict[str, Any]) -> dict[str, Any]:
    """One question; the answer, what it cites, and whether that is right."""
    body = {"messages": [{"role": "user", "content": question["question"]}]}
    started = time.monotonic()
    response = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=600, trust_env=False).raise_for_status()
    seconds = time.monotonic() - started
    message = response.json()["choices"][0]["message"]
    found = [citation["url"].rpartition("/")[2].partition("#")[0] for citation in message["citations"]]
    cited = found if message["grounded"] else []
    wanted = question["pages"]
    return {
        "question": question["question"],
        "answer": message["content"],
        "cited": cited,
        "found": found,
        "quotes": [citation["quote"] for citation in message["citations"]][: len(cited)],
        "right": bool(set(cited) & set(wanted)) if wanted else not message["grounded"],
        "retrieved": bool(set(found) & set(wanted)) if wanted else None,
        "seconds": round(seconds, 1),
    }


def summary(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """How many answers cite a right page, and how many questions without an answer were declined."""
    answerable = [answer for answer in answers if answer["retrieved"] is not None]
    others = [answer for answer in answers if answer["retrieved"] is None]
    return {
        "answerable": len(answerable),
        "right_page_cited": sum(answer["right"] for answer in answerable),
        "right_page_among_sources": sum(answer["retrieved"] for answer in answerable),
        "unanswerable": len(others),
        "declined": sum(answer["right"] for answer in others),
        "median_seconds": sorted(answer["seconds"] for answer in answers)[len(answers) // 2],
    }


def read_questions(file: Path) -> list[dict[str, Any]]:
    """The questions of a JSONL file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory, 1),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
    }


if __name__ == "__main__":
    main()
