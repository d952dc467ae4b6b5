"""Which model is meant: a version, an alias, or a word such as `latest`."""

from configs.artifacts import Version, Workspace
from configs.errors import ArtifactError
from configs.schema import Config
from train.registry import ALIASES, CHAMPION, Registry

BASE, LATEST, REFERENCE = "base", "latest", "reference"


def find_model(config: Config, which: str) -> Version | None:
    """The version that a name stands for; None for the base model."""
    workspace = Workspace(config.root)
    if which == BASE:
        return None
    if which == LATEST:
        return workspace.current("models")
    if which == REFERENCE:
        champion = Registry(config.root).resolve(CHAMPION)
        return champion.version if champion else None
    if which in ALIASES:
        found = Registry(config.root).resolve(which)
        if found is None:
            raise ArtifactError(f"no model is {which} yet", "Run `wellread promote`")
        return found.version
    try:
        return workspace.version("models", which)
    except ArtifactError:
        raise ArtifactError(
            f"there is no model {which!r} in {config.root}",
            "See `wellread models`, or give latest, base, reference, champion or previous",
        ) from None
