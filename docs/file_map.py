"""The file map of the README: every source file with the first sentence of its own description.

In: the checkout. Out: Markdown, one table for each room. A Python file is described by its docstring, any other by its
first comment. Empty `__init__.py` files and tests are left out.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOMS = {
    "configs": "The typed settings, how they are loaded, the versions that stages leave behind, the errors",
    "guards": "Text in, verdict out",
    "ingest": "Site or folder to passages, index and examples",
    "feedback": "The store of answers, votes and corrections",
    "train": "Fine-tuning, evaluation, the gate, the registry",
    "serve": "Retrieval, the chain, the HTTP API",
    "monitor": "Rates over the stored answers",
    "app": "The command line and the chat page",
    "docs": "The manual, which is also what `make demo` reads",
    "deploy": "Image, compose file, service",
    "bench": "Scripts that print every published figure",
}
KINDS = {".py", ".yaml", ".js", ".css", ".json", ".service"}
# JSON has no comments.
DESCRIBED_HERE = {
    "guards/weights/gibberish.json": "Thresholds and figures of the letter model behind the gibberish guard.",
    "guards/weights/grounding.json": "Weights, threshold and cross-validated figures of the grounding guard.",
    "guards/weights/injection.held_out.json": "Scores of the injection model on texts that it had not seen.",
    "guards/weights/injection.json": "Labels, thresholds and held-out figures of the injection model.",
    "guards/weights/injection.tokenizer.json": "The injection model's tokenizer.",
    "guards/weights/names.json": "Labels and held-out figures of the names model.",
    "guards/weights/names.tokenizer.json": "The names model's tokenizer.",
    "guards/weights/toxicity.held_out.json": "Scores of the toxicity model on texts that it had not seen.",
    "guards/weights/toxicity.json": "Labels, calibration, thresholds and held-out figures of the toxicity model.",
    "guards/weights/toxicity.tokenizer.json": "The toxicity model's tokenizer.",
    "ingest/search/answerable.json": "Coefficients of the answerability model, as fitted on public questions.",
    "docs/benchmarks/guards-2026-11-21.json": "What `bench.guards` printed for `docs/benchmarks.md`.",
    "docs/benchmarks/ingest-2026-11-21.json": "Figures of ingest, of its parts, and of other tools in the same runs.",
    "docs/benchmarks/loop-2026-11-21.json": "What `bench.loop` printed for `docs/benchmarks.md`.",
    "docs/benchmarks/retrieval-2026-11-21.json": "Figures of retrieval, its parts, and other tools in the same runs.",
}
LONGEST = 160


def file_map(root: Path) -> str:
    """Markdown for all rooms that exist below `root`.

    Raises:
        ValueError: a file says nothing about itself.
    """
    parts: list[str] = []
    for room, purpose in ROOMS.items():
        rows = [f"| `{path}` | {text} |" for path, text in described(root, room)]
        if rows:
            parts += [f"**`{room}/`** {purpose}.", "", "| file | what it does |", "|---|---|", *rows, ""]
    return "\n".join(parts)


def described(root: Path, room: str) -> Iterator[tuple[str, str]]:
    """Each source file of a room, as a path from `root`, with its first sentence."""
    for file in sorted((root / room).rglob("*")):
        path = file.relative_to(root).as_posix()
        if file.suffix not in KINDS or "__pycache__" in file.parts or not file.stat().st_size:
            continue
        text = DESCRIBED_HERE.get(path) or description(file)
        if not text:
            raise ValueError(f"{path} does not say what it does in its docstring or first comment")
        yield path, text


def description(file: Path) -> str:
    """The first sentence that a file says about itself; empty when it says nothing."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        prose = ast.get_docstring(ast.parse(text)) or ""
    elif text.startswith("/*"):
        prose = text[2:].partition("*/")[0]
    else:
        prose = "\n".join(re.findall(r"\A(?:(?:#|//) ?[^\n]*\n)+", text)[:1])
    return _first_sentence(re.sub(r"^(?:#|//| ?\*) ?", "", prose, flags=re.MULTILINE))


def _first_sentence(prose: str) -> str:
    paragraph = " ".join(prose.strip().split("\n\n")[0].split())
    sentence = re.split(r"(?<=[.!?])\s+(?=[A-Z`])", paragraph, maxsplit=1)[0].rstrip(":")
    if len(sentence) > LONGEST:
        sentence = sentence[:LONGEST].rpartition(" ")[0].rstrip(",;:") + " ..."
    return sentence.replace("|", "\\|")
