"""`wellread data`: look into the versions that the stages have made."""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.console import say, show_json, show_rows, tell
from app.options import AsJson, ConfigFile, Debug, Overrides
from configs.artifacts import MADE_BY, Version, Workspace
from configs.errors import ArtifactError
from configs.load import load_config

# Arrow takes a third of a second, which `wellread --help` need not pay.
if TYPE_CHECKING:
    from configs.schema import Config
    from ingest.records import Reject
    from ingest.versions.diff import Change

data_app = typer.Typer(help="Look into data versions, documents and rejects.", no_args_is_help=True)

SAMPLE_SHOWN = 120


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
        (v.manifest.stage, v.id, f"{v.manifest.created:%Y-%m-%d %H:%M}", _main_counts(v), _inputs(v)) for v in versions
    ]
    show_rows("Versions", ("stage", "version", "made", "counts", "from"), rows)


@data_app.command()
def show(
    which: Annotated[
        str, typer.Argument(metavar="ID", help="A version; a document's id or address; a passage's or example's id.")
    ],
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """A version's manifest, or a document's whole story, from the page to the models trained on it."""
    from app.data_story import story_as_json, story_lines
    from ingest.versions.ancestry import find_version
    from ingest.versions.story import tell_story

    workspace = Workspace(load_config(config, set_ or ()).root)
    if version := find_version(workspace, which):
        show_json(version.manifest.model_dump(mode="json"))
        return
    story = tell_story(workspace, which)
    if as_json:
        show_json(story_as_json(story))
        return
    for line in story_lines(story):
        tell(line)


@data_app.command()
def rejects(
    rule: Annotated[str | None, typer.Option(help="Only those left out by this rule, such as too_short.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 100,
    counts: Annotated[bool, typer.Option("--counts", help="Only how many each rule left out.")] = False,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Pages and documents that were left out, with the rule, its figures, and the beginning of the text."""
    workspace = Workspace(load_config(config, set_ or ()).root)
    found = ((stage, row) for stage, row in _rejects(workspace) if rule in (None, row.rule))
    if counts:
        _show_counts(Counter((row.rule, stage) for stage, row in found), as_json=as_json)
        return
    rows = [row for _, row in islice(found, limit)]
    if as_json:
        show_json([vars(row) for row in rows])
        return
    for line in (line for row in rows for line in _reject_lines(row)):
        tell(line)
    if rule and not rows:
        rules = sorted({row.rule for _, row in _rejects(workspace)})
        say(f"The rule {rule} left nothing out. These did: {', '.join(rules) or 'none'}")


@data_app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A version of documents, current or previous.")] = (
        "previous"
    ),
    after: Annotated[str, typer.Argument(metavar="B", help="Another one.")] = "current",
    limit: Annotated[int, typer.Option(min=0, help="List at most this many documents; all are counted.")] = 100,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """What changed from one data set to another: documents, counts, figures and settings."""
    from ingest.versions.ancestry import named_version
    from ingest.versions.diff import changes, moved_counts, moved_settings

    workspace = Workspace(load_config(config, set_ or ()).root)
    first, second = named_version(workspace, before), named_version(workspace, after)
    totals = Counter(added=0, changed=0, removed=0)
    listed: list[Change] = []
    for change in changes(first, second):
        totals[change.kind] += 1
        if len(listed) < limit:
            listed.append(change)
    counts, settings = moved_counts(first, second), moved_settings(workspace, first, second)
    if as_json:
        moved = {name: [vars(one) for one in rows] for name, rows in (("counts", counts), ("settings", settings))}
        show_json({"a": first.id, "b": second.id, **totals, "documents": [vars(one) for one in listed], **moved})
        return
    cells = [(one.kind, one.url, _words(one.words_before, one.words_after), one.title) for one in listed]
    title = f"Documents, {first.id} to {second.id}: {_pairs(totals)}"
    show_rows(title, ("", "address", "words", "title"), cells)
    if totals.total() > len(listed):
        say(f"{totals.total() - len(listed)} more; --limit shows them")
    for name, rows in (("Counts and figures", counts), ("Settings", settings)):
        if rows:
            show_rows(name, ("", first.id, second.id), [(one.name, one.before, one.after) for one in rows])


@data_app.command()
def report(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A version of documents.")] = "current",
    out: Annotated[Path | None, typer.Option(help="Make the report again, as this file.")] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Where the report of a data set is: one HTML file for people, which needs no network."""
    from ingest.versions.ancestry import named_version
    from ingest.versions.report import REPORT

    settings = load_config(config, set_ or ())
    workspace = Workspace(settings.root)
    data_set = named_version(workspace, version)
    path = data_set.path / REPORT
    if out is not None:
        path = _make_report(settings, workspace, data_set, out)
    elif not path.exists():
        raise ArtifactError(f"documents {data_set.id} have no report", "Make one with --out report.html")
    shown = path.resolve()
    show_json({"version": data_set.id, "path": str(shown)}) if as_json else tell(str(shown))


def _make_report(settings: "Config", workspace: Workspace, data_set: Version, out: Path) -> Path:
    from ingest.embed import load_token_counter
    from ingest.versions.report import report_again

    # Only a data set without a profile needs it, and an embedder may have to be fetched.
    counter = cache(load_token_counter)
    return report_again(workspace, data_set, out, lambda text: counter(settings.embed.model).count(text))


def _rejects(workspace: Workspace) -> Iterator[tuple[str, "Reject"]]:
    from ingest.records import Reject, read_table
    from ingest.versions.ancestry import reject_tables

    for stage, path in reject_tables(workspace, workspace.current("documents")):
        for row in read_table(path, Reject):
            yield stage, row


def _show_counts(counts: Counter[tuple[str, str]], *, as_json: bool) -> None:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if as_json:
        show_json([{"rule": rule, "stage": stage, "count": count} for (rule, stage), count in ranked])
        return
    cells = [(rule, stage, f"{count:,}", f"{count / counts.total():.0%}") for (rule, stage), count in ranked]
    show_rows(f"Left out: {counts.total():,}", ("rule", "of the stage", "count", "share"), cells)


def _reject_lines(row: "Reject") -> Iterator[str]:
    """Lines instead of a table: an address and a sample of text leave no room for columns."""
    sample = " ".join(row.sample.split())
    figures = f" (score {row.score:g}, threshold {row.threshold:g})" if row.score or row.threshold else ""
    yield f"{row.rule}  {row.url}"
    yield f"    {row.detail}{figures}"
    if row.matched:
        yield f"    repeats {row.matched}"
    if sample:
        yield f"    “{sample[:SAMPLE_SHOWN]}{'…' if len(sample) > SAMPLE_SHOWN else ''}”"


def _words(before: int, after: int) -> str:
    return f"{before:,} to {after:,}" if before and after else f"{before or after:,}"


def _main_counts(version: Version) -> str:
    """The counts without those of single rules, which `show` has."""
    counts = version.manifest.counts
    rejected = sum(n for name, n in counts.items() if name.startswith("rejected_"))
    main = {name: n for name, n in counts.items() if not name.startswith(("rejected_", "flagged_", "terms_"))}
    return _pairs(main | ({"rejected": rejected} if rejected else {}))


def _pairs(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in counts.items())


def _inputs(version: Version) -> str:
    return ", ".join(f"{name} {value}" for name, value in version.manifest.inputs.items())
