"""What fine-tuning makes of the answers: figures of the base and the tuned model on held-out questions, side by side.

    python -m bench.train_quality --folder docs
    python -m bench.train_quality --folder /usr/share/doc/postgresql-doc-15/html --set examples.max_examples=1300

Runs the commands that a user types, from the folder to the evaluation of both models with the same prompts, and prints
JSON with the seconds, CPU seconds and peak memory of each stage. A run that was stopped goes on with the same --root.
"""

import argparse
import json
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from app.cli import ENVIRONMENT
from bench.loop import machine, measured
from configs.artifacts import package_versions

STAGES = (["ingest"], ["index"], ["examples"], ["eval", "--model", "base"], ["train"], ["eval", "--model", "latest"])
SHOWN = ("answer_f1", "citation_precision", "citation_recall", "abstention_accuracy", "perplexity")


def main() -> None:
    """Run the bench and print its JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="documents to read")
    parser.add_argument("--root", type=Path, help="keep what is made here; by default a temporary folder")
    parser.add_argument("--config", type=Path, default=Path("configs/laptop.yaml"))
    parser.add_argument("--examples", type=int, default=100, help="held-out questions at most")
    parser.add_argument("--set", action="append", default=[], help="override a setting")
    arguments = parser.parse_args()
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.root or Path(temporary)
        chosen = [f"root={root}", f"source.folder={arguments.folder}", f"evaluate.max_examples={arguments.examples}"]
        options = ["--config", str(arguments.config)]
        options += [part for value in [*chosen, *arguments.set] for part in ("--set", value)]
        stages = []
        for command in STAGES:
            stages.append(measured([*command, *options]))
            # Told as they come: a later failure must not cost what took half an hour to measure.
            print(json.dumps(stages[-1]), file=sys.stderr, flush=True)
    base, tuned = stages[3]["figures"], stages[5]["figures"]
    result = {
        "bench": "train_quality",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "packages": package_versions(),
        "folder": arguments.folder.name,
        "settings": arguments.set,
        "figures": {name: {"base": base.get(name), "tuned": tuned.get(name)} for name in SHOWN},
        "training": stages[4],
        "stages": stages,
    }
    print(json.dumps(result, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
