"""Proves, on the very batches that the trainer is fed, that the loss covers the answer and nothing else.

In: the trainer's own collator and the encoded examples. Out: the same batches, each row checked, and counts for the
manifest. A model trained on its prompt, or never on its end-of-turn token, looks healthy in every loss curve, so this
is checked and not assumed.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from configs.errors import ModelError
from train.chat import IGNORED, Encoded


class CheckedCollator:
    """Wraps a collator and checks what it returns.

    Args:
        collate: rows -> batch with `input_ids`, `attention_mask` and `labels`, each [rows, tokens].
        encoded: every example that may turn up.
        stops: token ids at which generation stops.

    Attributes:
        rows, answer_tokens, prompt_tokens: what was checked so far.
    """

    def __init__(
        self,
        collate: Callable[[list[dict[str, Any]]], dict[str, Any]],
        tokenizer: Any,
        encoded: Sequence[Encoded],
        stops: Collection[int],
    ) -> None:
        self.collate, self.tokenizer, self.stops = collate, tokenizer, stops
        self.known = {example.input_ids: example for example in encoded}
        self.rows = self.answer_tokens = self.prompt_tokens = 0

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = self.collate(rows)
        columns = (batch[name].tolist() for name in ("input_ids", "attention_mask", "labels"))
        for ids, attended, labels in zip(*columns, strict=True):
            real = tuple(token for token, seen in zip(ids, attended, strict=True) if seen)
            if real not in self.known:
                raise _wrong("a batch holds tokens that are no example's")
            check_row(self.tokenizer, ids, attended, labels, self.known[real], self.stops)
            answered = sum(label != IGNORED for label in labels)
            self.rows += 1
            self.answer_tokens += answered
            self.prompt_tokens += len(real) - answered
        return batch


def check_row(
    tokenizer: Any,
    ids: Sequence[int],
    attended: Sequence[int],
    labels: Sequence[int],
    example: Encoded,
    stops: Collection[int],
) -> None:
    """Check one padded row.

    Raises:
        ModelError: a label sits on the prompt or on padding, differs from its token, does not spell the answer, or the
            last one is no token at which generation stops.
    """
    places = [place for place, label in enumerate(labels) if label != IGNORED]
    if not places:
        raise _wrong("no token of the answer has a label")
    if any(not attended[place] or labels[place] != ids[place] for place in places):
        raise _wrong("a label sits on padding or differs from its token")
    first_real = next(place for place, seen in enumerate(attended) if seen)
    if places[0] - first_real != example.prompt_tokens or places != list(range(places[0], places[-1] + 1)):
        raise _wrong("the labels are not one run that starts where the prompt ends")
    *answer, end = (labels[place] for place in places)
    if end not in stops or places[-1] - first_real != sum(map(bool, attended)) - 1:
        raise _wrong("the last label is not the token that ends the turn")
    spelled = _spelled(tokenizer, answer)
    if spelled != _spelled(tokenizer, tokenizer(example.answer.strip(), add_special_tokens=False)["input_ids"]):
        raise _wrong(f"the labels spell {spelled!r}, not {example.answer!r}")


def _spelled(tokenizer: Any, ids: Sequence[int]) -> str:
    # The round trip through the tokenizer forgives what it normalises, on both sides alike.
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False)).strip()


def _wrong(problem: str) -> ModelError:
    return ModelError(
        f"the loss would not cover exactly the answer: {problem}",
        "The model's chat template does not suit; choose another model",
    )
