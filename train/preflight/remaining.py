"""How long a run will still take, told once from its own first steps.

In: the progress of a run. Out: the same progress, and one line in the log after a few steps.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from statistics import median

from train.spec import PROGRESS, read_progress

log = logging.getLogger(__name__)

# The first step of a start is not counted: it warms up.
AFTER = 4


class Remaining:
    """Passes progress on, and tells what is left after `AFTER` steps of this start."""

    def __init__(self, folder: Path, progress: Callable[[str, int, int | None], None]) -> None:
        self.file, self.progress, self.steps = folder / PROGRESS, progress, 0

    def __call__(self, what: str, done: int, total: int | None) -> None:
        self.progress(what, done, total)
        self.steps += what == "train"
        if self.steps != AFTER or what != "train" or not total:
            return
        recent = [float(row["seconds"]) for row in read_progress(self.file)[1 - AFTER :]]
        if recent:
            log.info("a step takes %.1f s; about %s left", median(recent), readable((total - done) * median(recent)))


def readable(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
