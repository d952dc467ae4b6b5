"""Which model has which name: `champion` is served, and `previous` was before it.

The truth is `<root>/aliases.json` (alias -> model version) and the version folders themselves: one atomic rename
changes two aliases at once, and serving reads it without importing MLflow (six seconds, 300 MB). Every change is
mirrored into the MLflow registry on `<root>/mlflow.db`, for its pages and clients; a mirror that failed is made good by
the next change, and an alias edited in MLflow itself is overwritten. `<root>/promotions.jsonl` keeps who replaced whom.

Known limit: the lock is advisory (`flock`), so the root must not be on NFS before version 4.
"""

import fcntl
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from configs.artifacts import Version, Workspace, write_text_atomic
from configs.errors import ArtifactError

log = logging.getLogger(__name__)

CHAMPION, PREVIOUS = "champion", "previous"
ALIASES = (CHAMPION, PREVIOUS)


@dataclass(frozen=True)
class Registered:
    """A trained model and the names it has."""

    version: Version
    aliases: tuple[str, ...]

    @property
    def id(self) -> str:
        return self.version.id

    @property
    def path(self) -> Path:
        return self.version.path


class Registry:
    """The models of one workspace.

    Args:
        root: the workspace's root.
        mirror: copies every state (model versions, aliases) elsewhere; by default into MLflow.
    """

    def __init__(self, root: Path, mirror: Callable[[Path, list[Version], dict[str, str]], None] | None = None) -> None:
        self.root = root
        self.workspace = Workspace(root)
        self._copy = mirror or _into_mlflow

    def register(self, version: Version) -> Registered:
        """Make a finished `models` version known to MLflow's registry."""
        self._mirror()
        return self._registered(version.id)

    def resolve(self, alias: str) -> Registered | None:
        """The model that has this alias; None when no model has it.

        Raises:
            ArtifactError: the alias is unknown, or the model that has it is gone from disk.
        """
        _known(alias)
        found = self.aliases().get(alias)
        return self._registered(found) if found else None

    def list(self) -> list[Registered]:
        """All trained models, oldest first."""
        return [self._registered(version.id) for version in self.workspace.versions("models")]

    def aliases(self) -> dict[str, str]:
        """Alias -> model version.

        Raises:
            ArtifactError: the file that holds them is damaged.
        """
        file = self.root / "aliases.json"
        try:
            return dict(json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError):
            raise ArtifactError(f"{file} is damaged", "Delete it and run `wellread promote`") from None

    def promote(self, version_id: str, note: str = "") -> Registered:
        """Make a model the champion; the champion becomes `previous`. Twice does the same as once.

        Args:
            note: why, for `promotions.jsonl` (a forced promotion says what the gate had against it).

        Raises:
            ArtifactError: there is no such model.
        """
        self.workspace.version("models", version_id)
        with self._changing("promote", note) as aliases:
            if (before := aliases.get(CHAMPION)) not in (None, version_id):
                aliases[PREVIOUS] = str(before)
            aliases[CHAMPION] = version_id
        return self._registered(version_id)

    def rollback(self) -> Registered:
        """Swap `champion` and `previous`.

        Raises:
            ArtifactError: there is no previous model.
        """
        with self._changing("rollback") as aliases:
            back = aliases.get(PREVIOUS)
            if back is None:
                raise ArtifactError("there is no previous model to go back to", "Promote another: `wellread models`")
            self.workspace.version("models", back)
            aliases[CHAMPION], aliases[PREVIOUS] = back, aliases[CHAMPION]
        return self._registered(back)

    def _registered(self, version_id: str) -> Registered:
        names = tuple(alias for alias in ALIASES if self.aliases().get(alias) == version_id)
        return Registered(self.workspace.version("models", version_id), names)

    @contextmanager
    def _changing(self, action: str, note: str = "") -> Iterator[dict[str, str]]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".aliases.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self.aliases()
            aliases = dict(before)
            yield aliases
            write_text_atomic(self.root / "aliases.json", json.dumps(aliases, indent=2, sort_keys=True) + "\n")
            # After the change itself, so that the log never holds one that a crash prevented.
            if aliases != before or note:
                row = {"at": datetime.now(UTC).isoformat(), "action": action, "note": note}
                with (self.root / "promotions.jsonl").open("a", encoding="utf-8") as out:
                    out.write(json.dumps({**row, "before": before, "after": aliases}) + "\n")
            self._mirror()

    def _mirror(self) -> None:
        try:
            self._copy(self.root, self.workspace.versions("models"), self.aliases())
        # Whatever breaks in MLflow or its database, the truth is written, and the next change mirrors again.
        except Exception as error:  # noqa: BLE001
            log.warning("the MLflow registry was not updated: %s", error)


def _into_mlflow(root: Path, versions: list[Version], aliases: dict[str, str]) -> None:
    # Imported here: six seconds that readers of aliases must not pay.
    from train.track import mirror_registry

    mirror_registry(root, versions, aliases)


def _known(alias: str) -> None:
    if alias not in ALIASES:
        raise ArtifactError(f"there is no alias {alias!r}", f"Known: {', '.join(ALIASES)}")
