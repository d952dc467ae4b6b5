"""The generated reference says what the code says: types, limits, defaults, commands and their options."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from pydantic import BaseModel, ConfigDict, Field

from configs.schema import Config
from configs.section import Section
from docs.generate import cli_reference, settings_reference


class Inner(Section):
    """Not shown: a section is described where it is used."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """How much."""


class Sample(Section):
    """A small tree."""

    mode: Literal["slow", "fast"] = "slow"
    """How
    to go."""
    where: Path | None = None
    """Which folder."""
    names: str | list[str] = "all"
    """Which ones."""
    on: bool = True
    """Whether."""
    inner: Inner = Inner()
    """The inner part."""


def test_settings_show_type_limits_default_and_docstring() -> None:
    lines = settings_reference(Sample).splitlines()
    assert "- `mode` (`slow` or `fast`, default `slow`): How to go." in lines
    assert "- `where` (path or nothing, default nothing): Which folder." in lines
    assert "- `names` (text or list of text, default `all`): Which ones." in lines
    assert "- `on` (true or false, default `true`): Whether." in lines
    assert "- `inner.share` (number, more than 0, at most 1, default `0.5`): How much." in lines
    assert "The settings in the section `inner`: The inner part." in lines


def leaves(model: type[BaseModel], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        inner = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
        found += leaves(inner, f"{prefix}{name}.") if inner else [prefix + name]
    return found


def test_every_setting_is_listed_and_described() -> None:
    lines = settings_reference().splitlines()
    for key in leaves(Config):
        [line] = [line for line in lines if line.startswith(f"- `{key}` (")]
        assert not line.endswith("): "), f"{key} has no docstring"


def test_a_plain_model_without_docstrings_is_listed_too() -> None:
    class Bare(BaseModel):
        model_config = ConfigDict(extra="forbid")
        size: int = 3

    assert "- `size` (whole number, default `3`): " in settings_reference(Bare)


@pytest.fixture
def program() -> str:
    app, group = typer.Typer(help="Does things."), typer.Typer(help="Groups things.")

    @app.command()
    def fetch(
        name: Annotated[str, typer.Argument(help="What to fetch.")],
        limit: Annotated[int, typer.Option(help="How many.")] = 5,
        debug: Annotated[bool, typer.Option("--debug", help="Not shown: every command has it.")] = False,
    ) -> None:
        """Fetch one thing."""

    @app.command(hidden=True)
    def secret() -> None:
        """Not shown."""

    @group.command(name="list")
    def list_things() -> None:
        """List all things."""

    app.add_typer(group, name="things")
    return cli_reference(typer.main.get_command(app))


def test_commands_show_help_usage_and_their_own_options(program: str) -> None:
    assert "## wellread fetch\n\nThe command `wellread fetch`: Fetch one thing." in program
    assert "- `--limit`: How many. Default: `5`." in program
    assert "What to fetch." in program
    assert "debug" not in program


def test_groups_are_walked_and_hidden_commands_left_out(program: str) -> None:
    assert "## wellread things list\n\nThe command `wellread things list`: List all things." in program
    assert "secret" not in program
