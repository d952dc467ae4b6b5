"""`wellread data`: look into the versions that the stages have made."""

from itertools import islice
from typing import Annotated, Any

import typer

from app.console import show_json, show_rows
from app.options import AsJson, ConfigFile, Debug, Overrides
from configs.artifacts import MADE_BY, Version, Workspace
from configs.errors import ArtifactError
from configs.load import load_config

data_app = typer.Typer(help="Look into data versions, documents and rejects.", no_args_is_help=True)


@data_app.command(name="list")
def list_versions(
    config: ConfigFile = None, set_: Overrides = None, as_json: AsJson = False, debug: Debug = False
) -> None:
    """All versions of all stages, oldest first."""
    workspace = Workspace(load_config(config, set_ or ()).root)
    versions = [version for stage in MADE_BY for version in workspace.versions(stage)]
    if as_json:
        show_json([version.manifest.model_dump(mode="json") for version in versions])
        return
    rows = [
        (v.manifest.stage, v.id, f"{v.manifest.created:%Y-%m-%d %H:%M}", _pairs(v.manifest.counts), _inputs(v))
        for v in versions
    ]
    show_rows("Versions", ("stage", "version", "made", "counts", "from"), rows)


@data_app.command()
def show(
    which: Annotated[str, typer.Argument(metavar="ID", help="A version, or a document's id or url.")],
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """A version's manifest, or a document with its heading tree."""
    workspace = Workspace(load_config(config, set_ or ()).root)
    for stage in MADE_BY:
        for version in workspace.versions(stage):
            if version.id == which:
                show_json(version.manifest.model_dump(mode="json"))
                return
    show_json(_document(workspace, which))


@data_app.command()
def rejects(
    rule: Annotated[str | None, typer.Option(help="Only those refused by this rule, such as too_short.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 100,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Pages and documents that were left out, with the reason."""
    from ingest.pipeline import REJECTS
    from ingest.records import Reject, read_table

    workspace = Workspace(load_config(config, set_ or ()).root)
    documents = workspace.current("documents")
    pages = workspace.version("pages", documents.manifest.inputs["pages"])
    every = (row for version in (pages, documents) for row in read_table(version.path / REJECTS, Reject))
    found = list(islice((row for row in every if rule in (None, row.rule)), limit))
    if as_json:
        show_json([vars(row) for row in found])
        return
    cells = [(row.url, row.rule, row.detail, f"{row.score:g}", f"{row.threshold:g}") for row in found]
    show_rows("Left out", ("url", "rule", "detail", "score", "threshold"), cells)


def _document(workspace: Workspace, which: str) -> dict[str, Any]:
    from ingest.pipeline import DOCUMENTS
    from ingest.records import Document, read_table

    documents = workspace.current("documents")
    for document in read_table(documents.path / DOCUMENTS, Document):
        if which in (document.id, document.url):
            outline = [f"{'  ' * max(section.level - 1, 0)}{section.heading}" for section in document.sections]
            head = {"id": document.id, "url": document.url, "title": document.title, "version": documents.id}
            return {**head, "outline": outline, "text": document.text}
    raise ArtifactError(
        f"{which!r} is neither a version nor a document in {documents.path}", "See `wellread data list`"
    )


def _pairs(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in counts.items())


def _inputs(version: Version) -> str:
    return ", ".join(f"{name} {value}" for name, value in version.manifest.inputs.items())
