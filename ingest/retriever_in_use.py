"""Which fine-tuned embedder is used: what `wellread train retriever` writes down, and `wellread index` reads.

In: a root folder. Out: the id of a version of the stage `retrievers`, and the folder of its model. The file
`<root>/retrievers/used` holds the id and a line end; where it is missing, damaged, or names a version that is gone,
none is used.
"""

from pathlib import Path

from configs.artifacts import Workspace, write_text_atomic
from configs.errors import ArtifactError

RETRIEVERS, USED, MODEL = "retrievers", "used", "model"


def used_retriever(root: Path, embedder: str) -> str:
    """The version that is used; empty where there is none, or it was trained from another embedder.

    Args:
        embedder: name of the one to start from, as `embed.model` has it.
    """
    try:
        version = Workspace(root).version(RETRIEVERS, (root / RETRIEVERS / USED).read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError, ArtifactError):
        return ""
    return version.id if version.manifest.settings.get("embedder") == embedder else ""


def model_of(root: Path, version: str) -> Path:
    """The folder of a version's model, as sentence-transformers reads it.

    Raises:
        ArtifactError: there is no such version, or it is damaged.
    """
    return Workspace(root).version(RETRIEVERS, version).path / MODEL


def use(root: Path, version: str) -> None:
    """Use a version from now on; who reads meanwhile sees the one before or this one."""
    write_text_atomic(root / RETRIEVERS / USED, version + "\n")
