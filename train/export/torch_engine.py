"""A model in transformers, asked as every export is asked: the reference of the parity gate.

In: a `LoadedModel`. Out: an `Engine`. Known limit: one prompt at a time, so that no padding can play a part.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from train.chat import Turn, prompt_text
from train.model import LoadedModel, stop_ids


class TorchEngine:
    """transformers on the device that the model was loaded on."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self._model: Any = loaded.model

    def tokens(self, text: str) -> list[int]:
        return list(self.loaded.tokenizer(text, add_special_tokens=False)["input_ids"])

    def prompt(self, messages: Sequence[Turn]) -> str:
        return prompt_text(self.loaded.tokenizer, messages)

    def greedy(self, prompt: Sequence[int], most: int) -> list[int]:
        # Settings of their own: those that come with a model may hold a repetition penalty.
        settings = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False,
            max_new_tokens=most,
            eos_token_id=sorted(stop_ids(self.loaded)),
            pad_token_id=self.loaded.tokenizer.pad_token_id,
        )
        ids = torch.tensor([list(prompt)], device=self.loaded.device)
        with torch.inference_mode():
            grown = self._model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        return [int(token) for token in grown[0, len(prompt) :]]

    def logprobs(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        ids = torch.tensor([[*prompt, *answer]], device=self.loaded.device)
        with torch.inference_mode():
            logits = self._model(
                input_ids=ids, attention_mask=torch.ones_like(ids), logits_to_keep=len(answer) + 1
            ).logits
        # The last place foretells what comes after the answer.
        found = logits[0, :-1].float().log_softmax(-1).gather(1, ids[0, len(prompt) :, None])
        return [float(value) for value in found[:, 0]]
