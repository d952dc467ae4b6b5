"""Which model has which name: `champion` is served, `challenger` is tried beside it, `previous` was served before.

The truth is `<root>/aliases.json` (alias -> model version), `<root>/tags.json` (model version -> tags) and the version
folders themselves: one atomic rename changes two aliases at once, and serving reads it without importing MLflow (six
seconds, 300 MB). Every change is mirrored into the MLflow registry on `<root>/mlflow.db`, for its pages and clients; a
mirror that failed is made good by the next change, and what is edited in MLflow itself is overwritten.
`<root>/promotions.jsonl` keeps who replaced whom, and why.

Known limit: the lock is advisory (`flock`), so the root must not be on NFS before version 4.
"""

import fcntl
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from configs.artifacts import Version, Workspace, write_text_atomic
from configs.errors import ArtifactError

log = logging.getLogger(__name__)

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
ALIASES = (CHAMPION, CHALLENGER, PREVIOUS)
# MLflow's own rule for the names of tags, without its slashes and spaces.
TAG = re.compile(r"[A-Za-z0-9_.-]{1,100}")


@dataclass(frozen=True)
class Registered:
    """A trained model, the names it has, and what people noted about it.

    Attributes:
        note: the newest that a promotion came with.
    """

    version: Version
    aliases: tuple[str, ...]
    tags: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def id(self) -> str:
        return self.version.id

    @property
    def path(self) -> Path:
        return self.version.path


Mirror = Callable[[Path, "list[Registered]"], None]


class Registry:
    """The models of one workspace.

    Args:
        root: the workspace's root.
        mirror: copies every state elsewhere; by default into MLflow.
    """

    def __init__(self, root: Path, mirror: Mirror | None = None) -> None:
        self.root = root
        self.workspace = Workspace(root)
        self._copy = mirror or _into_mlflow

    def register(self, version: Version) -> Registered:
        """Make a finished `models` version known to MLflow's registry."""
        self._mirror()
        return self.get(version.id)

    def get(self, version_id: str) -> Registered:
        """A model by its version.

        Raises:
            ArtifactError: there is no such model.
        """
        return next(self._described([self.workspace.version("models", version_id)]))

    def resolve(self, alias: str) -> Registered | None:
        """The model that has this alias; None when no model has it.

        Raises:
            ArtifactError: the alias is unknown, or the model that has it is gone from disk.
        """
        _known(alias)
        found = self.aliases().get(alias)
        return self.get(found) if found else None

    def list(self) -> list[Registered]:
        """All trained models, oldest first."""
        return [*self._described(self.workspace.versions("models"))]

    def aliases(self) -> dict[str, str]:
        """Alias -> model version.

        Raises:
            ArtifactError: the file that holds them is damaged.
        """
        return _read(self.root / "aliases.json", "run `wellread promote`")

    def promote(self, version_id: str, note: str = "") -> Registered:
        """Make a model the champion; the champion becomes `previous`. Twice does the same as once.

        Args:
            note: why; a forced promotion says what the gate had against it.

        Raises:
            ArtifactError: there is no such model.
        """
        self.workspace.version("models", version_id)
        with self._changing("promote", note) as aliases:
            if (before := aliases.get(CHAMPION)) not in (None, version_id):
                aliases[PREVIOUS] = str(before)
            aliases[CHAMPION] = version_id
            if aliases.get(CHALLENGER) == version_id:
                del aliases[CHALLENGER]
        return self.get(version_id)

    def challenge(self, version_id: str, note: str = "") -> Registered:
        """Make a model the challenger, in place of the one that was.

        Raises:
            ArtifactError: there is no such model, or it is the champion.
        """
        self.workspace.version("models", version_id)
        with self._changing("challenge", note) as aliases:
            if aliases.get(CHAMPION) == version_id:
                raise ArtifactError(f"{version_id} is the champion", "Name another: `wellread models`")
            aliases[CHALLENGER] = version_id
        return self.get(version_id)

    def rollback(self) -> Registered:
        """Swap `champion` and `previous`; a challenger that becomes the champion is none any more.

        Raises:
            ArtifactError: there is no previous model.
        """
        with self._changing("rollback") as aliases:
            back = aliases.get(PREVIOUS)
            if back is None:
                raise ArtifactError("there is no previous model to go back to", "Promote another: `wellread models`")
            self.workspace.version("models", back)
            aliases[CHAMPION], aliases[PREVIOUS] = back, aliases[CHAMPION]
            if aliases.get(CHALLENGER) == back:
                del aliases[CHALLENGER]
        return self.get(back)

    def tag(self, version_id: str, tags: Mapping[str, str]) -> Registered:
        """Give a model tags, `name -> value`; an empty value takes the tag away.

        Raises:
            ArtifactError: there is no such model, or a name holds something else than letters, digits, `_`, `.`, `-`.
        """
        self.workspace.version("models", version_id)
        if wrong := [name for name in tags if not TAG.fullmatch(name)]:
            raise ArtifactError(f"{wrong[0]!r} cannot be the name of a tag", "Use letters, digits, `_`, `.` and `-`")
        with self._locked():
            every = self._tags()
            given = {**every.get(version_id, {}), **tags}
            every[version_id] = {name: value for name, value in given.items() if value}
            write_text_atomic(self.root / "tags.json", json.dumps(every, indent=2, sort_keys=True) + "\n")
            self._mirror()
        return self.get(version_id)

    def _described(self, versions: Sequence[Version]) -> Iterator[Registered]:
        aliases, tags, notes = self.aliases(), self._tags(), self._notes()
        for version in versions:
            names = tuple(alias for alias in ALIASES if aliases.get(alias) == version.id)
            yield Registered(version, names, tags.get(version.id, {}), notes.get(version.id, ""))

    def _tags(self) -> dict[str, dict[str, str]]:
        return _read(self.root / "tags.json", "tag the models again")

    def _notes(self) -> dict[str, str]:
        """Model version -> the newest note that a promotion of it came with."""
        file = self.root / "promotions.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        notes: dict[str, str] = {}
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                # The machine went down in the middle of it.
                continue
            named = CHALLENGER if row["action"] == "challenge" else CHAMPION
            if row["note"] and named in row["after"]:
                notes[row["after"][named]] = row["note"]
        return notes

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".aliases.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _changing(self, action: str, note: str = "") -> Iterator[dict[str, str]]:
        with self._locked():
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
            self._copy(self.root, self.list())
        # Whatever breaks in MLflow or its database, the truth is written, and the next change mirrors again.
        except Exception as error:  # noqa: BLE001
            log.warning("the MLflow registry was not updated: %s", error)


def _into_mlflow(root: Path, models: list[Registered]) -> None:
    # Imported here: six seconds that readers of aliases must not pay.
    from train.mirror import mirror_registry

    mirror_registry(root, models)


def _known(alias: str) -> None:
    if alias not in ALIASES:
        raise ArtifactError(f"there is no alias {alias!r}", f"Known: {', '.join(ALIASES)}")


def _read(file: Path, remedy: str) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError):
        raise ArtifactError(f"{file} is damaged", f"Delete it and {remedy}") from None
