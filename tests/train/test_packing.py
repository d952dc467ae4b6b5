"""Packing: every example is there once, and none sees another."""

from pathlib import Path

import pytest
import torch

from configs.errors import ModelError
from tests.train.conftest import make_example, make_tokenizer
from train.chat import IGNORED, Encoded, encode_example
from train.model import load_model
from train.packing import PackedCollator, packed
from train.preflight.mask import CheckedCollator

TOKENIZER = make_tokenizer()
END = TOKENIZER.eos_token_id
EXAMPLES = [encode_example(TOKENIZER, {END}, make_example(number)) for number in (1, 3, 12)]


def columns(examples: list[Encoded]) -> dict[str, list[int]]:
    return {
        "input_ids": [token for one in examples for token in one.input_ids],
        "labels": [label for one in examples for label in one.labels],
        "lengths": [len(one.input_ids) for one in examples],
    }


def test_every_example_is_in_one_row_and_no_row_is_too_long() -> None:
    lengths = [(7 * number) % 61 + 2 for number in range(200)]
    rows = packed(lengths, 64)
    assert sorted(place for row in rows for place in row) == list(range(200))
    assert all(sum(lengths[place] for place in row) <= 64 for row in rows)
    # At least 97% of the places hold a token.
    assert sum(lengths) / (64 * len(rows)) > 0.97
    assert rows == packed(lengths, 64)


def test_an_example_fills_the_row_that_it_fits_best() -> None:
    assert packed([5, 4, 3, 2], 8) == [[0, 2], [1, 3]]
    assert packed([], 8) == []


def losses(model, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Negative log-likelihood [rows, tokens - 1] of what is learnt, 0 elsewhere."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.inference_mode():
        # As trainers do it; with a cache, transformers takes a packed row for one example.
        logits = model(**inputs, use_cache=False).logits[:, :-1]
    labels = batch["labels"][:, 1:]
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")


@pytest.mark.parametrize("flat", [False, True])
def test_the_loss_of_a_packed_example_is_that_of_the_example_alone(tiny: Path, flat: bool) -> None:
    model = load_model(str(tiny), "cpu").model
    alone = [losses(model, PackedCollator(END)([columns([one])])).sum().item() for one in EXAMPLES]
    batch = PackedCollator(END, flat=flat)([columns(EXAMPLES[:2]), columns(EXAMPLES[2:])])
    assert batch["input_ids"].shape[0] == (1 if flat else 2)
    together = losses(model, batch)
    starts = (batch["position_ids"] == 1).nonzero().tolist()
    for (row, start), one, expected in zip(starts, EXAMPLES, alone, strict=True):
        found = together[row, start - 1 : start - 2 + len(one.input_ids)].sum().item()
        assert found == pytest.approx(expected, abs=5e-5)
    # With positions that go on, they do see each other: what is tested above can be told.
    batch["position_ids"] = torch.arange(batch["input_ids"].shape[1]).expand_as(batch["input_ids"])
    assert losses(model, batch).sum().item() != pytest.approx(sum(alone), abs=1e-3)


def test_packed_batches_are_checked_example_by_example() -> None:
    collator = CheckedCollator(PackedCollator(END), TOKENIZER, EXAMPLES, {END})
    collator([columns(EXAMPLES[:2]), columns(EXAMPLES[2:])])
    assert collator.rows == 3
    assert collator.answer_tokens == sum(label != IGNORED for one in EXAMPLES for label in one.labels)


def shift(batch: dict[str, torch.Tensor]) -> None:
    batch["position_ids"][0] = torch.arange(batch["position_ids"].shape[1])


def label_the_next_prompt(batch: dict[str, torch.Tensor]) -> None:
    start = len(EXAMPLES[0].input_ids)
    batch["labels"][0, start] = batch["input_ids"][0, start]


def label_padding(batch: dict[str, torch.Tensor]) -> None:
    batch["labels"][1, -1] = END


@pytest.mark.parametrize("change", [shift, label_the_next_prompt, label_padding])
def test_a_wrong_packed_batch_is_refused(change) -> None:
    def collate(rows):
        batch = PackedCollator(END)(rows)
        change(batch)
        return batch

    collator = CheckedCollator(collate, TOKENIZER, EXAMPLES, {END})
    with pytest.raises(ModelError, match="would not cover exactly the answer"):
        collator([columns(EXAMPLES[:2]), columns(EXAMPLES[2:])])
