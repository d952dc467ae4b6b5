"""Hands a job to a cluster, once, and says how it is doing there.

In: the plan of a launcher that submits. Out: a sentence about the job, which trains in the run folder when its turn
comes; whoever starts the same training again finds it there, running, failed or finished.

Known limit: a job that is gone without a word, neither known to the cluster nor finished, is sent once more.
"""

import json
import logging
import os
import subprocess
from pathlib import Path
from typing import Any

from configs.artifacts import write_text_atomic
from configs.errors import ModelError
from train.heartbeat import ABORT, RANKS, STOP
from train.launchers.base import Plan
from train.spec import ERROR

log = logging.getLogger(__name__)

# In what a cluster says about a job: it is over.
OVER = {"Succeeded", "Complete", "Failed"}
ANSWER_S = 120.0


def submit(plan: Plan, folder: Path) -> str:
    """Hand over the job, unless the cluster has it; returns how it is doing.

    Raises:
        ModelError: the cluster refuses, does not answer, or the job has failed since it was sent; a failure is told
            once, after that the job is sent again.
    """
    if state := _state(plan):
        return state
    if said := _failure(folder):
        (folder / ERROR).unlink()
        again = "the next start sends the job again, and it goes on from its last checkpoint"
        raise ModelError(f"the job failed: {said['problem']}", f"{said['remedy']}; {again}")
    # Left by an earlier start, they would end the job at its first step.
    for order in (STOP, ABORT):
        (folder / RANKS / order).unlink(missing_ok=True)
    for name, text in plan.files.items():
        write_text_atomic(folder / name, text)
    answer = " ".join(_asked(plan.command, plan.environment).split())
    log.info("%s: %s", plan.command[0], answer)
    return _state(plan) or f"job {answer} was sent"


def _state(plan: Plan) -> str:
    """What the cluster says about the job; empty when it has none, or that is over."""
    said = " ".join(_asked(plan.state, {}).split()) if plan.state else ""
    return "" if OVER & set(said.split()) else said


def _failure(folder: Path) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads((folder / ERROR).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said


def _asked(command: list[str], environment: dict[str, str]) -> str:
    """What a command of the cluster's prints."""
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=ANSWER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelError(f"{command[0]} does not answer: {error}", "Is the cluster reachable?") from None
    if done.returncode:
        said = [*filter(None, (done.stderr or done.stdout).splitlines()), "it printed nothing"]
        raise ModelError(f"{command[0]} ended with code {done.returncode}: {said[0]}", f"Typed: {' '.join(command)}")
    return done.stdout
