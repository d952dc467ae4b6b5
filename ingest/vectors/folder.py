"""Segments to a folder and back: `ids-*`, `vectors-*`, `structure-*` and `dead-*` beside the manifest that names them.

New files are written, flushed to the disk and renamed first; then the manifest is replaced; then what it does not name
is deleted. A writer that is killed leaves the manifest that was there, and all that it names. A file that another
folder has already is hard-linked, or copied where it cannot be. One process at a time writes to a folder.

On opening, sizes are compared, and the checksums of all files but `vectors-*`: the others hold positions, which FAISS
follows without asking, so that a damaged one would end the process.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from configs.artifacts import locked
from configs.errors import ArtifactError
from ingest.vectors.kinds import Params, Wanted
from ingest.vectors.manifest import (
    Manifest,
    Role,
    SavedFile,
    SavedSegment,
    read_manifest,
    sync_folder,
    write_manifest,
)
from ingest.vectors.segments import Part, Segment
from ingest.vectors.stored import REMEDY, VECTORS_FILE

LOCK = ".lock"
_OURS = ("ids-*", "vectors-*", "structure-*", "dead-*", ".new-*", f".{VECTORS_FILE}.*")
_STORAGES = {"exact": "IndexFlatIP", "hnsw": "IndexFlatIP", "ivfpq": "IndexScalarQuantizer"}
_STRUCTURES = {"hnsw": "IndexHNSWFlat", "ivfpq": "IndexIVFPQ"}
_AT_ONCE = 1 << 20


def save_folder(folder: Path, dimensions: int, kind: Wanted, params: Params, parts: Sequence[Part]) -> tuple[Part, ...]:
    """Write an index. Returns its parts as they are now: at home in this folder.

    Raises:
        ArtifactError: the disk is full or not to be written to, or another process is writing there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / LOCK, f"writing the vector index in {folder}"):
            saved = [_save_part(folder, part) for part in parts]
            sync_folder(folder)
            manifest = Manifest(
                kind=kind, dimensions=dimensions, params=vars(params), segments=tuple(one for _, one in saved)
            )
            write_manifest(folder, manifest)
            _tidy(folder, manifest.names())
    except OSError as error:
        raise ArtifactError(
            f"cannot write the vector index to {folder}: {error.strerror}", "Make room there and run this again"
        ) from None
    return tuple(part for part, _ in saved)


def open_folder(folder: Path, *, verify: bool) -> tuple[Manifest, list[Part]]:
    """The manifest and the parts of a saved index, mapped.

    Raises:
        ArtifactError: there is none, or it is damaged.
    """
    while True:
        manifest = read_manifest(folder)
        try:
            return manifest, [_open_part(folder, one, manifest.dimensions, verify) for one in manifest.segments]
        except ArtifactError:
            # A writer may have replaced the manifest, and deleted what the one that was read here names.
            if read_manifest(folder) == manifest:
                raise


def _save_part(folder: Path, part: Part) -> tuple[Part, SavedSegment]:
    segment = part.segment
    files = _link_all(segment, folder) or _write_all(segment, folder)
    dead = None if part.dead is None else _write(folder, "dead", _array(np.flatnonzero(part.dead)))
    saved = SavedSegment(
        kind=segment.kind,
        rows=len(segment),
        built=dict(segment.built),
        recall=segment.recall,
        files=files,
        dead=dead,
    )
    return replace(part, segment=replace(segment, home=folder, files=files)), saved


def _write_all(segment: Segment, folder: Path) -> tuple[SavedFile, ...]:
    files = [_write(folder, "ids", _array(segment.ids)), _write(folder, "vectors", _index(segment.storage))]
    if segment.structure is not None:
        # The graph would bring all vectors with it.
        files.append(_write(folder, "structure", _index(segment.structure, faiss.IO_FLAG_SKIP_STORAGE)))
    return tuple(files)


def _link_all(segment: Segment, folder: Path) -> tuple[SavedFile, ...]:
    """The segment's files, now in this folder too; none where it was not saved, or what was is gone or not whole."""
    home = segment.home
    if home is None or not all(_size(home / file.name) == file.size for file in segment.files):
        return ()
    for file in segment.files:
        source, target = home / file.name, folder / file.name
        if target.exists() and target.samefile(source):
            continue
        new = folder / f".new-{file.role}"
        new.unlink(missing_ok=True)
        try:
            new.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, new)
            _sync(new)
        os.replace(new, target)
    return segment.files


def _write(folder: Path, role: Role, write: Callable[["_Hashed"], None]) -> SavedFile:
    new = folder / f".new-{role}"
    # Where a link was left behind, writing would go to the file that it is a link to.
    new.unlink(missing_ok=True)
    with new.open("wb") as out:
        hashed = _Hashed(out)
        write(hashed)
        out.flush()
        os.fsync(out.fileno())
    file = SavedFile(role=role, size=hashed.size, sha256=hashed.digest.hexdigest())
    os.replace(new, folder / file.name)
    return file


class _Hashed:
    """A file that is written, with its size and its checksum so far."""

    def __init__(self, out: Any) -> None:
        self._out = out
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return int(self._out.write(data))


def _array(array: Any) -> Callable[[_Hashed], None]:
    return lambda out: np.lib.format.write_array(out, np.asarray(array, np.int64), allow_pickle=False)


def _index(index: Any, flags: int = 0) -> Callable[[_Hashed], None]:
    # An error while writing comes through FAISS as the OSError that it is.
    return lambda out: faiss.write_index(index, faiss.PyCallbackIOWriter(out.write, _AT_ONCE), flags)  # type: ignore[attr-defined]


def _open_part(folder: Path, saved: SavedSegment, dimensions: int, verify: bool) -> Part:
    at = {file.role: folder / file.name for file in saved.files}
    try:
        for file in (*saved.files, *filter(None, [saved.dead])):
            _check(folder / file.name, file, verify or file.role != "vectors")
        ids = _read_array(at["ids"])
        storage = faiss.read_index(str(at["vectors"]), faiss.IO_FLAG_MMAP_IFC)
        structure = _read_structure(at["structure"], saved.kind, storage) if saved.kind != "exact" else None
        dead = None if saved.dead is None else _marks(_read_array(folder / saved.dead.name), saved.rows)
    except (OSError, RuntimeError, MemoryError, ValueError, KeyError, IndexError) as error:
        # FAISS begins with a place in its source.
        reason = re.sub(r"^Error in .* at \S+:\d+: (Error: )?", "", str(error)) or type(error).__name__
        raise ArtifactError(f"the vector index in {folder} is damaged: {reason}", REMEDY) from None
    made_by = type(storage).__name__
    shapes = {(index.ntotal, index.d) for index in (storage, structure) if index is not None}
    if shapes != {(saved.rows, dimensions)} or len(ids) != saved.rows or made_by != _STORAGES[saved.kind]:
        raise ArtifactError(f"the vector index in {folder} is damaged: its files do not fit each other", REMEDY)
    segment = Segment(saved.kind, ids, storage, structure, saved.built, saved.recall, folder, saved.files)
    return Part(segment, dead)


def _read_structure(path: Path, kind: str, storage: Any) -> Any:
    structure: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    made_by = type(structure).__name__
    if made_by != _STRUCTURES[kind]:
        raise ValueError(f"{path.name} is a {made_by}")
    if kind == "hnsw":
        structure.storage, structure.own_fields = storage, False
    return structure


def _read_array(path: Path) -> Any:
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _marks(rows: Any, count: int) -> Any:
    marks = np.zeros(count, np.bool_)
    marks[rows] = True
    return marks


def _check(path: Path, file: SavedFile, whole: bool) -> None:
    size = _size(path)
    if size != file.size:
        problem = "is missing" if size is None else f"has {size:,} bytes instead of {file.size:,}"
        raise ArtifactError(f"{path} {problem}", REMEDY)
    if whole:
        with path.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != file.sha256:
                raise ArtifactError(f"{path} is damaged: its checksum is another", REMEDY)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _tidy(folder: Path, named: set[str]) -> None:
    for pattern in _OURS:
        for path in folder.glob(pattern):
            if path.name not in named:
                path.unlink()
