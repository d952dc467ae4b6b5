"""The space that a sweep searches: from settings to draws of Optuna.

In: names of settings and what each is tried with (`configs.sweep`). Out: values for one trial, or the grid of all.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any

from optuna import Trial

from configs.errors import ConfigError
from configs.sweep import RangeSettings

Space = Mapping[str, RangeSettings]
Value = str | float | int | bool


def drawn(trial: Trial, space: Space) -> dict[str, Value]:
    """A value for each setting, as the trial's sampler chooses."""
    return {name: _one(trial, name, asked) for name, asked in space.items()}


def combinations(space: Space) -> list[dict[str, Value]]:
    """Every combination of the choices.

    Raises:
        ConfigError: a setting has a range, which has no end of values.
    """
    for name, asked in space.items():
        if not asked.choices:
            raise ConfigError(
                f"sweep.space.{name} is a range, and sweep.sampler = 'grid' tries every combination of choices",
                "Give choices, or take the sampler random or bayes",
            )
    return [dict(zip(space, values, strict=True)) for values in product(*(asked.choices for asked in space.values()))]


def _one(trial: Trial, name: str, asked: RangeSettings) -> Any:
    if asked.choices:
        return trial.suggest_categorical(name, list(asked.choices))
    # `RangeSettings` has made sure of both ends.
    low, high = float(asked.low or 0.0), float(asked.high or 0.0)
    if asked.whole:
        return trial.suggest_int(name, round(low), round(high), log=asked.log)
    return trial.suggest_float(name, low, high, log=asked.log)
