"""Where a version comes from and what came of it: source -> documents -> passages -> index, examples -> model ->
evaluations, exports, names.

In: the manifests of a workspace. Out: a graph of versions that were made from each other, as nodes and edges, as JSON
values, and as lines of a tree.

Known limits: versions that somebody has deleted are gone from it, with what only they led to. Single documents are
followed by `wellread data show`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from configs.artifacts import MADE_BY, Version, Workspace
from configs.errors import ArtifactError
from ingest.versions.ancestry import ancestors, find_version
from train.registry import Registry

SOURCE = "source"


@dataclass(frozen=True)
class Node:
    """Something that was read or made.

    Attributes:
        kind: the stage that made it, or `source`.
        id: its version; of a source, its address.
        about: what there is to know of it, in a few words.
        names: aliases that it has.
    """

    kind: str
    id: str
    about: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lineage:
    """A graph without circles.

    Attributes:
        of: id of the node that was asked about.
        nodes: each after those that it was made from.
        edges: pairs of ids: made from, made.
    """

    of: str
    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]

    def as_json(self) -> dict[str, Any]:
        """The graph as JSON values."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """The graph as a tree, each node once: below the one that it was made from last."""
        order = [node.id for node in self.nodes]
        parents = {made: max((a for a, b in self.edges if b == made), key=order.index) for _, made in self.edges}
        children: dict[str, list[str]] = {}
        for made in order:
            children.setdefault(parents.get(made, ""), []).append(made)
        yield from self._branch("", "", children)

    def _branch(self, of: str, indent: str, children: Mapping[str, Sequence[str]]) -> Iterator[str]:
        below = children.get(of, ())
        nodes = {node.id: node for node in self.nodes}
        for number, name in enumerate(below):
            last = number == len(below) - 1
            joint = ("└─ " if last else "├─ ") if of else ""
            yield f"{indent}{joint}{_line(nodes[name], asked=name == self.of)}"
            deeper = indent + ("   " if last else "│  ") if of else ""
            yield from self._branch(name, deeper, children)


def lineage(root: Path, version_id: str) -> Lineage:
    """What a version was made from, and everything that was made from it.

    Args:
        version_id: of any stage.

    Raises:
        ArtifactError: there is no such version.
    """
    workspace = Workspace(root)
    asked = find_version(workspace, version_id)
    if asked is None:
        raise ArtifactError(f"there is no version {version_id!r} in {root}", "See `wellread models` or `wellread data`")
    versions = [*ancestors(workspace, asked), asked, *_descendants(workspace, asked)]
    ids = {version.id for version in versions}
    names = _names(root)
    sources = {address: Node(SOURCE, address, "") for version in versions if (address := _address(version))}
    edges = [(address, version.id) for version in versions if (address := _address(version))]
    edges += [
        (made_from, version.id)
        for version in versions
        for made_from in version.manifest.inputs.values()
        if made_from in ids
    ]
    return Lineage(asked.id, (*sources.values(), *(_node(version, names) for version in versions)), tuple(edges))


def _descendants(workspace: Workspace, of: Version) -> list[Version]:
    found: dict[str, Version] = {of.id: of}
    # In the order of the stages, and in each by age: what a version was made from comes before it.
    for stage in MADE_BY:
        for version in workspace.versions(stage):
            if found.keys() & set(version.manifest.inputs.values()):
                found[version.id] = version
    return list(found.values())[1:]


def _names(root: Path) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for alias, version_id in sorted(Registry(root).aliases().items()):
        names[version_id] = (*names.get(version_id, ()), alias)
    return names


def _address(version: Version) -> str:
    """Where pages were read from, folders and files without the path to them; empty for every other stage."""
    settings = version.manifest.settings
    if version.manifest.stage != "pages":
        return ""
    if site := settings.get("site") or settings.get("sitemap"):
        return str(site)
    return ", ".join(Path(file).name for file in settings.get("files") or [settings.get("folder") or ""])


def _node(version: Version, names: Mapping[str, tuple[str, ...]]) -> Node:
    manifest = version.manifest
    shown = [f"{manifest.created:%Y-%m-%d %H:%M}", *_about(version)]
    return Node(manifest.stage, version.id, ", ".join(shown), names.get(version.id, ()))


def _about(version: Version) -> list[str]:
    manifest = version.manifest
    main = {"models": "trainable_parameters", "examples": "train", "index": "chunks", "evaluations": "examples"}
    counted = main.get(manifest.stage, manifest.stage)
    about = [f"{manifest.counts[counted]:,} {counted.replace('_', ' ')}"] if counted in manifest.counts else []
    if manifest.stage == "models":
        about.append(f"from {manifest.settings.get('model')}")
    if manifest.stage == "evaluations" and "answer_f1" in manifest.figures:
        about.append(f"answer F1 {manifest.figures['answer_f1']:.3f}")
    if manifest.stage == "exports":
        about.append(f"{manifest.settings['format']} {manifest.settings['quantization']}")
    return about


def _line(node: Node, *, asked: bool) -> str:
    names = f" [{', '.join(node.names)}]" if node.names else ""
    about = f"  {node.about}" if node.about else ""
    return f"{node.kind} {node.id}{names}{about}{'  <-' if asked else ''}"
