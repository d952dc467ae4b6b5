"""What a model makes of prompts: its greedy answers, and how likely it finds the right ones.

In: a loaded model and encoded examples, or prompts alone. Out: answers as text, and the loss of the right answers. The
prompt is read once for both, where the model's cache can be cut back: on a CPU reading it is most of the work.

Known limit: greedy answers of one engine; another engine or quantisation words them otherwise.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import DynamicCache, GenerationConfig
from transformers.cache_utils import DynamicLayer

from train.chat import IGNORED, Encoded
from train.model import LoadedModel, stop_ids


@dataclass(frozen=True)
class Answered:
    """A greedy answer, and the loss of the right one.

    Attributes:
        text: the answer, without white space around it.
        loss: mean negative log-likelihood (nats) per token of the right answer, end-of-turn token included.
        tokens: how many tokens that is.
    """

    text: str
    loss: float
    tokens: int


def answered(loaded: LoadedModel, batch: Sequence[Encoded], max_new_tokens: int) -> list[Answered]:
    """Greedy answers to a batch's prompts, and the losses of its right answers, in its order."""
    prompts = [row.input_ids[: row.prompt_tokens] for row in batch]
    asked = _left_padded(loaded, prompts)
    cache = _prompt_read(loaded, asked)
    losses = _losses(loaded, batch) if cache is None else _losses_after(loaded, batch, asked, cache)
    texts = _generated(loaded, asked, max_new_tokens, cache)
    return [Answered(text, *loss) for text, loss in zip(texts, losses, strict=True)]


def continued(loaded: LoadedModel, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> list[str]:
    """Greedy answers to a batch of prompts (token ids), in its order."""
    return _generated(loaded, _left_padded(loaded, prompts), max_new_tokens, None)


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
    answers = [""] * len(encoded)
    done = 0
    for places in like_length([len(row.input_ids) for row in encoded], batch_size):
        prompts = [encoded[place].input_ids[: encoded[place].prompt_tokens] for place in places]
        for place, text in zip(places, continued(loaded, prompts, max_new_tokens), strict=True):
            answers[place] = text
        done += len(places)
        progress(done)
    return answers


def answer_loss(loaded: LoadedModel, encoded: Sequence[Encoded], batch_size: int) -> float:
    """Mean negative log-likelihood (nats) per token of the right answers, end-of-turn token included."""
    rows = [
        row
        for places in like_length([len(row.input_ids) for row in encoded], batch_size)
        for row in _losses(loaded, [encoded[place] for place in places])
    ]
    return sum(loss * tokens for loss, tokens in rows) / sum(tokens for _, tokens in rows)


def like_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Places in batches, longest first (the batch that may not fit in memory comes at once)."""
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _left_padded(loaded: LoadedModel, prompts: Sequence[Sequence[int]]) -> Any:
    batch = loaded.tokenizer.pad(
        {"input_ids": [list(prompt) for prompt in prompts]}, padding_side="left", return_tensors="pt"
    )
    return batch.to(loaded.device)


def _generated(loaded: LoadedModel, asked: Any, max_new_tokens: int, cache: DynamicCache | None) -> list[str]:
    settings = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=sorted(stop_ids(loaded)),
        pad_token_id=loaded.tokenizer.pad_token_id,
    )
    model: Any = loaded.model
    known = {} if cache is None else {"past_key_values": cache}
    with torch.inference_mode():
        grown = model.generate(**asked, generation_config=settings, **known)
    texts = loaded.tokenizer.batch_decode(grown[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in texts]


def _prompt_read(loaded: LoadedModel, asked: Any) -> DynamicCache | None:
    """The cache of the prompts without their last token; None where the model's cache cannot be cut back."""
    model: Any = loaded.model
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    # Without positions of its own, a left-padded row would be read as if it began with its padding.
    if "position_ids" not in inspect.signature(base.forward).parameters or asked["input_ids"].shape[1] < 2:
        return None
    cache = DynamicCache(config=base.config)
    # Cutting back a sliding window, or a recurrent state, loses what had left it.
    if any(type(layer) is not DynamicLayer for layer in cache.layers):
        return None
    mask = asked["attention_mask"]
    with torch.inference_mode():
        model(
            input_ids=asked["input_ids"][:, :-1],
            attention_mask=mask[:, :-1],
            position_ids=_positions(mask)[:, :-1],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    return cache


def _losses_after(
    loaded: LoadedModel, batch: Sequence[Encoded], asked: Any, cache: DynamicCache
) -> list[tuple[float, int]]:
    """Mean loss and tokens of each right answer, from the prompts' cache, which is left as it was."""
    model: Any = loaded.model
    ends = [row.input_ids[row.prompt_tokens :] for row in batch]
    width = max(map(len, ends))
    filler = loaded.tokenizer.pad_token_id
    shown = torch.tensor([_right(end, width, filler)[:-1] for end in ends]).to(loaded.device)
    wanted = torch.tensor([_right(row.labels[row.prompt_tokens :], width, IGNORED) for row in batch])
    attended = torch.tensor([_right([1] * len(end), width, 0)[:-1] for end in ends]).to(asked["attention_mask"])
    mask = torch.cat([asked["attention_mask"], attended], dim=1)
    with torch.inference_mode():
        logits = model(
            input_ids=torch.cat([asked["input_ids"][:, -1:], shown.to(asked["input_ids"].dtype)], dim=1),
            attention_mask=mask,
            position_ids=_positions(mask)[:, -width:],
            past_key_values=cache,
            use_cache=True,
        ).logits
    cache.crop(-width)
    return _means(logits, wanted)


def _losses(loaded: LoadedModel, batch: Sequence[Encoded]) -> list[tuple[float, int]]:
    """Mean loss and tokens of each right answer."""
    model: Any = loaded.model
    width = max(len(row.input_ids) for row in batch)
    ids = torch.tensor([_right(row.input_ids, width, loaded.tokenizer.pad_token_id) for row in batch])
    labels = torch.tensor([_right(row.labels, width, IGNORED) for row in batch])
    attended = torch.tensor([_right([1] * len(row.input_ids), width, 0) for row in batch])
    # Only the places that foretell an answer token: logits over the whole prompt would need gigabytes.
    first = min(row.prompt_tokens for row in batch)
    with torch.inference_mode():
        logits = model(
            input_ids=ids.to(loaded.device),
            attention_mask=attended.to(loaded.device),
            logits_to_keep=width - first + 1,
        ).logits[:, :-1]
    return _means(logits, labels[:, first:])


def _means(logits: torch.Tensor, wanted: torch.Tensor) -> list[tuple[float, int]]:
    """Mean loss and count of the wanted tokens of each row; logits [rows, width, vocabulary], wanted [rows, width]."""
    labels = wanted.to(logits.device)
    each = cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    counts = (labels != IGNORED).sum(dim=1)
    return list(zip((each.sum(dim=1) / counts).tolist(), counts.tolist(), strict=True))


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """Positions as transformers counts them for left-padded rows, padding at 0."""
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


def _right(values: Sequence[int], width: int, filler: int) -> list[int]:
    return [*values, *[filler] * (width - len(values))]
