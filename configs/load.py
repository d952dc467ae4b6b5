"""Fills the settings tree: YAML file, then `WELLREAD_SECTION__KEY` variables, then `--set section.key=value`.

Later ones win. Every problem is reported with the key's path, the value given and what is allowed, all in one line.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from configs.errors import ConfigError
from configs.schema import Config

Checked = TypeVar("Checked", bound=BaseModel)

SHIPPED = Path(__file__).parent
ENV_PREFIX = "WELLREAD_"


def load_config(
    path: Path | None = None, overrides: Iterable[str] = (), environ: Mapping[str, str] = os.environ
) -> Config:
    """Read and check the settings.

    Args:
        path: a YAML file, or None for `./wellread.yaml` where it exists and the shipped `laptop.yaml` otherwise.
        overrides: `section.key=value` strings; values are parsed as YAML.
        environ: the environment to take `WELLREAD_SECTION__KEY` variables from.

    Raises:
        ConfigError: the file cannot be read, or a setting is unknown, ill-typed or contradictory.
    """
    file = path or _default_file()
    tree = read_yaml(file)
    for name, text in sorted(environ.items()):
        keys = name[len(ENV_PREFIX) :].lower().split("__")
        # Other variables that begin like this (WELLREAD_CACHE) are not settings.
        if name.startswith(ENV_PREFIX) and (len(keys) > 1 or keys[0] in ("root", "seed")):
            _assign(tree, keys, _parse(text, name))
    for override in overrides:
        key, found, text = override.partition("=")
        if not found or not key.strip():
            raise ConfigError(
                f"--set {override!r} is not of the form section.key=value", "Write it like train.epochs=3"
            )
        _assign(tree, key.strip().split("."), _parse(text, override))
    return validated(Config, tree, f"Edit {file} or the --set and {ENV_PREFIX}* values given")


def changed(config: Config, values: Mapping[str, Any], remedy: str) -> Config:
    """The settings with other values under dotted names such as `train.lora.rank`.

    Raises:
        ConfigError: a name is unknown, or a value not allowed.
    """
    tree = config.model_dump()
    for name, value in values.items():
        _assign(tree, name.split("."), value)
    return validated(Config, tree, remedy)


def validated(model: type[Checked], tree: Mapping[str, Any], remedy: str, path: str = "") -> Checked:
    """The tree as settings of the given kind.

    Args:
        remedy: what to do about a mistake.
        path: where the tree stands in its file, for the message.

    Raises:
        ConfigError: a key is unknown, ill-typed or contradicts another; every problem is in the one line.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        problems = "; ".join(path + _explain(model, detail) for detail in error.errors(include_url=False))
        # A mistyped name must not print the password in a database URL.
        problems = re.sub(r"(://[^:/@\s]*:)[^@\s]*@", r"\1***@", problems)
        raise ConfigError(problems, remedy) from None


def unknown(what: str, name: object, allowed: Iterable[str]) -> str:
    """That `what` is unknown, with the allowed name nearest to `name`, and all of them."""
    names = sorted(allowed)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown {what}: {hint}allowed here: {', '.join(names)}"


def _default_file() -> Path:
    local = Path("wellread.yaml")
    return local if local.exists() else SHIPPED / "laptop.yaml"


def read_yaml(file: Path) -> dict[str, Any]:
    """The file's mapping; an empty file is an empty one.

    Raises:
        ConfigError: it cannot be read, is not YAML, or holds something else.
    """
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        shipped = ", ".join(sorted(f"configs/{p.name}" for p in SHIPPED.glob("*.yaml")))
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigError(f"cannot read config {file}: {reason}", f"Shipped ones: {shipped}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is not valid YAML: {error}", "Check the indentation near that line") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{file} holds a {type(tree).__name__}, not sections of keys", "See configs/laptop.yaml")
    return tree


def _parse(text: str, origin: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"the value of {origin!r} is not valid YAML", "Quote it: key='\"value\"'") from None
    # YAML 1.1 reads 3e-4 as text because it lacks a dot; a person who types it means the number.
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _assign(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        branch = tree.get(key)
        if not isinstance(branch, dict):
            branch = tree[key] = {}
        tree = branch
    tree[keys[-1]] = value


def _explain(model: type[BaseModel], detail: ErrorDetails) -> str:
    path = ".".join(str(part) for part in detail["loc"])
    match detail["type"]:
        case "extra_forbidden":
            allowed = _siblings(model, [str(part) for part in detail["loc"]])
            return unknown(f"key {path} = {detail['input']!r}", detail["loc"][-1], allowed)
        case "value_error":
            text = detail["msg"].removeprefix("Value error, ")
            # A rule about several keys of a section names them itself; printing the whole section would drown it.
            return f"{path}: {text}" if isinstance(detail["input"], dict) else f"{path} = {detail['input']!r}: {text}"
        case _:
            message = detail["msg"].replace("Input should be", "should be")
            return f"{path} = {detail['input']!r}: {message}"


def _siblings(model: type[BaseModel], loc: list[str]) -> list[str]:
    """Names allowed beside the last part of `loc`."""
    for part in loc[:-1]:
        field = model.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        model = field.annotation
    return list(model.model_fields)
