"""A document's whole story: from the page that was fetched to the models that were trained on it.

In: a workspace, and the id or address of a document, or the id of one of its passages or examples. Out: a `Story`.
Tables that are sorted by url are read only around the address; of the others, only the columns with ids.

Known limits: a passage or an example is looked for in the current versions and, if it is not there, in the older ones,
newest first; which document it is from is then told as of the newest version that has that document or has rejected it.
Models are found by their manifests: whether a training run skipped an example as too long is not known here.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from configs.artifacts import Version, Workspace
from configs.errors import ArtifactError
from ingest.records import Chunk, Document, Outcome, Page, Reject, read_between
from ingest.versions.ancestry import DOCUMENTS_STAGE, REJECTS, TABLES, ancestors
from ingest.web.urls import normalise

# Lines that cleaning took out, of which a few are shown.
LINES_SHOWN = 10


@dataclass(frozen=True)
class Fetched:
    """The page as it came; the fields are those of `ingest.records.Page`, with the size in place of the body.

    Attributes:
        size: bytes of the body.
        version: of the stage `pages`.
    """

    url: str
    content_type: str
    charset: str
    size: int
    fetched_at: datetime
    etag: str
    last_modified: str
    crawl: int
    missing: int
    version: str


@dataclass(frozen=True)
class Made:
    """A passage or an example of the document.

    Attributes:
        about: heading path of a passage, question of an example.
        where: first and last character of a passage; `train` or `holdout` of an example.
    """

    id: str
    about: str
    where: str


@dataclass(frozen=True)
class Cleaned:
    """What cleaning did to the text.

    Attributes:
        words_before, words_after: words of the text.
        lines_out: lines that are gone or were altered, and some of them.
        counts: what the guards and rules reported.
    """

    words_before: int
    words_after: int
    lines_out: int
    lines: tuple[str, ...]
    counts: tuple[str, ...]


@dataclass(frozen=True)
class Appearance:
    """A data set, and what it has of this address: `same`, `other text`, `left out` or `absent`."""

    version: str
    made: str
    state: str


@dataclass(frozen=True)
class Story:
    """All that is known of an address.

    Attributes:
        asked_for: `address`, `document`, `passage` or `example`.
        version: the data set that is told about.
        page: None when it was not read.
        extracted: what extraction made; None when it made nothing, or its version is gone.
        document: as it stands in the data set; None when it was left out.
        rejects: why it was left out; a duplicate's names the older document and the similarity.
        repeated_by: what was left out because it repeats this document.
        models: id of a trained model to examples of this document among its training rows.
    """

    url: str
    asked_for: str
    version: str
    page: Fetched | None
    extracted: Document | None
    cleaned: Cleaned | None
    document: Document | None
    rejects: tuple[Reject, ...]
    repeated_by: tuple[Reject, ...]
    chunks: tuple[Made, ...]
    examples: tuple[Made, ...]
    appearances: tuple[Appearance, ...]
    models: dict[str, int]


def tell_story(workspace: Workspace, which: str) -> Story:
    """The story of a document.

    Args:
        which: id of a document, passage or example, or an address.

    Raises:
        ArtifactError: nothing has this id or address, or a table is damaged.
    """
    asked_for, urls = _addresses(workspace, which)
    version, url = _telling(workspace, which, urls)
    behind = {one.manifest.stage: one for one in ancestors(workspace, version)}
    document = next(iter(_at(version, Document, url)), None)
    extracted, cleaned = (_outcome(behind.get(stage), url) for stage in ("extracted", "cleaned"))
    source = next(iter(extracted.documents), None) if extracted else None
    ids = {one.id for one in (document, source) if one}
    return Story(
        url=url,
        asked_for=asked_for,
        version=version.id,
        page=_fetched(behind.get("pages"), url),
        extracted=source,
        cleaned=_cleaning(source, cleaned) if source and cleaned else None,
        document=document,
        rejects=tuple(_rejects((*behind.values(), version), url)),
        repeated_by=tuple(_repeating(version, url)),
        chunks=_passages(workspace, version, url),
        examples=_examples(workspace, ids),
        appearances=tuple(_appearances(workspace, url, document)),
        models=_models(workspace, ids),
    )


def _addresses(workspace: Workspace, which: str) -> tuple[str, list[str]]:
    """What was asked for, and the addresses that it may mean."""
    if "/" in which or "." in which:
        spelt = [which, normalise(which) or which, *([Path(which).resolve().as_uri()] if Path(which).exists() else [])]
        return "address", list(dict.fromkeys(spelt))
    for kind, stage in (("document", DOCUMENTS_STAGE), ("passage", "chunks")):
        if url := _look_up(workspace, stage, which, "url"):
            return kind, [url]
    if document_id := _look_up(workspace, "examples", which, "doc_id"):
        if url := _look_up(workspace, DOCUMENTS_STAGE, document_id, "url"):
            return "example", [url]
        raise ArtifactError(
            f"the example {which} is from the document {document_id}, which no data set has any more",
            "Make the examples again with `wellread examples`",
        )
    workspace.current(DOCUMENTS_STAGE)
    raise _unknown(workspace, which)


def _look_up(workspace: Workspace, stage: str, row_id: str, wanted: str) -> str:
    """A column of the row with this id, from the newest version that has it; empty when none has."""
    for version in _newest_first(workspace, stage):
        for group in _columns(version.path / TABLES[stage], ["id", wanted]):
            if row_id in (ids := group["id"].to_pylist()):
                return str(group[wanted][ids.index(row_id)].as_py())
    return ""


def _telling(workspace: Workspace, which: str, urls: Sequence[str]) -> tuple[Version, str]:
    """The newest data set that has one of these addresses or left it out, and the address."""
    workspace.current(DOCUMENTS_STAGE)
    for version in _newest_first(workspace, DOCUMENTS_STAGE):
        behind = ancestors(workspace, version)
        for url in urls:
            pages = [one for one in behind if one.manifest.stage == "pages"]
            known = chain(_at(version, Document, url), _rejects((*behind, version), url))
            if any(known) or any(_at(one, Page, url) for one in pages):
                return version, url
    raise _unknown(workspace, which)


def _unknown(workspace: Workspace, which: str) -> ArtifactError:
    return ArtifactError(
        f"{which!r} is no version, and no document, passage, example or address in {workspace.root}",
        "See `wellread data list` and `wellread data rejects`",
    )


def _newest_first(workspace: Workspace, stage: str) -> list[Version]:
    """The versions of a stage, the current one before all others."""
    versions = workspace.versions(stage)[::-1]
    pointer = workspace.root / stage / "current"
    current = pointer.read_text().strip() if pointer.exists() else ""
    return sorted(versions, key=lambda version: version.id != current)


def _at(version: Version | None, kind: type[Any], url: str) -> list[Any]:
    """The rows of a version's table with this address."""
    path = version.path / TABLES[version.manifest.stage] if version else None
    if path is None or not path.exists():
        return []
    return read_between(path, kind, url, url)


def _fetched(version: Version | None, url: str) -> Fetched | None:
    rows: list[Page] = _at(version, Page, url)
    if version is None or not rows:
        return None
    fields = {name: value for name, value in vars(rows[0]).items() if name != "body"}
    return Fetched(**fields, size=len(rows[0].body), version=version.id)


def _outcome(version: Version | None, url: str) -> Outcome | None:
    return next(iter(_at(version, Outcome, url)), None)


def _rejects(versions: tuple[Version, ...], url: str) -> Iterator[Reject]:
    for version in versions:
        if (path := version.path / REJECTS).exists():
            yield from read_between(path, Reject, url, url)


def _repeating(version: Version, url: str) -> Iterator[Reject]:
    try:
        rows = pq.read_table(version.path / REJECTS, filters=[("matched", "=", url)]).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise ArtifactError(f"cannot read {version.path / REJECTS}: {error}", "Run `wellread ingest` again") from None
    return (Reject(**row) for row in rows)


def _cleaning(source: Document, outcome: Outcome) -> Cleaned | None:
    if not outcome.documents:
        return None
    kept = outcome.documents[0].text
    gone = Counter(source.text.splitlines()) - Counter(kept.splitlines())
    lines = [line.strip() for line in gone.elements() if line.strip()]
    counts = tuple(entry for entry in outcome.counts if not entry.endswith("=0"))
    return Cleaned(len(source.text.split()), len(kept.split()), len(lines), tuple(lines[:LINES_SHOWN]), counts)


def _passages(workspace: Workspace, version: Version, url: str) -> tuple[Made, ...]:
    cut = [one for one in _newest_first(workspace, "chunks") if one.manifest.inputs.get(DOCUMENTS_STAGE) == version.id]
    rows: list[Chunk] = _at(cut[0] if cut else None, Chunk, url)
    return tuple(Made(row.id, row.heading_path, f"{row.start}-{row.end}") for row in rows)


def _examples(workspace: Workspace, ids: set[str]) -> tuple[Made, ...]:
    for version in _newest_first(workspace, "examples"):
        if rows := list(_examples_in(version, ids)):
            return tuple(rows)
    return ()


def _examples_in(version: Version, ids: set[str]) -> Iterator[Made]:
    for group in _columns(version.path / TABLES["examples"], ["id", "doc_id", "question", "split"]):
        for row in group.to_pylist():
            if row["doc_id"] in ids:
                yield Made(row["id"], row["question"], row["split"])


def _models(workspace: Workspace, ids: set[str]) -> dict[str, int]:
    trained: dict[str, int] = {}
    counts: dict[str, int] = {}
    for model in workspace.versions("models"):
        source = model.manifest.inputs.get("examples", "")
        if source not in counts:
            versions = [one for one in workspace.versions("examples") if one.id == source]
            counts[source] = sum(row.where == "train" for one in versions for row in _examples_in(one, ids))
        if counts[source]:
            trained[model.id] = counts[source]
    return trained


def _appearances(workspace: Workspace, url: str, document: Document | None) -> Iterator[Appearance]:
    for version in workspace.versions(DOCUMENTS_STAGE):
        rows: list[Document] = _at(version, Document, url)
        if rows:
            state = "same" if document and rows[0].text == document.text else "other text"
        else:
            state = "left out" if any(_rejects((version,), url)) else "absent"
        yield Appearance(version.id, f"{version.manifest.created:%Y-%m-%d %H:%M}", state)


def _columns(path: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        # By default Arrow keeps all that it has read of the file.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            yield from file.iter_batches(4096, columns=names)
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise ArtifactError(f"cannot read {path}: {error}", "Run the stage again that makes it") from None
