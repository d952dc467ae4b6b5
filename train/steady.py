"""What every trainer of ours does besides training: it knows which rows a step is about.

A mixin for trainers of transformers and TRL. Collators put the places of their rows into a batch under `PLACES`; they
are taken out before the model sees the batch.
"""

from typing import Any

PLACES = "places"  # key of a batch: tensor [rows], places in `Steady.row_ids`


class Steady:
    """Mixed into a trainer class, before it.

    Attributes:
        row_ids: id of each row of the training data, by place.
        step_rows: ids of the rows of the optimizer step under way, in this process.
    """

    row_ids: "list[str]"
    step_rows: "list[str]"

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """One forward and backward pass."""
        places = inputs.pop(PLACES, None)
        self.step_rows = [self.row_ids[place] for place in places.tolist()] if places is not None else []
        return super().training_step(model, inputs, *args, **kwargs)  # type: ignore[misc]
