"""All checks before the first step, in one function; `wellread train --check` shows what it finds.

In: a spec and its folder. Out: a `Report`, or a `ModelError` for the first thing that is wrong. No weights are loaded,
unless steps are to be timed. Before training `checked` writes the report to `check.json` and `check.txt` in the run's
folder; where the same run was checked before, it looks only at the checkpoints that have come since. On a machine with
GPUs that is done in a process of its own (`python -m train.preflight.check FOLDER`), since the check itself takes some
of their memory until it ends.

Known limit: other machines of a job are not looked at.
"""

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.artifacts import fingerprint_of, write_text_atomic
from configs.errors import ModelError, WellreadError
from train.preflight.earlier import check_earlier
from train.spec import SPEC, Spec

if TYPE_CHECKING:
    from train.preflight.devices import Device
    from train.preflight.memory import Memory
    from train.preflight.shown import Shown
    from train.preflight.timing import Timing

log = logging.getLogger(__name__)

REPORT, TEXT = "check.json", "check.txt"


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        shown: a few examples with what is trained in them.
        counts: rows and tokens.
        memory: estimate for one device, and `devices` with what they have; none where training runs elsewhere.
        compared: memory and device in words.
        timing: None where no steps were timed.
        warnings: what is no reason not to train, but worth knowing.
        command: what the launcher would run.
        chosen: what is computed with, and why.
    """

    shown: "Sequence[Shown]"
    counts: dict[str, int]
    memory: "Memory"
    devices: "Sequence[Device]"
    compared: str
    timing: "Timing | None"
    command: list[str]
    chosen: list[str]
    warnings: list[str] = field(default_factory=list)

    def tree(self) -> dict[str, Any]:
        """As JSON values."""
        examples = [{**asdict(one), "text": one.plain()} for one in self.shown]
        memory = {**self.memory.parts(), "total": self.memory.total}
        timing = {**asdict(self.timing), "seconds": self.timing.seconds} if self.timing else None
        return {**asdict(self), "shown": examples, "memory": memory, "timing": timing}

    def text(self) -> str:
        """The examples as plain text, what is trained between « and »."""
        return "\n\n".join(
            f"--- {one.id}: {one.trained_tokens} of {one.tokens} tokens\n{one.plain()}" for one in self.shown
        )


def preflight(spec: Spec, folder: Path, *, timed: bool = False) -> Report:
    """Check a run.

    Args:
        folder: of the run; it need not be there.
        timed: also load the model and time a few steps.

    Raises:
        ModelError: training would fail, or go well and teach something wrong.
    """
    # Imported here, and below: ten seconds that a run which was checked before need not pay.
    from train.embedded import quiet

    with quiet():
        return _checked(spec, folder, timed=timed)


def _checked(spec: Spec, folder: Path, *, timed: bool) -> Report:
    from train.launch import ready
    from train.model import load_outline
    from train.preflight import data as rows
    from train.preflight.devices import computing, find_devices
    from train.preflight.fits import check_memory
    from train.preflight.shown import choose_shown
    from train.preflight.sources import check_start, check_tokenizer, check_weights
    from train.preflight.template import check_template
    from train.preflight.timing import threads, time_steps

    plan = ready(spec, folder)
    devices = find_devices(spec.model, spec.train)
    chosen = computing(spec.model, spec.train)
    outline = load_outline(spec.model.name)
    check_tokenizer(outline)
    check_weights(outline)
    if spec.start:
        check_start(spec.start, outline)
    check_template(outline.tokenizer)
    data = rows.read_data(spec, outline)
    warnings = [rows.check_lengths(data, spec.train.max_left_out), _few(len(data.fitting)), check_earlier(spec, folder)]
    rows.check_ends(data, rows.stops_of(outline))
    rows.check_held_out(spec)
    memory, compared, tight = check_memory(spec, outline, chosen, data, devices)
    timing = time_steps(spec, threads(spec)) if timed and devices else None
    return Report(
        shown=choose_shown(outline.tokenizer, data.rows),
        counts=data.counts(),
        memory=memory,
        devices=devices,
        compared=compared,
        timing=timing,
        command=plan.command,
        chosen=chosen.lines(),
        warnings=[line for line in (*warnings, tight) if line],
    )


def checked(folder: Path) -> None:
    """Check the run in `folder` before it begins; only what it has left, where the same run was checked there before.

    Raises:
        ModelError: as `preflight`.
    """
    spec = Spec.read(folder / SPEC)
    key = key_of(spec)
    if _found_before(folder, key):
        # Since then the run has left checkpoints.
        if passed_over := check_earlier(spec, folder):
            log.warning("%s", passed_over)
        return
    import torch

    # A CUDA context would stay in this process for as long as training runs.
    if torch.cuda.is_available():
        _check_apart(folder)
    else:
        write_report(preflight(spec, folder), folder, key)


def key_of(spec: Spec) -> str:
    """Hash of all that a check depends on: settings, and the user's own files."""
    own = [file for file in (spec.train.data, spec.train.preference.data) if file is not None and file.is_file()]
    text = spec.model_dump_json() + fingerprint_of(*own)
    return hashlib.sha256(text.encode()).hexdigest()


def write_report(report: Report, folder: Path, key: str) -> None:
    """Write the report into the run's folder, and log what matters of it."""
    write_text_atomic(folder / TEXT, report.text() + "\n")
    write_text_atomic(folder / REPORT, json.dumps({"key": key, **report.tree()}, indent=2, ensure_ascii=False) + "\n")
    for line in report.warnings:
        log.warning("%s", line)
    log.info("checked %d examples, some are shown in %s; %s", report.counts["examples"], folder / TEXT, report.compared)


def _found_before(folder: Path, key: str) -> bool:
    try:
        return bool(json.loads((folder / REPORT).read_text(encoding="utf-8"))["key"] == key)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _few(rows: int) -> str:
    """A warning where there is almost nothing to learn."""
    return "there is only 1 example: the model will know it by heart and little else" if rows == 1 else ""


def _check_apart(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "train.preflight.check", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, text=True, check=False)  # noqa: S603
    if done.returncode:
        lines = done.stdout.splitlines() or ['{"problem": "the check before training failed", "remedy": ""}']
        raise ModelError(**json.loads(lines[-1]))


def main(arguments: list[str]) -> int:
    """Check the run in a folder; what is wrong is one JSON object on stdout."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("train").setLevel(logging.INFO)
    folder = Path(arguments[0])
    try:
        spec = Spec.read(folder / SPEC)
        write_report(preflight(spec, folder), folder, key_of(spec))
    except WellreadError as error:
        sys.stdout.write(json.dumps({"problem": error.problem, "remedy": error.remedy}) + "\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
