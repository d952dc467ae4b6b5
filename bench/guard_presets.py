"""The preset policies as a whole: milliseconds per message, and how often documentation is taken for something else.

In: messages and paragraphs of documentation. Out: for each preset and stage, the time of the whole stage and of each of
its guards, and the share of paragraphs that each guard flags, redacts or blocks although nothing is wrong with them
(a contact address in a manual counts as well: it is what a user would see).

Known limits: each guard is asked by itself, so that a block does not hide what the guards after it would have said; the
grounding guard is given the paragraph as its own source.
"""

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from guards.base import NO_CONTEXT, Action, Context
from guards.policy import STAGES, load_policy
from guards.pseudonyms import Pseudonyms
from guards.rules import Resources
from guards.stage import Rule, Stage
from ingest.extract import extract
from ingest.formats import BY_EXTENSION
from ingest.records import Document, Page

PRESETS = ("balanced", "strict")
DOCS = Path(__file__).parents[1] / "docs"
WARM_UP = 16


def preset_times(messages: Sequence[str], passages: Sequence[str] = ()) -> dict[str, Any]:
    """Milliseconds per message of the stages that a conversation passes.

    Args:
        messages: what people and models say.
        passages: what every answer was written from.

    Returns:
        preset -> stage -> `ms` (wall), `cpu_ms`, both means over the messages, and `guards`: guard -> CPU ms alone.
    """
    context = Context(passages=tuple(passages))
    return {
        preset: {
            stage: _times(policy.stage(stage), messages, context if stage == "output" else NO_CONTEXT)
            for stage in ("input", "output")
        }
        for preset in PRESETS
        for policy in [load_policy(preset, _resources(), only=("input", "output"))]
    }


def _times(stage: Stage, messages: Sequence[str], context: Context) -> dict[str, Any]:
    stage.warm_up()
    wall, cpu = _timed(lambda text: stage.run(text, _renewed(context)), messages)
    alone = {
        rule.guard.name: _timed(lambda text, rule=rule: _ask(rule, text, context), messages) for rule in stage.rules
    }
    return {
        "messages": len(messages),
        "ms": round(wall, 3),
        "cpu_ms": round(cpu, 3),
        "guards": {name: round(of_cpu, 3) for name, (_, of_cpu) in alone.items()},
    }


def _timed(check: Callable[[str], object], messages: Sequence[str]) -> tuple[float, float]:
    """Wall and CPU milliseconds per message; CPU time counts all threads of this process."""
    for text in messages[:WARM_UP]:
        check(text)
    wall, cpu = time.perf_counter(), time.process_time()
    for text in messages:
        check(text)
    each = 1000 / len(messages)
    return (time.perf_counter() - wall) * each, (time.process_time() - cpu) * each


def false_positives(texts: Sequence[str], presets: Iterable[str] = PRESETS) -> dict[str, Any]:
    """What the guards do to texts with which nothing is wrong.

    Returns:
        preset -> stage -> guard -> action -> share of the texts; guards that broke count as `failure`.
    """
    found: dict[str, Any] = {}
    for preset in presets:
        policy = load_policy(preset, _resources())
        found[preset] = {}
        for stage in STAGES:
            policy.warm_up(stage)
            found[preset][stage] = {rule.guard.name: _shares(rule, stage, texts) for rule in policy.stage(stage).rules}
    return found


def _shares(rule: Rule, stage: str, texts: Sequence[str]) -> dict[str, float]:
    done = Counter(_ask(rule, text, Context(passages=(text,)) if stage == "output" else NO_CONTEXT) for text in texts)
    return {name: round(done[name] / len(texts), 5) for name in ("flag", "redact", "block", "failure") if done[name]}


def _ask(rule: Rule, text: str, context: Context) -> str:
    try:
        return rule.guard.check(text, _renewed(context)).action.value
    except Exception:  # noqa: BLE001  whatever breaks in a guard is a failure of it
        return "failure"


def _renewed(context: Context) -> Context:
    return Context(passages=context.passages, pseudonyms=Pseudonyms())


@cache
def _resources() -> Resources:
    from ingest.embed import load_embedder

    return Resources(embed=load_embedder("embedded:all-MiniLM-L6-v2", "cpu").encode)


def paragraphs(folder: Path, most: int, seed: int = 17) -> list[str]:
    """Paragraphs of three words or more from the documents of a folder, as ingest reads them; at most `most`, chosen by
    the seed."""
    found: list[str] = []
    for file in sorted(folder.rglob("*")):
        kind = BY_EXTENSION.get(file.suffix.lower())
        if kind is None or not file.is_file() or kind == "application/pdf":
            continue
        page = Page(file.as_uri() if file.is_absolute() else file.resolve().as_uri(), kind, "", file.read_bytes(), _NOW)
        document = extract(page)
        if isinstance(document, Document):
            found += [part for part in document.text.split("\n\n") if len(part.split()) >= 3]
    return found if len(found) <= most else random.Random(seed).sample(found, most)


_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def worst(rates: dict[str, Any]) -> dict[str, float]:
    """Guard -> the largest share of texts that it acts on at any stage of any preset."""
    largest: dict[str, float] = defaultdict(float)
    for stages in rates.values():
        for guards in stages.values():
            for guard, actions in guards.items():
                largest[guard] = max(
                    largest[guard], sum(actions.get(name, 0.0) for name in (*map(str, Action), "failure"))
                )
    return dict(largest)
