"""Follows the index of a workspace: `<root>/index/current` in, the index that answers out.

A daemon thread reads the pointer every few seconds. When it names another version, that one is loaded and warmed
beside the one in use, and then takes its place by the change of one reference: whoever has begun with the old index
ends with it, and its memory is freed after the last of them. A version that cannot be loaded is logged once, and the
one in use stays until the pointer is written again.

Known limits: while a version is loaded both are in memory. A loader that never returns also ends the following.
"""

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from configs.artifacts import Workspace
from configs.errors import WellreadError

logger = logging.getLogger(__name__)

POLL_S = 2.0
STAGE = "index"


class Versioned(Protocol):
    """What an index must at least have."""

    @property
    def version(self) -> str:
        """Version id."""


Index = TypeVar("Index", bound=Versioned, covariant=True)


class LiveIndex(Generic[Index]):
    """The index in use. Once `follow` is called, it changes when another version becomes current.

    Args:
        root: of the workspace.
        load: opens and warms a version, given its folder; runs in a thread of its own, but for the first.
        poll_s: seconds between two looks at the pointer.

    Attributes:
        current: the index in use. Take it once for all that belongs together.
        refused: the version that could not be loaded last, and why, in one line; None when all is well.

    Raises:
        WellreadError: there is no index, or the current one cannot be loaded.
    """

    def __init__(self, root: Path, load: Callable[[Path], Index], poll_s: float = POLL_S) -> None:
        self._workspace, self._load, self._poll_s = Workspace(root), load, poll_s
        self._pointer = root / STAGE / "current"
        # Before it is read: a pointer that is written meanwhile is looked at again.
        self._seen = self._state()
        self.current = load(self._workspace.current(STAGE).path)
        self.refused: tuple[str, str] | None = None
        self._stop = threading.Event()

    def follow(self) -> None:
        """Begin to follow, until `close`."""
        threading.Thread(target=self._follow, name="index", daemon=True).start()

    def close(self) -> None:
        """Stop following; what is being loaded is not waited for."""
        self._stop.set()

    def _follow(self) -> None:
        while not self._stop.wait(self._poll_s):
            state = self._state()
            if state is not None and state != self._seen:
                self._seen = state
                self._change_to(state[0])

    def _state(self) -> tuple[str, int] | None:
        """The version that the pointer names, and when it was written; None while there is none to be read."""
        try:
            version, written = self._pointer.read_text().strip(), self._pointer.stat().st_mtime_ns
        except (OSError, UnicodeDecodeError):
            return None
        return (version, written) if version else None

    def _change_to(self, version: str) -> None:
        used = self.current.version
        if version == used:
            self.refused = None
            return
        try:
            opened = self._load(self._workspace.version(STAGE, version).path)
        # Whatever is wrong with the new version, the old one answers.
        except Exception as error:  # noqa: BLE001
            self.refused = (version, _reason(error))
            logger.warning(
                json.dumps({"event": "index_refused", "version": version, "in_use": used, "reason": self.refused[1]})
            )
        else:
            if self._stop.is_set():
                return
            self.current, self.refused = opened, None
            logger.info(json.dumps({"event": "index_changed", "from": used, "to": version}))


def _reason(error: Exception) -> str:
    told = str(error) if isinstance(error, WellreadError) else f"{type(error).__name__}: {error}"
    return " ".join(told.split())
