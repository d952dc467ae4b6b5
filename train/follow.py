"""Follows a training run in MLflow while it trains, from a thread of the process that started it.

In: a function that returns the rows that are new. Out: an MLflow run that grows by them. MLflow is imported in the
thread: that takes six seconds, in which training can start. Known limit: whatever goes wrong with MLflow is one
warning, and the run is recorded when it is finished.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

Row = Mapping[str, Any]
EVERY_S = 5.0
PATIENCE_S = 60.0  # MLflow tries a broken database for minutes


@contextmanager
def followed(
    root: Path,
    version: str,
    settings: Row,
    inputs: Mapping[str, str],
    rows: Callable[[], Sequence[Row]],
    parent: str | None = None,
) -> Iterator[None]:
    """While the body runs, what `rows` returns goes to MLflow; a body that fails leaves a FAILED or KILLED run.

    Args:
        version: id that the model will have; its run is found by it.
        rows: those that are new since its last call; any that were sent before are not sent again.
        parent: id of the MLflow run that this one belongs to.
    """
    follower = _Follower((root, version, settings, inputs, parent), rows)
    follower.start()
    try:
        yield
    except KeyboardInterrupt:
        follower.finish("KILLED")
        raise
    except BaseException:
        follower.finish("FAILED")
        raise
    # It is still to get its figures, and to end as FINISHED.
    follower.finish("RUNNING")


_About = tuple[Path, str, Row, Mapping[str, str], str | None]


class _Follower(threading.Thread):
    def __init__(self, about: _About, rows: Callable[[], Sequence[Row]]) -> None:
        super().__init__(name="mlflow", daemon=True)
        self.about, self.rows = about, rows
        self.ended, self.status = threading.Event(), "RUNNING"

    def finish(self, status: str) -> None:
        """Send what is left, and return when that is done, or takes too long."""
        self.status = status
        self.ended.set()
        self.join(PATIENCE_S)

    def run(self) -> None:
        try:
            self._follow()
        # Training is worth more than its record.
        except Exception as error:  # noqa: BLE001
            log.warning("the run is not followed in MLflow: %s", error)

    def _follow(self) -> None:
        from train.track import TrainingRun, about

        root, version, settings, inputs, parent = self.about
        run = TrainingRun(root, version, settings, about(inputs), parent)
        monitor = run.watch_machine()
        try:
            while not self.ended.wait(EVERY_S):
                run.log(self.rows())
            run.log(self.rows())
        finally:
            monitor.finish()
        if self.status != "RUNNING":
            run.close(self.status)
