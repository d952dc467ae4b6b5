"""Training beside a bare TRL loop on this machine's CPU: tokens a second, memory, packing, and two processes.

    python -m bench.train                        # everything, over examples made from this project's own docs/
    python -m bench.train --quick                # a few steps of each, to see that it runs
    python -m bench.train --part speed --steps 30 --turns 3
    python -m bench.train --examples WORKSPACE/examples/VERSION/examples.parquet

`speed`: fine-tuning on a laptop (LoRA of rank 16 on all linear layers, 2 rows of at most 640 tokens a step), by this
project and by a bare `trl.SFTTrainer` with the same arguments over the same rows, in each precision that this CPU has
units for. `trl_projecting`, in the last of them, is the bare loop with the one change that makes this project's loss
faster: what is lost against that is our own overhead. Peak memory is the resident memory of the process.

`packing`: useful (non-padding) tokens a second, padded and packed, over the examples, whose lengths are much alike, and
over the documents' sections, whose lengths are not. A packed step is 2 full rows, a padded one has as many texts as
such a step holds on average, so that both learn the same in a step.

`parallel`: the tokens a second of two processes of one thread each under torchrun, by those of two times one process
of one thread.

Each run is a process of its own; the sides take turns, and what counts is the median of the ratios of runs that follow
each other. The first two steps of a run are left out. `tokens_per_s` is by the clock and wants a machine that has
nothing else to do (`load` is its load average before each part); `tokens_per_cpu_s` is by processor time.

Out: JSON, and a line on stderr after each run. It takes some ten minutes on two cores.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from app.cli import ENVIRONMENT
from bench.loop import machine, measured
from configs.artifacts import Workspace, code_revision, versions_of
from configs.training import ModelSettings, TrainSettings
from train.spec import LOG, PROGRESS, Spec, read_progress

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers")
PARTS = ("speed", "packing", "parallel")
DOCS = Path(__file__).parents[1] / "docs"
SKIPPED = 2  # first steps, in which memory is claimed and kernels are chosen
NEVER = 10**6
SEED = 17

Measured = dict[str, Any]


@dataclass
class Runs:
    """Starts training runs, one behind the other, in folders below `home`.

    Attributes:
        examples: `examples.parquet`, with `completions.parquet` beside it.
        settings: of every run, where it says nothing else.
    """

    home: Path
    examples: Path
    model: ModelSettings
    settings: dict[str, Any]
    turns: int = 1
    count: int = field(default=0)

    def spec(self, name: str, **settings: Any) -> Path:
        """A folder with the spec of a new run."""
        self.count += 1
        folder = self.home / f"{self.count:02}-{name}"
        folder.mkdir(parents=True)
        train = TrainSettings.model_validate({**self.settings, **settings})
        Spec(examples=self.examples, model=self.model, train=train, seed=SEED).write(folder)
        return folder

    def side(self, side: str, *options: str, **settings: Any) -> Measured:
        """Run one side to its end (`bench/train_side.py`). Ends the bench when it fails."""
        folder = self.spec(side, **settings)
        code, said = ended(side, folder, options)
        if code:
            sys.exit(f"{side} failed with exit code {code}: {said}")
        figures: Measured = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
        shutil.rmtree(folder)
        told = rates(figures["steps"]) | {"peak_mb": figures["peak_mb"]}
        print(json.dumps({"run": folder.name, "precision": settings.get("precision"), **told}), file=sys.stderr)
        return figures | told

    def in_turns(self, runs: Mapping[str, Callable[[], Measured]]) -> dict[str, list[Measured]]:
        """Each of them, again and again in the same order."""
        made: dict[str, list[Measured]] = {name: [] for name in runs}
        for _ in range(self.turns):
            for name, run in runs.items():
                made[name].append(run())
        return made


def ended(side: str, folder: Path, options: Sequence[str] = ()) -> tuple[int, str]:
    """Run one side over the spec in a folder; its exit code, and the last lines that it wrote."""
    files = [str(folder / "spec.json"), str(folder / "measured.json")]
    with (folder / LOG).open("wb") as log:
        command = [sys.executable, "-m", "bench.train_side", side, *files, *options]
        code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return code, " | ".join(lines[-3:])


def rates(steps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Useful tokens a second, and the share of padding, of steps past the first ones."""
    steady = steps[SKIPPED:]
    useful, places = (sum(step[name] for step in steady) for name in ("useful", "places"))
    wall, cpu = (sum(step[name] for step in steady) for name in ("wall_s", "cpu_s"))
    return {
        "tokens_per_s": round(useful / wall, 2),
        "tokens_per_cpu_s": round(useful / cpu, 2),
        "step_s": round(wall / len(steady), 3),
        "padding": round(1 - useful / places, 4),
    }


def beside(made: Mapping[str, Sequence[Measured]]) -> dict[str, Any]:
    """The medians of each side."""
    names = ("tokens_per_s", "tokens_per_cpu_s", "step_s", "padding", "peak_mb")
    return {name: {side: _median(run[name] for run in runs) for side, runs in made.items()} for name in names}


def times(ours: Sequence[Measured], theirs: Sequence[Measured], name: str = "tokens_per_s") -> float:
    """The median of the ratios of runs that follow each other."""
    return round(_median(one[name] / other[name] for one, other in zip(ours, theirs, strict=True)), 3)


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 4)


def speed(runs: Runs, precision: str, *, projecting: bool) -> dict[str, Any]:
    """This project and a bare TRL loop with the same settings; with `projecting` also one with our loss."""
    sides = ("wellread", "trl", *(["trl_projecting"] if projecting else []))
    made = runs.in_turns({side: partial(runs.side, side, precision=precision) for side in sides})
    ours, theirs = made["wellread"], made["trl"]
    pairs = zip(ours[0]["losses"], theirs[0]["losses"], strict=True)
    result = beside(made) | {
        "times_as_fast": times(ours, theirs),
        "times_as_fast_by_cpu": times(ours, theirs, "tokens_per_cpu_s"),
        "memory_ratio": times(ours, theirs, "peak_mb"),
        "loss_difference": max(abs(one - other) / other for one, other in pairs),
    }
    if projecting:
        result["times_as_fast_as_projecting"] = times(ours, made["trl_projecting"])
        result["times_as_fast_as_projecting_by_cpu"] = times(ours, made["trl_projecting"], "tokens_per_cpu_s")
    return result


def packing(runs: Runs, objective: str) -> dict[str, Any]:
    """Padded and packed rows of one kind."""
    lengths = lengths_of(runs, objective)
    limit, rows = runs.settings["max_tokens"], runs.settings["batch_size"]
    from train.packing import packed

    texts = max(1, round(rows * len(lengths) / len(packed(lengths, limit))))
    made = runs.in_turns(
        {
            "packed": lambda: runs.side("packed", objective=objective, batch_size=rows),
            "padded": lambda: runs.side("padded", objective=objective, batch_size=texts),
        }
    )
    cuts = statistics.quantiles(lengths, n=10)
    return {
        "texts": len(lengths),
        "lengths": {"p10": cuts[0], "median": statistics.median(lengths), "p90": cuts[-1], "longest": max(lengths)},
        "padding_expected": expected_padding(lengths, texts),
        "a_step": {"packed": f"{rows} rows of at most {limit} tokens", "padded": f"{texts} texts"},
        **beside(made),
        "times_as_fast": times(made["packed"], made["padded"]),
        "times_as_fast_by_cpu": times(made["packed"], made["padded"], "tokens_per_cpu_s"),
    }


def expected_padding(lengths: Sequence[int], texts: int) -> float:
    """The share of padding in padded steps of random texts; few measured steps may be far from it."""
    dice = random.Random(SEED)
    steps = [dice.sample(lengths, min(texts, len(lengths))) for _ in range(500)]
    return round(1 - sum(map(sum, steps)) / sum(len(step) * max(step) for step in steps), 4)


def lengths_of(runs: Runs, objective: str) -> list[int]:
    """Tokens of each text that is learnt."""
    from ingest.examples.stage import COMPLETIONS
    from train.methods.pretrain import document_rows
    from train.model import load_outline
    from train.rows import training_rows

    outline, limit = load_outline(runs.model.name), runs.settings["max_tokens"]
    if objective == "pretrain":
        found = document_rows(runs.examples.with_name(COMPLETIONS), outline, limit)
    else:
        found = training_rows(runs.examples, None, outline, limit)
    return [len(row.encoded.input_ids) for row in found.rows]


def parallel(runs: Runs) -> dict[str, Any]:
    """Two processes of one thread under torchrun, beside one."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    kinds: dict[int, dict[str, Any]] = {1: {"launcher": "local"}, 2: {"launcher": "torchrun", "processes": 2}}
    found: dict[int, list[float]] = {number: [] for number in kinds}
    for _ in range(runs.turns):
        for number, kind in kinds.items():
            found[number].append(launched(runs, f"{number}-processes", **kind))
    if before is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = before
    shares = [two / (2 * one) for one, two in zip(found[1], found[2], strict=True)]
    rate = {f"{number}_process{'es' if number > 1 else ''}": _median(each) for number, each in found.items()}
    return {"tokens_per_s": rate, "efficiency": round(statistics.median(shares), 3)}


def launched(runs: Runs, name: str, **settings: Any) -> float:
    """Tokens a second of a run that `wellread train` would start, from its own record of its steps."""
    from train.launch import launch

    folder = runs.spec(name, **settings)
    launch(folder, lambda *_: None)
    rows = read_progress(folder / PROGRESS)
    shutil.rmtree(folder)
    tokens = sum(row["tokens"] for row in rows[SKIPPED:])
    rate: float = round(tokens / (rows[-1]["time"] - rows[SKIPPED - 1]["time"]), 2)
    print(json.dumps({"run": folder.name, "tokens_per_s": rate}), file=sys.stderr, flush=True)
    return rate


def made_examples(root: Path, folder: Path, *, quick: bool) -> Path:
    """`examples.parquet` over a folder of documents, by the stages that a user runs."""
    sets = [f"root={root}", f"source.folder={folder}", "examples.completions=true"]
    # Few examples need few questions; sections are written whatever their number.
    sets += ["examples.max_examples=40"] if quick else []
    config = Path(__file__).parents[1] / "configs" / "laptop.yaml"
    options = ["--config", str(config), *(part for value in sets for part in ("--set", value))]
    for stage in ("ingest", "index", "examples"):
        print(json.dumps(measured([stage, *options])), file=sys.stderr, flush=True)
    return (Workspace(root).current("examples").path / "examples.parquet").resolve()


def targets(parts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was aimed at beside what was measured; `met` is None where nothing was."""
    rows = []
    for precision in ("float32", "bfloat16"):
        found = parts.get("speed", {}).get(precision, {})
        rows += [
            target(f"tokens a second of a bare TRL loop, {precision}", found.get("times_as_fast"), least=0.97),
            target(f"peak memory of a bare TRL loop, {precision}", found.get("memory_ratio"), most=1.0),
        ]
    for kind in ("examples", "sections"):
        found = parts.get("packing", {}).get(kind, {})
        rows.append(target(f"useful tokens a second of padding, {kind}", found.get("times_as_fast"), least=1.5))
    rows.append(target("efficiency of two processes", parts.get("parallel", {}).get("efficiency")))
    return rows


def target(what: str, figure: float | None, least: float | None = None, most: float | None = None) -> dict[str, Any]:
    """A row of `targets`; without a bound the figure is only told."""
    told = f"at most {most}" if most is not None else f"at least {least}" if least is not None else None
    met = None
    if figure is not None and told:
        met = figure <= most if most is not None else figure >= (least or 0)
    return {"what": what, "target": told, "figure": figure, "met": met}


def precisions(*, quick: bool) -> list[str]:
    """Those that this CPU has units for; the one that training would choose comes last, and alone when quick."""
    from train.hardware import cpu_bfloat16

    found = ["float32", *(["bfloat16"] if cpu_bfloat16() else [])]
    return found[-1:] if quick else found


def measure(runs: Runs, parts: Sequence[str], turns: int | None, *, quick: bool) -> dict[str, Any]:
    """The parts that were asked for."""
    result: dict[str, Any] = {"load": {}}
    for part in parts:
        result["load"][part] = [round(value, 1) for value in os.getloadavg()]
        # Its target is a few hundredths away, those of the others are not.
        runs.turns = turns or (2 if part == "speed" and not quick else 1)
        if part == "speed":
            kinds = precisions(quick=quick)
            result[part] = {kind: speed(runs, kind, projecting=kind == kinds[-1] and not quick) for kind in kinds}
        elif part == "packing":
            result[part] = {"examples": packing(runs, "sft"), "sections": packing(runs, "pretrain")}
        else:
            result[part] = parallel(runs)
    return result


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one; may be given again")
    parser.add_argument("--steps", type=int, help="optimizer steps of a run, the first two included; by default 6")
    parser.add_argument("--turns", type=int, help="runs of each side; by default 2 for speed, 1 otherwise")
    parser.add_argument("--quick", action="store_true", help="one turn of four steps, in one precision")
    parser.add_argument("--docs", type=Path, default=DOCS, help="documents to make examples from")
    parser.add_argument("--root", type=Path, help="keep what is made from them here; by default a temporary folder")
    parser.add_argument("--examples", type=Path, help="examples.parquet, with completions.parquet beside it")
    parser.add_argument("--model", default=ModelSettings().name)
    parser.add_argument("--max-tokens", type=int, default=640)
    options = parser.parse_args()
    steps = options.steps or (4 if options.quick else 6)
    if steps <= SKIPPED:
        parser.error(f"--steps must be more than {SKIPPED}, which are left out (it is {steps})")
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    settings = {"max_steps": steps, "batch_size": 2, "max_tokens": options.max_tokens, "packing": False}
    settings["save_steps"] = NEVER
    with tempfile.TemporaryDirectory() as temporary:
        root = options.root or Path(temporary) / "root"
        examples = options.examples or made_examples(root, options.docs, quick=options.quick)
        model = ModelSettings(name=options.model, device="cpu")
        runs = Runs(Path(temporary) / "runs", examples.resolve(), model, settings)
        parts = measure(runs, options.part or PARTS, options.turns, quick=options.quick)
    figures = {
        "bench": "train",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "packages": versions_of(PACKAGES),
        "revision": code_revision(),
        "model": options.model,
        "settings": settings | {"turns": options.turns, "skipped_steps": SKIPPED},
        **parts,
        "targets": targets(parts),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
