"""`vectors.json`: what makes up a saved index, and the files that it is in.

A file is named by its role and its checksum, so a name never stands for two contents, and a file that is named by a
manifest is never written again.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from configs.artifacts import write_text_atomic
from configs.errors import ArtifactError
from ingest.vectors.base import Kind
from ingest.vectors.kinds import Wanted
from ingest.vectors.stored import REMEDY, VECTORS_FILE, content_of

FORMAT: Literal[1] = 1

Role = Literal["ids", "vectors", "structure", "dead"]


class SavedFile(BaseModel):
    """A file of a segment.

    Attributes:
        size: in bytes.
        sha256: of its bytes, hexadecimal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    size: int
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @property
    def name(self) -> str:
        """What it is called in any folder."""
        return f"{self.role}-{self.sha256[:24]}"


class SavedSegment(BaseModel):
    """A segment; `rows` is the number of its vectors, those that are not found any more included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    rows: int = Field(ge=1)
    built: dict[str, int]
    recall: float | None
    files: tuple[SavedFile, ...]
    dead: SavedFile | None


class Manifest(BaseModel):
    """The whole index. `kind` and `params` are those that were asked for, which `auto` is one of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = FORMAT
    kind: Wanted
    dimensions: int = Field(ge=1)
    normalised: Literal[True] = True
    params: dict[str, int]
    segments: tuple[SavedSegment, ...]

    def names(self) -> set[str]:
        """Names of all files of the index but this one."""
        return {file.name for one in self.segments for file in (*one.files, *filter(None, [one.dead]))}


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a saved index.

    Raises:
        ArtifactError: there is none, it is damaged or of another version, or the vectors are kept in another store.
    """
    try:
        return Manifest.model_validate_json(content_of(folder, "faiss"))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "the file"
        raise ArtifactError(
            f"{folder / VECTORS_FILE} is damaged: {where}: {error.errors()[0]['msg']}", REMEDY
        ) from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put a manifest in the place of the one that is there, in one step; then its files are what the index is."""
    write_text_atomic(folder / VECTORS_FILE, manifest.model_dump_json(indent=1) + "\n")
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make names of files durable; some file systems cannot, and need not be told."""
    handle = os.open(folder, os.O_RDONLY)
    with suppress(OSError):
        os.fsync(handle)
    os.close(handle)
