"""Tells the heartbeat of a training process which phase of which step its trainer is in.

In: the trainer's callbacks and the calls of its model. Out: `Heartbeat.at`. A step begins with its data; measuring and
saving belong to the step before.
"""

from typing import Any

from transformers import TrainerCallback

from train.heartbeat import Heartbeat


class Phases(TrainerCallback):
    """Follows one trainer."""

    def __init__(self, heart: Heartbeat, model: Any) -> None:
        self.heart = heart
        model.register_forward_pre_hook(self._forward)
        model.register_forward_hook(self._backward)
        if base := getattr(model, "get_base_model", None):
            # With an adapter, this is what is called for each token of an answer.
            base().register_forward_pre_hook(self._forward)

    def _forward(self, model: Any, inputs: Any) -> None:  # noqa: ARG002  # torch dictates the signature
        self.heart.at("forward" if model.training else self.heart.phase)

    def _backward(self, model: Any, inputs: Any, output: Any) -> None:  # noqa: ARG002  # torch dictates the signature
        if model.training:
            self.heart.at("backward")

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self.heart.at("data", state.global_step + 1)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self.heart.at("optimizer")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._next("evaluate" if control.should_evaluate else "save" if control.should_save else "data", state)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._next("save" if control.should_save else "data", state)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._next("data", state)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self.heart.at("end")

    def _next(self, phase: str, state: Any) -> None:
        self.heart.at(phase, state.global_step + (phase == "data"))
