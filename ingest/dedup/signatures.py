"""The table of signatures: what deduplication remembers of every document from one version to the next.

In: documents, and the folder of the version before. Out: `signatures.parquet`, one row a document in the same order:
id (and a number for it), url, crawl, hash of the whole text, number of shingles, and one key a band. A document whose
id stands in the table of the version before is not looked at: its row is taken over. The bytes are the same either way.

Memory holds 16 bytes a document of the version before, and one row group. Known limit: a table that was written with
other bands or by another version of this code is not used.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from configs.errors import ArtifactError
from ingest.dedup.minhash import SLOTS, Bands, band_keys
from ingest.dedup.shingles import WORDS, Hashes, exact_hash, normal, shingle
from ingest.records import Document

SIGNATURES = "signatures.parquet"
# To be raised when a change gives other hashes for the same text.
VERSION = 1
GROUP_ROWS = 4096
# Characters that are shingled at once: the arrays of so many still fit the processor's caches.
BATCH_CHARACTERS = 200_000
_BAND = "band_"
_MADE_WITH = b"wellread.signatures"


@dataclass(frozen=True)
class Signed:
    """What was written.

    Attributes:
        documents: rows.
        reused: of these, taken over.
        in_order: whether urls, and ids of the same url, ascended.
    """

    documents: int
    reused: int
    in_order: bool


def write_signatures(documents: Iterable[Document], out: Path, *, previous: Path | None, bands: Bands | None) -> Signed:
    """Write the table.

    Args:
        documents: read once.
        out: folder of the version being made.
        previous: folder of the version before.
        bands: None when only equal texts are looked for.

    Raises:
        ArtifactError: the previous table is damaged.
    """
    settings = f"{VERSION} {WORDS} {SLOTS} {bands}".encode()
    before = _Previous(previous / SIGNATURES, settings) if previous and (previous / SIGNATURES).exists() else None
    schema = _schema(bands).with_metadata({_MADE_WITH: settings})
    rows = reused = 0
    in_order, last = True, ("", "")
    group = _Group(bands, before)
    plain = ["crawl", "shingles"]
    with pq.ParquetWriter(out / SIGNATURES, schema, compression="zstd", use_dictionary=plain) as writer:
        for document in documents:
            place = (document.url, document.id)
            in_order, last = in_order and place >= last, place
            reused += group.add(document)
            rows += 1
            if len(group.ids) == GROUP_ROWS:
                writer.write_table(group.table(schema))
                group = _Group(bands, before)
        if group.ids:
            writer.write_table(group.table(schema))
    return Signed(rows, reused, in_order)


def column(out: Path, name: str) -> NDArray[Any]:
    """One numeric column of the table; `exact` comes as uint64[rows, 2]."""
    with pq.ParquetFile(out / SIGNATURES) as file:
        values = file.read([name], use_threads=False)[name].combine_chunks()
    if name == "exact":
        data = values.buffers()[1] or b""
        return np.frombuffer(data, np.uint64)[2 * values.offset : 2 * (values.offset + len(values))].reshape(-1, 2)
    return np.asarray(values.to_numpy())


def keys_by_band(out: Path) -> Iterator[Hashes]:
    """The keys of all rows in one band after the other."""
    with pq.ParquetFile(out / SIGNATURES) as file:
        for name in file.schema_arrow.names:
            if name.startswith(_BAND):
                yield file.read([name], use_threads=False)[name].to_numpy()


def names_of(out: Path, rows: NDArray[np.int64]) -> Iterator[tuple[str, str]]:
    """Id and url of some rows, whose numbers ascend."""
    start = 0
    with pq.ParquetFile(out / SIGNATURES) as file:
        for batch in file.iter_batches(GROUP_ROWS, columns=["id", "url"]):
            first, last = np.searchsorted(rows, [start, start + len(batch)])
            chosen = batch.take(pa.array(rows[first:last] - start))
            yield from zip(chosen["id"].to_pylist(), chosen["url"].to_pylist(), strict=True)
            start += len(batch)


def oldest_first(out: Path, *, in_order: bool) -> NDArray[np.int64]:
    """The numbers of the rows by age: by crawl, then url, then id."""
    if in_order:
        return np.argsort(column(out, "crawl"), kind="stable")
    table = pq.read_table(out / SIGNATURES, columns=["crawl", "url", "id"])
    keys = [(name, "ascending") for name in table.column_names]
    return np.asarray(pc.sort_indices(table, sort_keys=keys).to_numpy().astype(np.int64))


def id_key(document_id: str) -> int:
    """A number of eight bytes for an id, which is text of any form."""
    return int.from_bytes(hashlib.blake2b(document_id.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _schema(bands: Bands | None) -> pa.Schema:
    fields = [
        ("key", pa.uint64()),
        ("id", pa.string()),
        ("url", pa.string()),
        ("crawl", pa.int64()),
        ("exact", pa.binary(16)),
    ]
    keys = [(f"{_BAND}{number:03}", pa.uint64()) for number in range(bands.count if bands else 0)]
    return pa.schema(
        [pa.field(name, kind, nullable=False) for name, kind in [*fields, ("shingles", pa.int64()), *keys]]
    )


class _Previous:
    """The rows of the version before, by id."""

    def __init__(self, path: Path, settings: bytes) -> None:
        try:
            self._file = pq.ParquetFile(path)
            usable = (self._file.schema_arrow.metadata or {}).get(_MADE_WITH) == settings
            keys = self._file.read(columns=["key"])["key"].to_numpy() if usable else np.empty(0, np.uint64)
        except (OSError, KeyError, pa.ArrowInvalid) as error:
            raise ArtifactError(f"cannot read {path}: {error}", f"Delete {path.parent} and make it again") from None
        self._rows = np.argsort(keys, kind="stable")
        self._keys = keys[self._rows]
        self._loaded = -1

    def find(self, document_id: str, key: np.uint64) -> tuple[bytes, int, Hashes] | None:
        """Hash of the text, number of shingles and keys of the bands of a document that is here."""
        at = int(np.searchsorted(self._keys, key))
        if at == len(self._keys) or self._keys[at] != key:
            return None
        group, row = divmod(int(self._rows[at]), GROUP_ROWS)
        # Documents mostly come in the same order again, so a row group is rarely read twice.
        if group != self._loaded:
            self._load(group)
        if self._ids[row] != document_id:
            return None
        return self._exact[row], int(self._shingles[row]), self._bands[row]

    def _load(self, group: int) -> None:
        table = self._file.read_row_group(group)
        self._loaded = group
        self._ids, self._exact = table["id"].to_pylist(), table["exact"].to_pylist()
        self._shingles = table["shingles"].to_numpy()
        columns = [table[name].to_numpy() for name in table.column_names if name.startswith(_BAND)]
        self._bands = np.stack(columns, axis=1) if columns else np.zeros((len(self._ids), 0), np.uint64)


class _Group:
    """The rows of one row group, while it fills."""

    def __init__(self, bands: Bands | None, before: _Previous | None) -> None:
        self._bands, self._before = bands, before
        self.ids: list[str] = []
        self._urls: list[str] = []
        self._crawls: list[int] = []
        self._id_keys: list[int] = []
        self._exact: dict[int, bytes] = {}
        self._shingles = np.zeros(GROUP_ROWS, np.int64)
        self._keys = np.zeros((GROUP_ROWS, bands.count if bands else 0), np.uint64)
        self._waiting: list[tuple[int, str]] = []
        self._weight = 0

    def add(self, document: Document) -> bool:
        """Add a document. Returns whether its row was there."""
        row = len(self.ids)
        self.ids.append(document.id)
        self._urls.append(document.url)
        self._crawls.append(document.crawl)
        self._id_keys.append(key := id_key(document.id))
        if self._before and (found := self._before.find(document.id, np.uint64(key))):
            self._exact[row], self._shingles[row], self._keys[row] = found
            return True
        self._waiting.append((row, document.text))
        self._weight += len(document.text)
        if self._weight >= BATCH_CHARACTERS:
            self._compute()
        return False

    def table(self, schema: pa.Schema) -> pa.Table:
        """The rows as a table."""
        self._compute()
        count = len(self.ids)
        keys = [self._keys[:count, number] for number in range(self._keys.shape[1])]
        exact = [self._exact[row] for row in range(count)]
        columns = [self._id_keys, self.ids, self._urls, self._crawls, exact, self._shingles[:count], *keys]
        return pa.table([pa.array(values, kind.type) for values, kind in zip(columns, schema, strict=True)], schema)

    def _compute(self) -> None:
        if not self._waiting:
            return
        rows = [row for row, _ in self._waiting]
        texts = [normal(text) for _, text in self._waiting]
        self._exact.update(zip(rows, map(exact_hash, texts), strict=True))
        if self._bands:
            found = shingle(texts)
            self._shingles[rows] = np.diff(found.offsets)
            self._keys[rows] = band_keys(found, self._bands)
        self._waiting, self._weight = [], 0
