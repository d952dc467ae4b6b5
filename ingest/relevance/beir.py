"""Test collections as files: documents, queries and judgements in the layout of BEIR (Thakur et al. 2021).

    corpus.jsonl    {"_id": "d1", "title": "...", "text": "..."}   the title may be left out
    queries.jsonl   {"_id": "q1", "text": "..."}
    qrels.tsv       query <tab> document <tab> grade, with or without a line of names; or TREC's four columns,
                    query, iteration, document, grade, between which there may be spaces

Each may be gzipped. In: paths. Out: a `Collection`, or one line that names the file, the line and what is wrong. What
does not fit together but does no harm is counted in `Collection.notes`: judgements on queries that are not there are
left out, those on documents that are not there stay, since nothing finds them.

Known limit: the whole collection is held in memory.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from configs.errors import SourceError
from ingest.records import Document, Section, stable_id

BEIR_COLUMNS, TREC_COLUMNS = 3, 4
GZIP_MARK = b"\x1f\x8b"


class Entry(NamedTuple):
    """A document of a collection."""

    title: str
    text: str


@dataclass(frozen=True)
class Collection:
    """A test collection.

    Attributes:
        documents: by id, in the order of the file; some may have no text.
        queries: those that are judged, by id.
        qrels: `{query: {document: grade}}` of these queries.
        notes: what did not fit together, a sentence each.
    """

    documents: Mapping[str, Entry]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...] = ()

    def as_documents(self) -> Iterator[Document]:
        """The documents that have a text or a title, each one section; the address is the id."""
        for name, (title, text) in self.documents.items():
            shown = text if text.strip() else title
            if shown.strip():
                section = Section(0, "", 0, len(shown))
                yield Document(stable_id(name, title, text), name, title, shown, (section,))


def read_collection(corpus: Path, queries: Path, qrels: Path) -> Collection:
    """Read a test collection.

    Raises:
        SourceError: a file cannot be read, a line of it is wrong, or nothing is left to measure.
    """
    documents = {name: Entry(_text(row, "title", at, ""), _text(row, "text", at)) for name, row, at in _rows(corpus)}
    asked = {name: _text(row, "text", at) for name, row, at in _rows(queries)}
    for name, text in asked.items():
        if not text.strip():
            raise SourceError(f"{queries}: the query {name!r} is empty", "Write its text, or take the line out")
    judged = read_qrels(qrels)
    known = {query: grades for query, grades in judged.items() if query in asked}
    if not known:
        raise SourceError(
            f"none of the {len(judged)} queries in {qrels} is in {queries}", "Take both files from the same collection"
        )
    if not any(document in documents for grades in known.values() for document in grades):
        raise SourceError(f"no document judged in {qrels} is in {corpus}", "Take both files from the same collection")
    return Collection(documents, {q: asked[q] for q in known}, known, tuple(_notes(documents, asked, judged)))


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements, `{query: {document: grade}}`.

    Raises:
        SourceError: the file cannot be read, a line of it is wrong, or there is none.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, line in _lines(path):
        at = f"{path}, line {number}"
        query, document, grade = _judgement(line, at)
        try:
            value = int(grade)
        except ValueError:
            if not qrels and number == 1:
                continue
            raise SourceError(f"{at}: the grade {grade!r} is not a whole number", "Write 0, 1, 2, ...") from None
        if qrels.setdefault(query, {}).setdefault(document, value) != value:
            raise SourceError(
                f"{at}: document {document!r} was judged otherwise for query {query!r} before", "Keep one"
            )
    if not qrels:
        raise SourceError(f"{path} holds no judgements", "Write lines of query, document and grade, separated by tabs")
    return qrels


def _judgement(line: str, at: str) -> tuple[str, str, str]:
    """Query, document and grade."""
    columns = line.split("\t") if "\t" in line else line.split()
    if len(columns) not in (BEIR_COLUMNS, TREC_COLUMNS):
        raise SourceError(
            f"{at}: {len(columns)} columns",
            "Write query, document and grade, or TREC's four columns, separated by tabs",
        )
    return columns[0].strip(), columns[-2].strip(), columns[-1].strip()


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Id, row, and where it stands, for messages."""
    seen: set[str] = set()
    for number, line in _lines(path):
        at = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise SourceError(f"{at}: not JSON: {error}", "Each line must be one JSON object") from None
        if not isinstance(row, dict):
            raise SourceError(f"{at}: {type(row).__name__} instead of an object", "Each line must be one JSON object")
        name = _text(row, "_id", at)
        if name in seen:
            raise SourceError(f"{at}: the id {name!r} was there before", "Ids must differ")
        seen.add(name)
        yield name, row, at
    if not seen:
        raise SourceError(f"{path} is empty", "Each line must be one JSON object")


def _text(row: Mapping[str, Any], key: str, at: str, default: str | None = None) -> str:
    value = row.get(key, default)
    # Some collections number their documents.
    if key == "_id" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        return value
    if key in row:
        raise SourceError(f"{at}: {key!r} is {type(value).__name__}", "It must be a string")
    raise SourceError(f"{at}: there is no {key!r}", f"It has {', '.join(map(repr, row)) or 'nothing'}")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1."""
    try:
        with path.open("rb") as file:
            packed = file.read(len(GZIP_MARK)) == GZIP_MARK
        with gzip.open(path, "rt", encoding="utf-8-sig") if packed else path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8: {error.reason}", "Save it as UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise SourceError(f"cannot read {path}: {why}", "Check the path, and that the file is whole") from None


def _notes(
    documents: Mapping[str, Entry], asked: Mapping[str, str], judged: Mapping[str, Mapping[str, int]]
) -> Iterator[str]:
    pairs = [(query, document) for query, grades in judged.items() for document in grades if query in asked]
    counts = {
        "judged queries are not in the queries' file and were left out": sum(query not in asked for query in judged),
        "queries have no judgements and were not searched": sum(query not in judged for query in asked),
        "judgements name a document that is not in the corpus, which counts as not found": sum(
            document not in documents for _, document in pairs
        ),
        "documents have no text": sum(not "".join(entry).strip() for entry in documents.values()),
        "queries have no relevant document and count as 0": sum(
            max(grades.values()) < 1 for query, grades in judged.items() if query in asked
        ),
    }
    return (f"{count} {what}" for what, count in counts.items() if count)
