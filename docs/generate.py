"""Writes the texts that quote the code: references of settings, policies and commands, a model's figures, the file map.

    python -m docs.generate            write docs/{configuration,policies,cli,models/toxicity}.md and README.md
    python -m docs.generate --check    exit with 1 and the names of stale pages, writing nothing

In: the pydantic settings tree, the rules of a policy, the figures beside the toxicity model, and the command tree
(click's, or the copy of click inside typer: both have the attributes used here, and no common type). Out: Markdown
between `<!-- reference: begin -->` and `<!-- reference: end -->`; the text around it is written by hand. Known limit: a
rule that a validator checks is not seen, so rules about several keys are described by hand.
"""

import argparse
import re
import sys
import types
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.cli import app
from configs.schema import Config
from docs.file_map import file_map
from docs.model_figures import toxicity_tables
from guards.rules import RULES, GuardRule

DOCS = Path(__file__).parent
BEGIN = "<!-- reference: begin -->"
END = "<!-- reference: end -->"
# Every command takes these; the page says so once.
COMMON = {"--config", "--set", "--json", "--debug", "--help"}
BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
NAMES: dict[Any, str] = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}


def settings_reference(model: type[BaseModel] = Config) -> str:
    """Markdown for the tree: the top-level keys, then one heading for each section, and each section within one."""
    plain = {name: field for name, field in model.model_fields.items() if not _is_section(field)}
    parts = ["## Which keys stand at the top level?", "", "The top level holds these keys beside the sections.", ""]
    parts += [_field(name, field) for name, field in plain.items()]
    for path, field in _sections(model):
        text = (field.description or "").strip()
        parts += ["", f"## What is in the section {path}?", "", f"The settings in the section `{path}`: {text}", ""]
        parts += [
            _field(f"{path}.{name}", inner)
            for name, inner in _as_model(field).model_fields.items()
            if not _is_section(inner)
        ]
    return "\n".join(parts)


def _sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if _is_section(field):
            yield prefix + name, field
            yield from _sections(_as_model(field), f"{prefix}{name}.")


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _as_model(field: FieldInfo) -> type[BaseModel]:
    if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
        raise TypeError(f"{field.annotation!r} is not a section")
    return field.annotation


def _field(path: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else f"default {_default(field.default)}"
    facts = [_type(field.annotation), *_bounds(field), default]
    description = " ".join((field.description or "").split())
    return f"- `{path}` ({', '.join(facts)}): {description}"


def _type(hint: Any) -> str:
    origin = get_origin(hint)
    if origin is Literal:
        return " or ".join(f"`{_yaml(value)}`" for value in get_args(hint))
    if origin in (Union, types.UnionType):
        return " or ".join("nothing" if part is type(None) else _type(part) for part in get_args(hint))
    if origin in (list, tuple):
        return f"list of {_type(get_args(hint)[0])}"
    if origin is Annotated:
        return _type(get_args(hint)[0])
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(f"`{_yaml(value)}`" for value in hint)
    return NAMES.get(hint, getattr(hint, "__name__", str(hint)))


def _bounds(field: FieldInfo) -> list[str]:
    rules = [(word, getattr(rule, name, None)) for rule in field.metadata for name, word in BOUNDS.items()]
    return [f"{word} {limit:g}" for word, limit in rules if limit is not None]


def _default(value: Any) -> str:
    return "nothing" if value is None else f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_yaml, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def rules_reference() -> str:
    """Markdown for what a policy may say: the keys of every rule, then one heading for each guard."""
    common = GuardRule.model_fields
    parts = [
        "## Which keys may every rule have?",
        "",
        "Every rule names its `guard`, says what is done, and may have the keys below.",
        "",
    ]
    parts += [_field(name, field) for name, field in common.items()]
    for guard, rule in RULES.items():
        about = " ".join((rule.__doc__ or "").split())
        parts += ["", f"## What may a rule for {guard} say?", "", f"The guard `{guard}` looks for this: {about}"]
        own = [row for name, field in rule.model_fields.items() if (row := _field(name, field)) not in parts]
        parts += ["", *own] if own else []
    return "\n".join(parts)


def cli_reference(root: Any) -> str:
    """Markdown for a click command and everything below it, one heading for each command."""
    return "\n".join(_command(root, "wellread"))


def _command(command: Any, name: str) -> Iterator[str]:
    context = command.context_class(command, info_name=name)
    yield from [f"## {name}", "", f"The command `{name}`: {_prose(command.help)}", ""]
    yield from ["```text", _usage(command, context, name), "```", ""]
    rows = [row for parameter in command.params if (row := _parameter(parameter, context))]
    if rows:
        yield from [*rows, ""]
    for child in getattr(command, "commands", {}).values():
        if not child.hidden:
            yield from _command(child, f"{name} {child.name}")


def _usage(command: Any, context: Any, name: str) -> str:
    return " ".join([name, *command.collect_usage_pieces(context)])


def _parameter(parameter: Any, context: Any) -> str:
    # get_help_record would wrap and colour by the terminal; the reference must not depend on one.
    if getattr(parameter, "hidden", False) or COMMON & {*parameter.opts}:
        return ""
    if parameter.param_type_name == "argument":
        names = f"`{' '.join(parameter.get_usage_pieces(context))}`"
    else:
        names = ", ".join(f"`{text}`" for text in (*parameter.opts, *parameter.secondary_opts))
    text = _prose(getattr(parameter, "help", None))
    default = parameter.default
    shown = "" if default in (None, False, "", [], ()) or callable(default) else f" Default: `{default}`."
    about = f"{text}{shown}".strip()
    return f"- {names}: {about}" if about else f"- {names}"


def _prose(text: str | None) -> str:
    plain = re.sub(r"\[/?[a-z ]+\]", "", (text or "").split("\f")[0])
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in plain.split("\n\n")).strip()


def fill(page: str, reference: str) -> str:
    """The page with what stands between the markers replaced.

    Raises:
        ValueError: the page lacks a marker.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{reference.strip()}\n\n{END}{after}"


def pages() -> dict[Path, str]:
    """Each generated page with the text it should have."""
    references = {
        DOCS / "configuration.md": settings_reference(),
        DOCS / "policies.md": rules_reference(),
        DOCS / "models" / "toxicity.md": toxicity_tables(),
        DOCS / "cli.md": cli_reference(typer.main.get_command(app)),
        DOCS.parent / "README.md": file_map(DOCS.parent),
    }
    return {path: fill(path.read_text(encoding="utf-8"), text) for path, text in references.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is stale")
    stale = {path: text for path, text in pages().items() if path.read_text(encoding="utf-8") != text}
    if parser.parse_args().check:
        names = ", ".join(str(path.relative_to(DOCS.parent)) for path in stale)
        sys.exit(f"stale: {names}. Run `python -m docs.generate`" if stale else 0)
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
