"""The records that cross borders, and how they are kept.

    Page -> Document (text + heading tree) -> Chunk (a passage with offsets) -> Example (question, passages, answer)

Ids are stable: derived from the url and the content, never from order. Tables are Parquet with a schema derived from
the record's own type hints. Offsets count Python characters of `Document.text`.
"""

import hashlib
import types
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, cast, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import ArtifactError


@dataclass(frozen=True)
class Page:
    """One fetched page or one read file, as it came.

    Attributes:
        url: final address after redirects (`file:///...` for a local file).
        content_type: media type without parameters, in lower case; `text/html`, `text/markdown`, `application/pdf`, ...
        charset: the charset that the sender declared, or an empty string.
        body: the decoded (uncompressed) bytes.
        fetched_at: when this body was first found; finding the same again does not change it.
        etag, last_modified: what the server sent to ask for changes with (RFC 9110 section 8.8), or empty.
        crawl: number of the run over this source, counting from 1, that first found this body. Of two documents with
            the same text the one of the lower number is the older.
        missing: runs in a row, up to the last, in which the page was not there any more.
    """

    url: str
    content_type: str
    charset: str
    body: bytes
    fetched_at: datetime
    etag: str = ""
    last_modified: str = ""
    crawl: int = 1
    missing: int = 0


@dataclass(frozen=True)
class Section:
    """A heading and the part of the document's text below it, up to the next heading of any level.

    Attributes:
        level: 1 for `<h1>` to 6; 0 for text before the first heading.
        heading: empty when `level` is 0.
        start, end: offsets of the section's text (its heading line excluded) into `Document.text`.
    """

    level: int
    heading: str
    start: int
    end: int


@dataclass(frozen=True)
class Document:
    """The readable text of one page, with its heading tree in document order.

    Attributes:
        id: of the url and the text.
        language: ISO 639-1 code: what the page declares until `ingest.language` has read it; empty when unknown.
        date: when it was published or last changed, as the page says, `YYYY-MM-DD`; empty when it does not say.
        crawl: as of its page.
        tags: keywords that the page gives itself, in lower case.
    """

    id: str
    url: str
    title: str
    text: str
    sections: tuple[Section, ...]
    language: str = ""
    date: str = ""
    crawl: int = 1
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chunk:
    """A passage: what is embedded, searched, shown and cited.

    Attributes:
        headings: the path of headings above it, outermost first.
        text: equals `Document.text[start:end]`.
        language, date, tags: as of its document; search can be limited by them.
    """

    id: str
    doc_id: str
    url: str
    title: str
    headings: tuple[str, ...]
    text: str
    start: int
    end: int
    language: str = ""
    date: str = ""
    tags: tuple[str, ...] = ()

    @property
    def heading_path(self) -> str:
        """Title and headings, outermost first, without immediate repetition."""
        parts: list[str] = []
        for part in (self.title, *self.headings):
            if part and (not parts or parts[-1] != part):
                parts.append(part)
        return " > ".join(parts)


@dataclass(frozen=True)
class Example:
    """A question, the passages shown with it, and the answer to learn.

    Attributes:
        doc_id: the document it was made from; the split never separates rows of one document.
        passages: chunks in the order shown.
        answer: the text to produce, its citation markers such as `[2]` counting from 1 in `passages`.
        answerable: false when the passages do not hold the answer and `answer` says so.
        kind: what was asked about: a `heading`, a `definition`, what a teacher has `written`; or how the answer was
            kept away: `withheld`, `elsewhere`, `absent`.
        section: id of the chunk that it was made from; empty when it asks about nothing in the documents.
        made_by: `extract` or `teacher`.
    """

    id: str
    doc_id: str
    question: str
    passages: tuple[Chunk, ...]
    answer: str
    answerable: bool
    split: Literal["train", "holdout"]
    kind: str = "question"
    section: str = ""
    made_by: str = "extract"


@dataclass(frozen=True)
class Reject:
    """Something that was left out, and why.

    Attributes:
        rule: what refused it, by a name that stays: `http_404`, `robots`, `gopher_quality`, `near_duplicate`, ...
        detail: the reason in plain words.
        score, threshold: the rule's own figures; 0 where it has none.
        matched: the address of the older document that a duplicate repeats.
        sample: the beginning of the text; empty where a guard refused it, since that may be why.
    """

    url: str
    rule: str
    detail: str
    score: float = 0.0
    threshold: float = 0.0
    matched: str = ""
    sample: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a stage made of one row of its input: documents that go on, and what was left out.

    Attributes:
        url: of the page.
        key: hash of all that the outcome depends on besides the stage's settings; the same again is not worked out
            again.
        counts: what is reported of it, as `name=number` entries.
    """

    url: str
    key: str
    documents: tuple[Document, ...]
    rejects: tuple[Reject, ...]
    counts: tuple[str, ...] = ()


Record = TypeVar("Record")
# What is being done, how much of it is done, and how much there is, where that is known.
Progress = Callable[[str, int, int | None], None]

# Bytes of bodies in a row group, which is read as a whole.
HEAVIEST_GROUP = 32_000_000


def stable_id(*parts: str) -> str:
    """Sixteen hexadecimal digits that depend on the parts and nothing else."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


class TableWriter:
    """Writes records of dataclass `kind` as Parquet, in row groups of bounded memory; to be used in a `with`.

    Args:
        batch: rows of a row group; one with bodies (`Page`) also ends at about 32 MB.

    Attributes:
        rows: how many were added.
    """

    def __init__(self, path: Path, kind: type[Any], *, batch: int = 256) -> None:
        self._schema = schema_of(cast(Hashable, kind))
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._batch = batch
        self._waiting: list[dict[str, Any]] = []
        self._weight = 0
        self.rows = 0

    def add(self, record: Any) -> None:
        """Add one record."""
        self._waiting.append(_plain(record))
        self._weight += len(getattr(record, "body", b""))
        self.rows += 1
        if len(self._waiting) == self._batch or self._weight >= HEAVIEST_GROUP:
            self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None and self._waiting:
                self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=self._schema))
        self._waiting, self._weight = [], 0


def write_table(path: Path, records: Iterable[Any], kind: type[Any], *, batch: int = 256) -> int:
    """Write records of dataclass `kind` with a `TableWriter`. Returns how many."""
    with TableWriter(path, kind, batch=batch) as table:
        for record in records:
            table.add(record)
    return table.rows


def read_table(path: Path, kind: type[Record]) -> Iterator[Record]:
    """Read records of dataclass `kind`, batch by batch.

    Raises:
        ArtifactError: the file is missing, damaged, or holds other columns. Fields with defaults may be missing.
    """
    with _opened(path, kind) as file:
        for batch in file.iter_batches(256):
            yield from (revive(kind, row) for row in batch.to_pylist())


def read_groups(path: Path, kind: type[Record], groups: Sequence[int]) -> list[Record]:
    """The records of some row groups.

    Raises:
        ArtifactError: as `read_table`.
    """
    with _opened(path, kind) as file:
        return [revive(kind, row) for row in file.read_row_groups(list(groups)).to_pylist()]


def read_between(path: Path, kind: type[Record], first: str, last: str) -> list[Record]:
    """The records with `first <= url <= last`, of a table that is sorted by `url`; reads the row groups in question.

    Raises:
        ArtifactError: as `read_table`.
    """
    with _opened(path, kind) as file:
        at = file.schema_arrow.names.index("url")
        groups = [n for n, low, high in _ranges(file.metadata, at) if low <= last and high >= first]
        rows = file.read_row_groups(groups).to_pylist() if groups else []
    return [revive(kind, row) for row in rows if first <= row["url"] <= last]


def row_groups(path: Path) -> pq.FileMetaData:
    """What a table says about itself.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    try:
        return pq.read_metadata(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise _unreadable(path, str(error)) from None


@contextmanager
def _opened(path: Path, kind: type[Any]) -> Iterator[pq.ParquetFile]:
    try:
        # With its default Arrow holds what was read of all row groups, so that memory grows with the file.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            if not _can_be(kind, file.schema_arrow.names):
                raise _unreadable(path, f"it holds {file.schema_arrow.names}, not {kind.__name__} records")
            yield file
    except (OSError, pa.ArrowInvalid) as error:
        raise _unreadable(path, str(error)) from None


def _can_be(kind: type[Any], names: Sequence[str]) -> bool:
    """Whether columns are those of a record, fields excepted that have a default: an older table may lack them."""
    wanted = fields(kind)
    have_defaults = {one.name for one in wanted if one.default is not MISSING}
    return set(names) <= {one.name for one in wanted} and {one.name for one in wanted} - set(names) <= have_defaults


def _ranges(metadata: pq.FileMetaData, column_at: int) -> Iterator[tuple[int, str, str]]:
    """Row group, smallest and largest value. The column is the first of scalars only, so its place is its number."""
    for number in range(metadata.num_row_groups):
        statistics = metadata.row_group(number).column(column_at).statistics
        # Parquet cuts no statistics of strings as pyarrow writes them; without any, the group has to be read.
        if statistics is None or not statistics.has_min_max:
            yield number, "", chr(0x10FFFF)
        else:
            yield number, statistics.min, statistics.max


def column(path: Path, name: str) -> list[Any]:
    """One column of a table, without reading the others.

    Raises:
        ArtifactError: as `read_table`.
    """
    try:
        return list(pq.read_table(path, columns=[name])[name].to_pylist())
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise _unreadable(path, str(error)) from None


@cache
def schema_of(kind: type[Any]) -> pa.Schema:
    """The Arrow schema of a record type, from its type hints."""
    return pa.schema([pa.field(name, _arrow(hint), nullable=False) for name, hint in get_type_hints(kind).items()])


_SCALARS = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.large_binary(),
    datetime: pa.timestamp("us", tz="UTC"),
}


def _arrow(hint: Any) -> pa.DataType:
    origin = get_origin(hint)
    if origin is tuple:
        return pa.list_(_arrow(get_args(hint)[0]))
    if origin is Literal:
        return pa.string()
    if is_dataclass(hint):
        return pa.struct(list(schema_of(hint)))  # type: ignore[arg-type]
    if isinstance(origin, types.UnionType) or hint not in _SCALARS:
        raise TypeError(f"no Parquet type for {hint!r}")
    return _SCALARS[hint]


@cache
def _nested(kind: Hashable) -> dict[str, Any]:
    """The fields that are tuples, with the record that their items are, or None. Type hints are slow to ask for."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        if get_origin(hint) is tuple:
            inner = get_args(hint)[0]
            found[name] = inner if is_dataclass(inner) else None
    return found


def revive(kind: type[Record], row: dict[str, Any]) -> Record:
    """A record of dataclass `kind` from a row as Arrow gives it; what an older table lacks has its default."""
    for name, inner in _nested(cast(Hashable, kind)).items():
        if name not in row:
            continue
        row[name] = tuple(row[name]) if inner is None else tuple(revive(inner, item) for item in row[name])
    return kind(**row)


def _plain(record: Any) -> dict[str, Any]:
    """As `dataclasses.asdict`, which copies every leaf and takes four times as long."""
    row = dict(vars(record))
    for name, inner in _nested(cast(Hashable, type(record))).items():
        row[name] = list(row[name]) if inner is None else [_plain(item) for item in row[name]]
    return row


def _unreadable(path: Path, why: str) -> ArtifactError:
    # A version that is there is not made again, so the damaged one has to go first.
    return ArtifactError(f"cannot read {path}: {why}", f"Delete {path.parent} and run the stage that makes it again")
