"""Error rates and speed of the injection guard, beside a packaged keyword detector on the same texts.

In: the folder of the public sets and, for the command line, a JSON list of public jailbreak prompts. Out: for each set
of texts the share that each detector calls an injection: recall on attacks, false alarms on the rest. Figures under
`in_sample` are those of the shipped weights, which have learned from these sets; those under `held_out` were
measured when the weights were trained, by models that had not seen the attack's category, the context or the prompt.

The peer is pytector's sanitizer (keywords, patterns, encodings; no model), where it is installed; else a list of stock
phrases, which the name says. Detectors that need a model from a hub are not measured.

`python -m bench.guard_injection --data DIR [--jailbreaks FILE]`
"""

import argparse
import importlib.util
import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from guards.detectors.injection import WEIGHTS, InjectionGuard, model
from guards.training.injection_data import clusters, fold
from guards.training.injection_trials import Trial, passage_trials, user_trials

Detector = Callable[[Trial], bool]
STOCK = (
    "ignore previous",
    "ignore all",
    "ignore the above",
    "disregard",
    "system prompt",
    "jailbreak",
    "pretend",
    "dan",
)


def measure(data: Path, *, threads: int = 1, jailbreaks: Path | None = None) -> dict:  # noqa: ARG001 - all modules' form
    """Figures of ours and of the peer; `threads` is ignored, since a text is read on one."""
    prompts = json.loads(jailbreaks.read_text(encoding="utf-8")) if jailbreaks else []
    numbered = [(fold(str(number)), text) for number, text in zip(clusters(prompts), prompts, strict=True)]
    trials = [*passage_trials(data), *user_trials(data, numbered)]
    guards = {source: InjectionGuard(source=source) for source in ("user", "passage")}
    guards["user"].warm_up()
    name, peer = peer_detector()
    ours = run(trials, lambda trial: bool(guards[trial.source].check(trial.text).spans))
    meta = model().encoder.meta
    return {
        "n": len(trials),
        "versions": {"weights": meta["version"], "onnxruntime": metadata.version("onnxruntime")},
        "thresholds": meta["thresholds"],
        "ours": {"held_out": meta["held_out"], "in_sample": ours},
        "peers": {name: run(trials, peer)},
    }


def curves(data: Path) -> dict[str, tuple[list[int], list[float]]]:  # noqa: ARG001 - all modules' form
    """Held-out labels and scores: attacks on passages, and jailbreaks among questions. `data` is not needed."""
    rows = json.loads(WEIGHTS.with_name("injection.held_out.json").read_text(encoding="utf-8"))
    names = {"passage": "injection in passages", "user": "jailbreaks in questions"}
    return {names[source]: tuple(map(list, zip(*pairs, strict=True))) for source, pairs in rows.items()}


def run(trials: Sequence[Trial], detector: Detector) -> dict:
    """By set and by category of attack: number of texts and share found; and the CPU time for a text of each source."""
    sets, categories = defaultdict(list), defaultdict(list)
    spent: dict[str, list[float]] = defaultdict(list)
    for trial in trials:
        start = time.process_time()
        hit = detector(trial)
        spent[trial.source].append(time.process_time() - start)
        sets[trial.name].append(hit)
        if trial.category:
            categories[trial.category].append(hit)
    return {
        "sets": shares(sets),
        "categories": shares(categories),
        "cpu_ms": {source: round(1000 * sum(times) / len(times), 3) for source, times in spent.items()},
    }


def shares(groups: dict[str, list[bool]]) -> dict:
    """Number of texts and share found."""
    return {name: {"n": len(hits), "reached": round(sum(hits) / len(hits), 4)} for name, hits in groups.items()}


def peer_detector() -> tuple[str, Detector]:
    """pytector's sanitizer, which finds what it would take out; or the stock phrases."""
    found = importlib.util.find_spec("pytector")
    if found is None or found.origin is None:
        return "stock phrases", lambda trial: any(phrase in trial.text.lower() for phrase in STOCK)
    # The package imports a client of a remote service, which the sanitizer does not need.
    spec = importlib.util.spec_from_file_location("pytector_sanitizer", Path(found.origin).with_name("sanitizer.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sanitizer = module.PromptSanitizer()
    name = f"pytector {metadata.version('pytector')} sanitizer"

    def detect(trial: Trial) -> bool:
        # Its tidying of Unicode is no finding.
        changes = sanitizer.sanitize(trial.text, return_details=True)[2]
        return any("unicode" not in change["strategy"] for change in changes)

    return name, detect


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure the injection guard.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--jailbreaks", type=Path, help="JSON list of public jailbreak prompts")
    chosen = parser.parse_args()
    print(json.dumps(measure(chosen.data, jailbreaks=chosen.jailbreaks), indent=1))


if __name__ == "__main__":
    main()
