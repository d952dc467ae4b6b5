"""The executor `ray`: the same tasks as rows of a Ray Data set, on a cluster or on a local one started for them.

Reads and writes go through the file system: on several machines, `root` has to be on storage that all of them see.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from configs.errors import ArtifactError, ConfigError, WellreadError

if TYPE_CHECKING:
    from ingest.executor import Task


class RayData:
    """Tasks through `ray.data`. `workers` bounds how many run at once; 0 takes what the cluster has."""

    def __init__(self, workers: int) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray.data
        except ImportError:
            raise ConfigError("work.executor is ray, and Ray is not installed", "pip install 'wellread[ray]'") from None
        self._workers = workers
        self._ray: Any = ray

    def run(self, tasks: "Sequence[Task]") -> Iterator[int]:
        """See `Executor.run`."""
        if not tasks:
            return
        ray = self._ray
        if not ray.is_initialized():
            ray.init(**_cluster(self._workers), log_to_driver=False, logging_level=logging.WARNING)
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = ray.data.from_items([{"task": task} for task in tasks], override_num_blocks=len(tasks))
        compute = ray.data.TaskPoolStrategy(size=self._workers or None)
        try:
            for row in rows.map(_run, compute=compute).iter_rows():
                if row["problem"]:
                    raise ArtifactError(row["problem"], row["remedy"])
                yield int(row["rows"])
        except ray.exceptions.RayError as error:
            raise ArtifactError(
                f"Ray gave up: {str(error).splitlines()[0]}", "Run the same command again, it goes on where it stopped"
            ) from None


def _cluster(workers: int) -> dict[str, Any]:
    if "RAY_ADDRESS" in os.environ:
        return {}
    # A local cluster would listen on the machine's own address, and whoever reaches that can run code in it. Ray takes
    # 127.0.0.1 for a mistake and puts the machine's address in its place, so this is another one of the loopback.
    return {"num_cpus": workers or None, "include_dashboard": False, "_node_ip_address": "127.0.0.2"}


def _run(row: dict[str, Any]) -> dict[str, Any]:
    # An exception would arrive wrapped in Ray's own, with the worker's traceback for a message.
    try:
        return {"rows": row["task"].run(), "problem": "", "remedy": ""}
    except WellreadError as error:
        return {"rows": 0, "problem": error.problem, "remedy": error.remedy}
