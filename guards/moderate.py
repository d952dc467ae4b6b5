"""Moderation of many texts: records with an id and a text in, one decision for each out, in the same order.

A decision is what `wellread guard` writes and a program reads: `id`, `allowed`, `action`, `text` after redactions,
`verdicts`, `failures`. The text is null unless it is allowed, so that nothing that was refused goes on by mistake. A
record that cannot be checked stops the work, or becomes `{"id", "allowed": false, "text": null, "error"}`.

Known limit: threads help as far as the guards leave Python's lock (models do, patterns do not).
"""

import math
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from configs.errors import SourceError
from guards.base import Action, Context, Failure, Outcome, Verdict
from guards.pseudonyms import Pseudonyms
from guards.stage import Stage

DECIDED = ("id", "allowed", "action", "text", "verdicts", "failures", "explanation", "error")
# Texts that are read ahead of the oldest one that is still being checked, for each thread.
AHEAD = 4
DONE = {Action.BLOCK: "Blocked", Action.REDACT: "Redacted", Action.FLAG: "Flagged"}
PLACES_SHOWN = 5

Given = TypeVar("Given")
Answered = TypeVar("Answered")


@dataclass(frozen=True)
class Columns:
    """Which fields of a record hold what."""

    text: str = "text"
    id: str = "id"
    passages: str = "passages"


@dataclass(frozen=True)
class Item:
    """One text to be checked, or why it cannot be.

    Attributes:
        place: where it comes from, for messages: `line 7`.
        id: as it came; the record's number where it has none.
        passages: what an answer was written from.
        rest: every other field of the record.
        problem: why there is no text to check; empty when there is one.
    """

    place: str
    id: Any
    text: str = ""
    passages: tuple[str, ...] = ()
    rest: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Shape:
    """What a decision holds.

    Attributes:
        keep: the record's other fields too; one that is named like a field of the decision gets `_in` after its name.
        explain: `explanation`, in plain words.
        skip_bad: a record that cannot be checked becomes an error among the decisions, and does not end the work.
    """

    keep: bool = False
    explain: bool = False
    skip_bad: bool = False


NAMED = Columns()
PLAIN = Shape()


def moderate(
    records: Iterable[Mapping[str, Any]],
    stage: Stage,
    *,
    columns: Columns = NAMED,
    shape: Shape = PLAIN,
    workers: int = 1,
) -> Iterator[dict[str, Any]]:
    """Check records and yield their decisions in the same order, each as soon as it and those before it are there.

    Args:
        records: each with a text and, by choice, an id and the passages that the text was written from.
        workers: threads that check.

    Raises:
        SourceError: a record has no text, and `shape.skip_bad` is not set.
    """
    items = (item_of(record, f"record {number}", number, columns) for number, record in enumerate(records, 1))
    return decisions(items, stage, shape, workers)


def item_of(record: object, place: str, number: int, columns: Columns) -> Item:
    """The record as something to check.

    Args:
        place: for messages.
        number: stands in for an id where there is none.
    """
    if not isinstance(record, Mapping):
        return Item(place, None, problem=f"is {_kind(record)} and not an object with a text")
    rest = {name: value for name, value in record.items() if name not in (columns.id, columns.text)}
    name = record.get(columns.id)
    who = number if name is None else name
    for needed in (columns.text, *({columns.id} - {Columns.id})):
        if needed not in record:
            return Item(place, who, rest=rest, problem=f"has no {needed!r}")
    text = record[columns.text]
    if not isinstance(text, str):
        return Item(place, who, rest=rest, problem=f"has {_kind(text)} as {columns.text!r}, which must be text")
    passages = record.get(columns.passages)
    if passages is None:
        passages = []
    if not isinstance(passages, list | tuple) or not all(isinstance(passage, str) for passage in passages):
        problem = f"has {_kind(passages)} as {columns.passages!r}, which must be a list of texts"
        return Item(place, who, rest=rest, problem=problem)
    return Item(place, who, text, tuple(passages), rest)


def decisions(items: Iterable[Item], stage: Stage, shape: Shape = PLAIN, workers: int = 1) -> Iterator[dict[str, Any]]:
    """Like `moderate`, for items that a reader has made."""

    def decide(item: Item) -> dict[str, Any]:
        return decision(item, stage, shape)

    return map(decide, items) if workers == 1 else _in_order(decide, items, workers)


def decision(item: Item, stage: Stage, shape: Shape = PLAIN) -> dict[str, Any]:
    """Check one item.

    Raises:
        SourceError: there is nothing to check in it, and `shape.skip_bad` is not set.
    """
    kept = {kept_name(name): value for name, value in item.rest.items()} if shape.keep else {}
    if item.problem:
        if not shape.skip_bad:
            raise unusable(item)
        return {"id": item.id, "allowed": False, "text": None, "error": f"{item.place} {item.problem}", **kept}
    # Names of its own for each text: the decision then depends on nothing that was checked before it.
    outcome = stage.run(item.text, Context(passages=item.passages, pseudonyms=Pseudonyms()))
    said = {"explanation": explanation(outcome)} if shape.explain else {}
    return {"id": item.id, **as_json(outcome), **said, **kept}


def unusable(item: Item) -> SourceError:
    """The error about an item that cannot be checked."""
    return SourceError(f"{item.place} {item.problem}", "Mend it, or pass over such with --skip-bad")


def kept_name(name: str) -> str:
    """What a field of the record is called beside the fields of the decision."""
    plain = name
    while plain.endswith("_in"):
        plain = plain.removesuffix("_in")
    # One that is already called `text_in` moves on as well, so that no two names become one.
    return f"{name}_in" if plain in DECIDED else name


def as_json(outcome: Outcome) -> dict[str, Any]:
    """An outcome in JSON values."""
    return {
        "allowed": outcome.allowed,
        "action": outcome.action.value,
        "text": outcome.text if outcome.allowed else None,
        "verdicts": [_verdict(verdict) for verdict in outcome.verdicts],
        "failures": [{"guard": one.guard, "error": one.error, "closed": one.closed} for one in outcome.failures],
    }


def explanation(outcome: Outcome) -> str:
    """Which guards acted or broke, and why, in plain words."""
    said = [_because(verdict) for verdict in outcome.verdicts if verdict.action is not Action.ALLOW]
    said += [_broken(failure) for failure in outcome.failures]
    if not said:
        return f"Nothing found by {len(outcome.verdicts)} guards." if outcome.verdicts else "No guard looked at it."
    return " ".join(said)


def counted(decided: Mapping[str, Any]) -> Counter[tuple[str, str]]:
    """What a decision adds to the counts: its action, the categories that were acted on, the guards that broke."""
    if "error" in decided:
        return Counter({("actions", "error"): 1})
    acted = {verdict["category"] for verdict in decided["verdicts"] if verdict["action"] != Action.ALLOW}
    broken = {failure["guard"] for failure in decided["failures"]}
    return Counter(
        [
            ("actions", decided["action"]),
            *(("categories", category) for category in acted),
            *(("failures", guard) for guard in broken),
        ]
    )


def summary(counts: Counter[tuple[str, str]]) -> dict[str, Any]:
    """The counts for people: texts, and each kind of count by name, the most frequent first."""
    kinds: dict[str, dict[str, int]] = {"actions": {}, "categories": {}, "failures": {}}
    for (kind, name), count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        kinds[kind][name] = count
    return {"texts": sum(kinds["actions"].values()), **kinds}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "action": verdict.action.value,
        "category": verdict.category,
        # JSON has no word for infinity.
        "score": verdict.score if math.isfinite(verdict.score) else None,
        "threshold": verdict.threshold if math.isfinite(verdict.threshold) else None,
        "reason": verdict.reason,
        "detector": verdict.detector,
        "version": verdict.version,
        "spans": [[span.start, span.end, span.category] for span in verdict.spans],
    }


def _because(verdict: Verdict) -> str:
    places = [f"{span.start}-{span.end}" for span in verdict.spans[:PLACES_SHOWN]]
    more = len(verdict.spans) - len(places)
    where = f"; characters {', '.join(places)}{f' and {more} more' if more else ''}" if places else ""
    figures = f"score {verdict.score:.3g}, threshold {verdict.threshold:.3g}"
    return f"{DONE[verdict.action]} for {verdict.category} by {verdict.detector}: {verdict.reason} ({figures}{where})"


def _broken(failure: Failure) -> str:
    result = "so the text was held back" if failure.closed else "and the policy lets the text pass then"
    return f"The guard {failure.guard} broke ({failure.error}), {result}."


def _kind(value: object) -> str:
    """What a JSON value is called."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case Mapping():
            return "an object"
        case Sequence():
            return "a list"
    return f"a {type(value).__name__}"


def _in_order(work: Callable[[Given], Answered], given: Iterable[Given], workers: int) -> Iterator[Answered]:
    """What `work` makes of each, in order, by several threads.

    What is given is drawn by a thread of its own: it may come slowly, and an answer that is there must not wait for the
    next question.
    """
    stopped = threading.Event()
    slots = threading.Semaphore(workers * AHEAD)
    answers: queue.Queue[Future[Answered] | None] = queue.Queue()
    pool = ThreadPoolExecutor(workers, "moderate")

    def feed() -> None:
        try:
            for one in given:
                slots.acquire()
                if stopped.is_set():
                    return
                answers.put(pool.submit(work, one))
        # Whatever ends the reading is raised where the answers are read, after those before it.
        except BaseException as error:  # noqa: BLE001
            failed: Future[Answered] = Future()
            failed.set_exception(error)
            answers.put(failed)
        finally:
            answers.put(None)

    # A daemon: it may wait for input that never comes.
    threading.Thread(target=feed, name="reader", daemon=True).start()
    try:
        while (answer := answers.get()) is not None:
            yield answer.result()
            slots.release()
    finally:
        stopped.set()
        slots.release()
        pool.shutdown(wait=False, cancel_futures=True)
