"""What every trainer of ours does besides training: it knows which examples a step is about, and leaves bad steps out.

A mixin for trainers of transformers and TRL. Collators put the places of their rows into a batch under `PLACES`; they
are taken out before the model sees the batch.

A step is bad when its loss or its gradient is not a number, or its loss jumps (`train.watch.spike`). A bad loss is
multiplied by NaN before the backward pass. So the gradients of that step are NaN in every process once they are summed,
under DeepSpeed too, which then discards the step by itself, and no process can think otherwise. What is left out is the
whole step: weights and Adam's moments stay bit by bit as they were, and the learning rate's schedule goes on.

With `on_bad_step: rewind` the process ends with `Again` instead, its launcher starts it again from the last checkpoint,
and the examples that the bad loss came from are not learnt (`train/badsteps.py` says which).

Known limit: under float16 a gradient that overflows is the loss scaler's business, and no bad step.
"""

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from train import stopping
from train.badsteps import Again, Watched, bad_row, bad_steps, named, note, too_many
from train.saving import cannot_write

if TYPE_CHECKING:
    from transformers import Trainer as Base
else:
    # A mixin: the trainer comes behind it in the list of bases.
    Base = object

log = logging.getLogger(__name__)

PLACES = "places"  # key of a batch: tensor [rows], places in `Steady.row_ids`


class Steady(Base):
    """Mixed into a trainer class, before it. It leaves no step out until `watched` is set.

    Attributes:
        row_ids: id of each row of the training data, by place.
        step_rows: ids of the rows of the optimizer step under way, in this process.
        watched: set by `train/fit.py` before training.
    """

    row_ids: "list[str]"
    step_rows: "list[str]"
    watched: Watched | None = None
    _fresh = True  # whether the next forward pass is the first of its step

    # What processes tell each other, under every launcher through torch.distributed.

    def agree(self, flag: bool) -> bool:
        """Whether any process says so; every process has to ask, and waits for the others."""
        return bool(_reduced(torch.tensor(float(flag), device=self.args.device), "MAX").item())

    def average(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of a number [] over all processes; every process has to ask."""
        return _reduced(value.detach().float().clone(), "SUM") / _world()

    def collect(self, value: Any) -> list[Any]:
        """What each process has given, by process; every process has to ask."""
        found: list[Any] = [value] * _world()
        if _distributed():
            torch.distributed.all_gather_object(found, value)
        return found

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """One forward and backward pass."""
        places = inputs.pop(PLACES, None)
        ids = [self.row_ids[place] for place in places.tolist()] if places is not None else []
        if self._fresh:
            self.step_rows = []
            if self.watched:
                self.watched.begin()
        self.step_rows = [*self.step_rows, *ids]
        if self.watched:
            self.watched.passes.append((ids, torch.tensor(math.nan)))
        self._fresh = bool(self.accelerator.sync_gradients)
        return super().training_step(model, inputs, *args, **kwargs)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The loss; in training NaN where it is bad, so that its gradients are."""
        found: Any = super().compute_loss(model, inputs, *args, **kwargs)
        if self.watched is None or not model.training:
            return found
        loss, *rest = found if isinstance(found, tuple) else (found,)
        share = self._share(loss.detach(), kwargs.get("num_items_in_batch"))
        self.watched.passes[-1] = (self.watched.passes[-1][0], share)
        good = torch.isfinite(share) & (not self._jumps(self.watched))
        loss = loss * torch.where(good, 1.0, math.nan).to(loss.dtype)
        return (loss, *rest) if rest else loss

    def _share(self, loss: torch.Tensor, items: Any) -> torch.Tensor:
        """What a pass adds to the loss of its step, by the rule of `Trainer.training_step`."""
        scaled = self.loss_is_scaled_for_ga
        if scaled is None:
            scaled = (self.model_accepts_loss_kwargs and items is not None) or self.compute_loss_func is not None
        return loss if scaled else loss / self.current_gradient_accumulation_steps

    def _jumps(self, watched: Watched) -> bool:
        # The last pass of a step is early enough: no gradient has been used yet, and the whole loss is known.
        if not watched.settings.spike or not self.accelerator.sync_gradients:
            return False
        return watched.jumps(self.average(watched.loss()).item())

    def _clip_grad_norm(self, model: Any) -> Any:
        """The norm of the gradients of a step before they are clipped; here it is decided whether the step is made."""
        norm = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        watched = self.watched
        if watched is None:
            return norm
        bad = self._is_bad(watched, norm)
        # One question a step; the answer is nearly always no.
        if self.agree(bad or bool(stopping.asked())):
            watched.stopping = next(filter(None, self.collect(stopping.asked())), "")
            if self.agree(bad):
                self._leave_out(watched, None if norm is None else float(norm))
                self._discard(model)
        return norm

    def _discard(self, model: Any) -> None:
        """Make nothing of the gradients; DeepSpeed and loss scalers have seen to that already."""
        if self._scales_loss():
            return
        if self.is_deepspeed_enabled:
            # Else the trainer would hold back the learning rate's schedule, as no other launcher makes it do.
            model.optimizer.overflow = False
        else:
            model.zero_grad(set_to_none=True)

    def _is_bad(self, watched: Watched, norm: Any) -> bool:
        if norm is not None and not self._scales_loss():
            return bool(watched.spiked) or not math.isfinite(float(norm))
        return bool(watched.spiked) or not math.isfinite(float(watched.loss()))

    def _scales_loss(self) -> bool:
        fp16 = getattr(self.model_wrapped, "fp16_enabled", None)
        return self.accelerator.scaler is not None or bool(fp16 and fp16())

    def _leave_out(self, watched: Watched, norm: float | None) -> None:
        """Note a bad step down, and end the run where that was one too many, or it goes back.

        Raises:
            ModelError: there are more bad steps than `max_bad_steps`.
            Again: with `on_bad_step: rewind`.
        """
        loss = self.average(watched.loss()).item()
        processes = self.collect(watched.passes_of_step())
        row = watched.bad = bad_row(self.state.global_step + 1, watched, loss, norm, processes)
        count = len(bad_steps(watched.folder)) + 1
        # Every process has counted before one of them writes.
        self.agree(False)
        if self.is_world_process_zero():
            log.warning("step %d is left out: %s; %s", row["step"], row["why"], named(row))
            note(watched.folder, row)
        # Left as it is, the trainer's running loss would stay NaN for ever; `log` gives the one of this step.
        self._tr_loss.zero_()
        if count > watched.settings.max_bad_steps:
            raise too_many(watched.folder, row, count)
        if watched.settings.on_bad_step == "rewind":
            raise Again(f"{row['why']} at step {row['step']}", "The run goes on from its last checkpoint")

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """What the trainer logs; a step that was left out with the loss that it had."""
        bad = self.watched.bad if self.watched else None
        if bad and "loss" in logs and bad["step"] == self.state.global_step:
            logs["loss"] = float(bad["loss"])
        super().log(logs, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The held-out loss, measured by every process on the same examples."""
        if self.watched is None or self.watched.measure is None:
            return super().evaluate(*args, **kwargs)
        metrics = self.watched.measure(self)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """One pass over the data; none where a run was killed between its last step and its end."""
        if self.state.global_step < self.state.max_steps and not self.control.should_training_stop:
            super()._run_epoch(*args, **kwargs)  # type: ignore[no-untyped-call]
        else:
            self.control.should_training_stop = True

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """A checkpoint; what a full disk leaves of it is deleted."""
        try:
            super()._save_checkpoint(model, trial)
        # Tokenizers raise plain exceptions.
        except Exception as error:
            begun = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
            if self.watched and (refused := cannot_write(begun, error, self.watched.folder)):
                raise refused from None
            raise

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Weights and tokenizer, without the pickle of its arguments that the trainer adds."""
        super()._save(output_dir, state_dict=state_dict)
        (Path(output_dir or str(self.args.output_dir)) / "training_args.bin").unlink(missing_ok=True)


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _world() -> int:
    return torch.distributed.get_world_size() if _distributed() else 1


def _reduced(value: torch.Tensor, how: str) -> torch.Tensor:
    if _distributed():
        torch.distributed.all_reduce(value, getattr(torch.distributed.ReduceOp, how))
    return value
