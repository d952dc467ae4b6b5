"""Versions by what they are called and where they come from: what the commands that look into them share.

In: a workspace and a name. Out: the version, or those that it was made from, as the manifests name them.
"""

from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from configs.artifacts import MADE_BY, Version, Workspace
from configs.errors import ArtifactError

DOCUMENTS_STAGE = "documents"
# The main table of each stage that has one, and the table of what was left out.
TABLES = {
    "pages": "pages.parquet",
    "extracted": "outcomes.parquet",
    "cleaned": "outcomes.parquet",
    "documents": "documents.parquet",
    "chunks": "chunks.parquet",
    "examples": "examples.parquet",
}
REJECTS = "rejects.parquet"
CURRENT, PREVIOUS = "current", "previous"
NEAREST = 3


def ancestors(workspace: Workspace, version: Version) -> list[Version]:
    """The versions that this one was made from, each before those that were made from it; without the version itself.

    Those that somebody has deleted are left out, with what only they led to.
    """
    found: dict[str, Version] = {}
    for stage, version_id in version.manifest.inputs.items():
        with suppress(ArtifactError):
            parent = workspace.version(stage, version_id)
            found |= {one.id: one for one in (*ancestors(workspace, parent), parent)}
    return list(found.values())


def find_version(workspace: Workspace, name: str) -> Version | None:
    """The version of any stage with this id, or None."""
    for stage in MADE_BY:
        if (workspace.root / stage / name / "manifest.json").exists() and name == Path(name).name:
            return workspace.version(stage, name)
    return None


def named_version(workspace: Workspace, name: str, stage: str = DOCUMENTS_STAGE) -> Version:
    """The version of one stage that is called `current` or `previous` (the newest but the current one), or has this id.

    Raises:
        ArtifactError: there is none; the message names those of the stage that are spelled alike, or the newest.
    """
    current = workspace.current(stage)
    if name == CURRENT:
        return current
    others = [version for version in workspace.versions(stage) if version.id != current.id]
    if name == PREVIOUS:
        if not others:
            raise ArtifactError(f"there is only one version of {stage}", "Run `wellread ingest` after a change")
        return others[-1]
    found = find_version(workspace, name)
    if found is None:
        raise ArtifactError(f"no version {name!r} of {stage}", _nearest(name, [current, *reversed(others)]))
    if found.manifest.stage != stage:
        raise ArtifactError(
            f"{name} is a version of {found.manifest.stage}, not of {stage}",
            _nearest(name, [current, *reversed(others)]),
        )
    return found


def _nearest(name: str, versions: list[Version]) -> str:
    ids = [version.id for version in versions]
    near = get_close_matches(name, ids, NEAREST, cutoff=0.5) or ids[:NEAREST]
    return f"There is {', '.join(near)}; `wellread data list` shows all"


def reject_tables(workspace: Workspace, version: Version) -> Iterator[tuple[str, Path]]:
    """Stage and file of each table of rejects behind a version, in the order of the stages."""
    for one in (*ancestors(workspace, version), version):
        if (path := one.path / REJECTS).exists():
            yield one.manifest.stage, path
