"""Runs a stage for a command: settings in, progress shown, the version that was made shown."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from app.console import Progress, show_version
from configs.load import load_config

if TYPE_CHECKING:
    from configs.artifacts import Version
    from configs.schema import Config


def run_stage(
    stage: "Callable[[Config, Progress], Version]", config: Path | None, overrides: list[str] | None, *, as_json: bool
) -> None:
    """Run a stage with its progress shown, then show what it made."""
    with Progress() as progress:
        version = stage(load_config(config, overrides or ()), progress)
    show_version(version, as_json=as_json)
