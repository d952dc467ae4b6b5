"""What a model makes of held-out examples: its greedy answers, and how likely it finds the right ones.

In: a loaded model and encoded examples. Out: answers as text, and the mean loss per answer token.
Known limit: greedy answers of one engine; another engine or quantisation words them otherwise.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig

from train.chat import IGNORED, Encoded
from train.model import LoadedModel, stop_ids


def greedy_answers(
    loaded: LoadedModel,
    encoded: Sequence[Encoded],
    max_new_tokens: int,
    batch_size: int,
    progress: Callable[[int], None] = lambda _done: None,
) -> list[str]:
    """The greedy answer to each example's prompt, in order, generated in left-padded batches of like length.

    Args:
        progress: told after each batch how many are answered.
    """
    settings = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=sorted(stop_ids(loaded)),
        pad_token_id=loaded.tokenizer.pad_token_id,
    )
    model: Any = loaded.model
    answers = [""] * len(encoded)
    done = 0
    for places in _like_length(encoded, batch_size):
        prompts = [list(encoded[place].input_ids[: encoded[place].prompt_tokens]) for place in places]
        batch = loaded.tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
        batch = batch.to(loaded.device)
        with torch.inference_mode():
            grown = model.generate(**batch, generation_config=settings)
        texts = loaded.tokenizer.batch_decode(grown[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        for place, text in zip(places, texts, strict=True):
            answers[place] = text.strip()
        done += len(places)
        progress(done)
    return answers


def answer_loss(loaded: LoadedModel, encoded: Sequence[Encoded], batch_size: int) -> float:
    """Mean negative log-likelihood (nats) per token of the right answers, end-of-turn token included."""
    model: Any = loaded.model
    total, tokens = 0.0, 0
    for places in _like_length(encoded, batch_size):
        rows = [encoded[place] for place in places]
        width = max(len(row.input_ids) for row in rows)
        ids = torch.tensor([_right(row.input_ids, width, loaded.tokenizer.pad_token_id) for row in rows])
        labels = torch.tensor([_right(row.labels, width, IGNORED) for row in rows])
        attended = torch.tensor([_right([1] * len(row.input_ids), width, 0) for row in rows])
        # Only the places that foretell an answer token: logits over the whole prompt would need gigabytes.
        first = min(row.prompt_tokens for row in rows)
        with torch.inference_mode():
            logits = model(
                input_ids=ids.to(loaded.device),
                attention_mask=attended.to(loaded.device),
                logits_to_keep=width - first + 1,
            ).logits[:, :-1]
        wanted = labels[:, first:].to(logits.device)
        total += cross_entropy(
            logits.float().flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="sum"
        ).item()
        tokens += int((wanted != IGNORED).sum())
    return total / tokens


def _like_length(encoded: Sequence[Encoded], batch_size: int) -> Iterator[list[int]]:
    """Places in batches, longest first (the batch that may not fit in memory comes at once)."""
    order = sorted(range(len(encoded)), key=lambda place: -len(encoded[place].input_ids))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _right(values: Sequence[int], width: int, filler: int) -> list[int]:
    return [*values, *[filler] * (width - len(values))]
