"""What TRL's trainer for language modelling does not do itself: rows that count more than others, and counts of packed
tokens.

A mixin for `SFTTrainer`. A batch may hold `weights` [rows, tokens], of each token's example; a row of weight 2 then
counts as if it stood there twice: the loss is the weighted sum over all tokens of a step, divided by the sum of their
weights. Without `weights` TRL's own loss is taken, untouched.
"""

from typing import Any

import torch

from train.chat import IGNORED

WEIGHTS = "weights"


class Weighing:
    """Mixed into a trainer class, between `Steady` and TRL's."""

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The batches of a step, and what its summed loss is divided by: their tokens, or the sum of weights."""
        batches, count = super().get_batch_samples(epoch_iterator, num_batches, device)  # type: ignore[misc]
        if count is not None and batches and WEIGHTS in batches[0]:
            count = torch.stack([_answered(batch).sum() for batch in batches]).sum().to(device)
            if self.args.average_tokens_across_devices and self.args.world_size > 1:  # type: ignore[attr-defined]
                count = self.accelerator.gather(count).sum()  # type: ignore[attr-defined]
        return batches, count

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """TRL's loss; of weighed tokens where there are weights."""
        weights = inputs.pop(WEIGHTS, None)
        positions = inputs.get("position_ids")
        asked = model if weights is None else Weighed(model, weights)
        found = super().compute_loss(asked, inputs, *args, **kwargs)  # type: ignore[misc]
        if positions is not None and model.training:
            self._count(positions)
        return found

    def _count(self, positions: torch.Tensor) -> None:
        """TRL counts a packed batch as one row, padding included; here its tokens are counted."""
        # An example has one position 1; padding has none, each of its tokens is at position 0.
        useful = (positions > 0).sum() + (positions == 1).sum()
        wrong = torch.tensor(positions.size(1), device=positions.device)
        more = self.accelerator.gather_for_metrics(useful - wrong).sum().item()  # type: ignore[attr-defined]
        self._total_train_tokens: int
        self._total_train_tokens += int(more)
        self._metrics["train"]["num_tokens"] = [self._total_train_tokens]  # type: ignore[attr-defined]


class Weighed:
    """A model whose log-probabilities are multiplied by weights [rows, tokens]."""

    def __init__(self, model: Any, weights: torch.Tensor) -> None:
        self.model, self.weights = model, weights
        self.training = model.training

    def __call__(self, **inputs: Any) -> Any:
        outputs = self.model(**inputs)
        # Log-probabilities are of the next token, so there is one less of them.
        outputs.log_probs = outputs.log_probs * self.weights[:, 1:]
        return outputs


def _answered(batch: dict[str, Any]) -> torch.Tensor:
    """Weights [rows, tokens - 1] of the tokens that are learnt, 0 elsewhere."""
    weights: torch.Tensor = batch[WEIGHTS][:, 1:] * (batch["labels"][:, 1:] != IGNORED)
    return weights
