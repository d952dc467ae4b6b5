"""Settings of the search for hyperparameters, `wellread train sweep`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from configs.section import Positive, Section


class RangeSettings(Section):
    """What one setting is tried with: a list of choices, or a range."""

    choices: tuple[str | float | int | bool, ...] = ()
    """Values to choose from."""
    low: float | None = None
    """Smallest value of a range."""
    high: float | None = None
    """Largest value of a range."""
    log: bool = False
    """Whether a range is searched on a logarithmic scale."""
    whole: bool = False
    """Whether a range holds whole numbers only."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        ranged = self.low is not None and self.high is not None and self.low < self.high
        if bool(self.choices) == ranged:
            raise ValueError("give either choices, or low and high with low < high")
        return self


SPACE = {
    "train.learning_rate": RangeSettings(low=5e-5, high=2e-3, log=True),
    "train.lora.rank": RangeSettings(choices=(8, 16, 32)),
}


class SweepSettings(Section):
    """Search for hyperparameters."""

    sampler: Literal["grid", "random", "bayes"] = "bayes"
    """`grid` tries every combination of choices, `random` draws, `bayes` learns from the trials so far (tree-structured
    Parzen estimator, Bergstra et al. 2011)."""
    trials: Positive = 12
    """Trials at most, those of an earlier call of the same sweep included."""
    parallel: Positive = 1
    """Trials that run at once."""
    space: dict[str, RangeSettings] = Field(default_factory=lambda: dict(SPACE))
    """Names of settings, and what each is tried with."""
    figure: str = "holdout_loss_after"
    """What is to become better."""
    direction: Literal["minimize", "maximize"] = "minimize"
    """Whether smaller or larger is better."""
    prune: bool = True
    """Stop a trial early whose held-out loss is worse than the median of the others at the same step; needs
    `train.watch.eval_steps`."""
    goal: float | None = None
    """Stop the search when a trial reaches this."""
    hours: Annotated[float, Field(ge=0)] = 0.0
    """Stop starting trials after so many hours; 0 is without limit."""
