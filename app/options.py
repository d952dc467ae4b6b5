"""The options that every command takes."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="Settings file; else ./wellread.yaml, else configs/laptop.yaml.")
]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: section.key=value.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
# Read by `app.cli.run` before the command line is parsed, so that it also covers errors of parsing.
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
