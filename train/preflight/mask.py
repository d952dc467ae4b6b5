"""Proves, on the very batches that the trainer is fed, that the loss covers the answer and nothing else.

In: the trainer's own collator and the encoded examples. Out: the same batches, each row checked, and counts for the
manifest. A model trained on its prompt, or never on its end-of-turn token, looks healthy in every loss curve, so this
is checked and not assumed.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from configs.errors import ModelError
from train.chat import IGNORED, Encoded


class CheckedCollator:
    """Wraps a collator and checks what it returns.

    Args:
        collate: rows -> batch with `input_ids` and `labels` (or `completion_mask`), each [rows, tokens], and either
            `attention_mask` (a row is an example, padded) or `position_ids` (a row is several examples, each counted
            from 0; `train/packing.py`).
        encoded: every example that may turn up.
        stops: token ids at which generation stops.

    Attributes:
        rows, answer_tokens, prompt_tokens: examples and their tokens that were checked so far.
    """

    def __init__(
        self,
        collate: Callable[[list[dict[str, Any]]], dict[str, Any]],
        tokenizer: Any,
        encoded: Iterable[Encoded],
        stops: Collection[int],
    ) -> None:
        self.collate, self.tokenizer, self.stops = collate, tokenizer, stops
        self.known = {example.input_ids: example for example in encoded}
        self.proven: dict[tuple[int, ...], list[int]] = {}
        self.rows = self.answer_tokens = self.prompt_tokens = 0

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = self.collate(rows)
        for ids, labels in examples_of(batch):
            if ids not in self.known:
                raise _wrong("a batch holds tokens that are no example's")
            # What was proven once for an example only has to be the same in later epochs.
            if labels != self.proven.get(ids):
                check_row(self.tokenizer, ids, labels, self.known[ids], self.stops)
                self.proven[ids] = labels
            answered = len(labels) - labels.count(IGNORED)
            self.rows += 1
            self.answer_tokens += answered
            self.prompt_tokens += len(ids) - answered
        return batch


def examples_of(batch: dict[str, Any]) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """Token ids and labels of each example in a batch, without padding.

    Raises:
        ModelError: a label sits on padding.
    """
    packed = "attention_mask" not in batch
    if "labels" in batch:
        wanted = batch["labels"]
    else:
        # Trainers of pairs make the labels themselves, from this mask.
        wanted = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, IGNORED)
    columns = (batch["input_ids"], wanted, batch["position_ids" if packed else "attention_mask"])
    for ids, labels, marks in zip(*(column.tolist() for column in columns), strict=True):
        spans = packed_spans(marks) if packed else [_attended(marks)]
        inside = sum(end - start - labels[start:end].count(IGNORED) for start, end in spans)
        if len(labels) - labels.count(IGNORED) != inside:
            raise _wrong("a label sits on padding")
        for start, end in spans:
            yield tuple(ids[start:end]), labels[start:end]


def packed_spans(positions: Sequence[int]) -> list[tuple[int, int]]:
    """Start and end of each example in a packed row; padding is a position 0 that no 1 follows."""
    starts = [place for place, position in enumerate(positions) if position == 0]
    spans = zip(starts, [*starts[1:], len(positions)], strict=True)
    return [(start, end) for start, end in spans if end - start > 1]


def check_row(
    tokenizer: Any, ids: Sequence[int], labels: Sequence[int], example: Encoded, stops: Collection[int]
) -> None:
    """Check one example as a batch holds it, without padding.

    Raises:
        ModelError: a label sits outside the answers or differs from its token, the labels of an answer do not spell it,
            or its last one is no token at which generation stops.
    """
    places = [place for place, label in enumerate(labels) if label != IGNORED]
    if not places:
        raise _wrong("no token of the answer has a label")
    if any(labels[place] != ids[place] for place in places):
        raise _wrong("a label differs from its token")
    if places != [place for run in example.learnt for place in range(run.start, run.end)]:
        raise _wrong("the labels are not the answers and the tokens that end them")
    for run in example.learnt:
        if run.text is None:
            continue
        *answer, end = labels[run.start : run.end]
        if end not in stops:
            raise _wrong("the last label is not the token that ends the turn")
        spelled = _spelled(tokenizer, answer)
        if spelled != _spelled(tokenizer, tokenizer(run.text.strip(), add_special_tokens=False)["input_ids"]):
            raise _wrong(f"the labels spell {spelled!r}, not {run.text!r}")


def _attended(mask: Sequence[int]) -> tuple[int, int]:
    first = next((place for place, seen in enumerate(mask) if seen), 0)
    return first, first + sum(map(bool, mask))


def _spelled(tokenizer: Any, ids: Sequence[int]) -> str:
    # The round trip through the tokenizer forgives what it normalises, on both sides alike.
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False)).strip()


def _wrong(problem: str) -> ModelError:
    return ModelError(
        f"the loss would not cover exactly the answer: {problem}",
        "The model's chat template does not suit; choose another model",
    )
