"""Which model is meant: a version, an alias, or a word such as `latest`."""

from configs.artifacts import Version, Workspace
from configs.errors import ArtifactError
from configs.schema import Config
from train.registry import ALIASES, CHALLENGER, CHAMPION, Registry

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
            command = "wellread models challenger MODEL" if which == CHALLENGER else "wellread promote"
            raise ArtifactError(f"no model is {which} yet", f"Run `{command}`")
        return found.version
    try:
        return workspace.version("models", which)
    except ArtifactError:
        raise ArtifactError(
            f"there is no model {which!r} in {config.root}",
            "See `wellread models`, or give latest, base, reference, champion, challenger or previous",
        ) from None


def find_trained(config: Config, which: str) -> Version:
    """As `find_model`, where the base model will not do.

    Raises:
        ArtifactError: there is no such model, or it is the base model.
    """
    found = find_model(config, which)
    if found is None:
        raise ArtifactError("the base model is not a trained one", "Name a trained one: `wellread models`")
    return found
