"""`wellread models`, `promote`, `rollback`, `export`, `card`, `lineage`: trained models, their names, their way out."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.console import Progress, readable, show_json, show_rows, show_version, tell
from app.evaluate import show_gate
from app.options import AsJson, ConfigFile, Debug, Overrides
from configs.artifacts import write_text_atomic
from configs.errors import ConfigError
from configs.load import load_config

if TYPE_CHECKING:
    from configs.artifacts import Version
    from configs.schema import Config
    from train.registry import Registered

WHICH = "latest, champion, challenger, previous, or a version."
Which = Annotated[str, typer.Argument(metavar="MODEL", help=WHICH)]
Note = Annotated[str, typer.Option("--note", help="Why; kept with the model and shown by `wellread models`.")]

models_app = typer.Typer(invoke_without_command=True, help="List the trained models; tag one, or name a challenger.")


def add_model_commands(app: typer.Typer) -> None:
    """Put the commands about models on the command line."""
    app.command()(promote)
    app.command()(rollback)
    app.add_typer(models_app, name="models")
    app.command()(export)
    app.command()(card)
    app.command()(lineage)


def promote(
    model: Annotated[str, typer.Argument(help="latest, challenger, or a model version.")] = "latest",
    force: Annotated[bool, typer.Option("--force", help="Promote even if the gate says no; it is recorded.")] = False,
    note: Note = "",
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a model the champion that is served, if its evaluation passes the gate; exit code 3 if not."""
    from train.promotion import run_promote
    from train.registry import CHAMPION, Registry

    settings = load_config(config, set_ or ())
    before = Registry(settings.root).aliases().get(CHAMPION)
    judged = (lambda _judged: None) if as_json else show_gate
    promoted = run_promote(settings, model, force=force, note=note, judged=judged)
    if as_json:
        show_json(as_row(promoted))
        return
    tell(f"{promoted.id} is the champion already" if promoted.id == before else f"champion is now {promoted.id}")


def rollback(config: ConfigFile = None, set_: Overrides = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """Make the previous champion the champion again."""
    from train.registry import Registry

    restored = Registry(load_config(config, set_ or ()).root).rollback()
    show_json(as_row(restored)) if as_json else tell(f"champion is now {restored.id}")


@models_app.callback()
def models(
    context: typer.Context,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the trained models, their figures, their aliases, and what was noted about them."""
    if context.invoked_subcommand:
        return
    from train.registry import Registry

    rows = [as_row(model) for model in Registry(load_config(config, set_ or ()).root).list()]
    if as_json:
        show_json(rows)
        return
    cells = [
        (
            row["id"],
            row["created"],
            ", ".join(row["aliases"]),
            _tags(row["tags"]),
            row["note"],
            readable(row["figures"]),
        )
        for row in rows
    ]
    show_rows("Models", ("version", "made", "aliases", "tags", "note", "figures"), cells)


@models_app.command()
def tag(
    model: Which,
    tags: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="An empty value takes the tag away.")],
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Give a model tags, such as owner=docs-team."""
    from train.registry import Registry

    if wrong := [one for one in tags if "=" not in one]:
        raise ConfigError(f"{wrong[0]!r} is not a tag", "Write NAME=VALUE")
    settings = load_config(config, set_ or ())
    given = {name: value for name, _, value in (one.partition("=") for one in tags)}
    tagged = Registry(settings.root).tag(_trained(settings, model).id, given)
    show_json(as_row(tagged)) if as_json else tell(f"{tagged.id}: {_tags(tagged.tags) or 'no tags'}")


@models_app.command()
def challenger(
    model: Which,
    note: Note = "",
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Name a model the challenger, which is to be tried beside the champion; nothing is served otherwise."""
    from train.registry import Registry

    settings = load_config(config, set_ or ())
    named = Registry(settings.root).challenge(_trained(settings, model).id, note)
    show_json(as_row(named)) if as_json else tell(f"challenger is now {named.id}")


def export(
    model: Which = "latest",
    format_: Annotated[str, typer.Option("--format", help="adapter, merged, gguf, openvino or mlflow.")] = "merged",
    quantization: Annotated[
        str | None, typer.Option(help="How weights are stored: f32, f16, q8_0, q5_1, q5_0, q4_1, q4_0; else a default.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Copy the export into this new folder.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Keep it even if it answers otherwise; it is recorded.")
    ] = False,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a model in a form that other programs run; exit code 3 if it does not answer as the trained one does."""
    from train.export.stage import run_export

    settings = load_config(config, set_ or ())
    with Progress() as progress:
        version = run_export(settings, model, format_, quantization, progress, force=force, out=out)
    show_version(version, as_json=as_json)
    if not as_json:
        tell(str(out or version.path))


def card(
    model: Which = "latest",
    out: Annotated[Path | None, typer.Option(help="Write it into this file, MODEL_CARD.md for example.")] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write the model card: base, data, licences, training, evaluation, limits, lineage, as far as they are known."""
    from train.card import model_card

    settings = load_config(config, set_ or ())
    found = _trained(settings, model)
    text = model_card(settings, found)
    if out:
        write_text_atomic(out, text)
    if as_json:
        show_json({"model": found.id, "card": text})
    else:
        tell(str(out) if out else text)


def lineage(
    version: Annotated[str, typer.Argument(help=f"A version of any stage, or of a model: {WHICH}")] = "latest",
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what a version was made from, and everything that was made from it."""
    from train.lineage import lineage as lineage_of
    from train.registry import ALIASES
    from train.which import LATEST

    settings = load_config(config, set_ or ())
    named = version in (LATEST, *ALIASES)
    graph = lineage_of(settings.root, _trained(settings, version).id if named else version)
    if as_json:
        show_json(graph.as_json())
        return
    for line in graph.lines():
        tell(line)


def as_row(model: "Registered") -> dict[str, Any]:
    """A registered model as JSON values."""
    manifest = model.version.manifest
    return {
        "id": model.id,
        "created": f"{manifest.created:%Y-%m-%d %H:%M}",
        "aliases": list(model.aliases),
        "tags": dict(model.tags),
        "note": model.note,
        "figures": manifest.figures,
    }


def _tags(tags: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in tags.items())


def _trained(settings: "Config", which: str) -> "Version":
    from train.which import find_trained

    return find_trained(settings, which)
