"""The rules for corpora beside datatrove's own filters: do they decide alike, and how fast are they?

In: the folder of data sets, and HTML manuals such as those of Debian's postgresql-doc-15 and git-doc, where given.
Out: JSON with, for each rule, how many verdicts agree and every pair of reasons that does not; documents a second of
both, one after the other in one process on one core, all rules on every document; and the same once this project's
rules have met the corpus before, since they remember words. Both read the same texts, and datatrove keeps the split
words of a document from one filter to the next, as it does in its pipelines.

    python -m bench.filters --data DATA --html /usr/share/doc/postgresql-doc-15/html --each 200
"""

import argparse
import gzip
import json
import tarfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

from datatrove.data import Document as PeerDocument
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)

from ingest.extract import extract
from ingest.filters.base import build_rules
from ingest.filters.text import Text
from ingest.records import Document, Page

# C4 comes last: datatrove's filter also changes the text.
RULES = ("gopher_quality", "gopher_repetition", "fineweb", "c4")
PEERS = (GopherQualityFilter, GopherRepetitionFilter, FineWebQualityFilter, C4QualityFilter)
TARS = ("html_trafilatura/dev/html.tar.xz", "html_scrapinghub/dev/html.tar.xz", "mlops_sites/dev/mlrun_html.tar.xz")
READ_AT = datetime(2026, 1, 1, tzinfo=UTC)

Answers = list[tuple[bool, str]]


def texts(data: Path, manuals: Sequence[Path], each: int) -> Iterator[tuple[str, str]]:
    """Name of the source and text, at most `each` of a source."""
    sources = {Path(name).parts[0]: _pages_in(data / name) for name in TARS}
    sources |= {str(folder): map(Path.read_bytes, sorted(folder.rglob("*.html"))) for folder in manuals}
    for name, bodies in sources.items():
        yield from ((name, text) for text in islice(_readable(bodies), each))
    revisions = (row["text"] for row in _rows(data / "neardup_doc_versions/dev/docs.jsonl.gz"))
    yield from (("neardup_doc_versions", text) for text in islice(revisions, each))
    sentences: dict[str, list[str]] = defaultdict(list)
    for row in _rows(data / "langid_lingua/dev/data.jsonl.gz"):
        sentences[row["lang"]].append(row["text"])
    yield from (("langid_lingua", "\n".join(lines)) for lines in islice(sentences.values(), each))


def ours(rules: Sequence[Callable[[Text], Any]], text: str) -> Answers:
    """Whether each rule lets the text pass, and why not."""
    shared = Text(Document("", "", "", text, ()))
    verdicts = [rule(shared) for rule in rules]
    return [(verdict.allowed, "" if verdict.allowed else verdict.reason.partition(":")[0]) for verdict in verdicts]


def theirs(filters: Sequence[Any], text: str) -> Answers:
    """The same of datatrove's filters."""
    document = PeerDocument(text=text, id="")
    answers = [each.filter(document) for each in filters]
    return [(True, "") if answer is True else (False, answer[1]) for answer in answers]


def timed(decide: Callable[[str], Answers], documents: Sequence[str]) -> tuple[list[Answers], float]:
    """All answers, and documents a second of processor time."""
    start = time.process_time()
    answers = [decide(text) for text in documents]
    return answers, len(documents) / (time.process_time() - start)


def differences(mine: list[Answers], peers: list[Answers]) -> dict[str, Any]:
    """For each rule how many verdicts agree, how many have the same part to blame, and the pairs of reasons that do
    not agree.
    """
    found: dict[str, Any] = {}
    for number, rule in enumerate(RULES):
        pairs = [(one[number], other[number]) for one, other in zip(mine, peers, strict=True)]
        unlike = Counter(f"{one[1] or 'kept'} / {other[1] or 'kept'}" for one, other in pairs if one[0] != other[0])
        found[rule] = {
            "documents": len(pairs),
            "agree": sum(one[0] == other[0] for one, other in pairs),
            "refused": sum(not one[0] for one, _ in pairs),
            "reasons_ours_theirs": Counter(f"{one[1]} / {other[1]}" for one, other in pairs if not other[0]),
            "differing_ours_theirs": unlike,
        }
    return found


def _pages_in(tar: Path) -> Iterator[bytes]:
    with tarfile.open(tar) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".html") else None
            if file is not None:
                yield file.read()


def _readable(bodies: Iterable[bytes]) -> Iterator[str]:
    for body in bodies:
        made = extract(Page("https://example.org/", "text/html", "", body, READ_AT))
        if isinstance(made, Document):
            yield made.text


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--html", type=Path, nargs="*", default=[])
    parser.add_argument("--each", type=int, default=200)
    options = parser.parse_args()
    named = list(texts(options.data, options.html, options.each))
    documents = [text for _, text in named]
    rules, filters = build_rules(RULES, {}), [peer() for peer in PEERS]
    # What is loaded on first use counts for neither.
    ours(rules, "One. Two."), theirs(filters, "One. Two.")
    mine, first = timed(lambda text: ours(rules, text), documents)
    _, again = timed(lambda text: ours(rules, text), documents)
    peers, peer = timed(lambda text: theirs(filters, text), documents)
    figures = {
        "documents": Counter(name for name, _ in named),
        "characters": sum(map(len, documents)),
        "documents_per_second": {"ours": first, "ours_again": again, "datatrove": peer},
        "times_faster": {"first": first / peer, "again": again / peer},
        "datatrove": metadata.version("datatrove"),
        "rules": differences(mine, peers),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
