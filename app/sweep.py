"""`wellread train sweep`: searches for hyperparameters, and shows the trials."""

from typing import TYPE_CHECKING

from app.console import Progress, show_json, show_rows, tell
from app.options import AsJson, ConfigFile, Debug, Overrides
from configs.load import load_config

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from train.sweep.study import Swept


def sweep(config: ConfigFile = None, set_: Overrides = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """Search for hyperparameters by training several times; the best model becomes the newest one."""
    from train.sweep.stage import run_sweep
    from train.sweep.study import as_row

    settings = load_config(config, set_ or ())
    with Progress() as progress:
        swept, version = run_sweep(settings, progress)
    if as_json:
        best = swept.best.number if swept.best else None
        rows = [as_row(trial) for trial in swept.trials]
        show_json({"best": best, "model": version.id, "trials": rows})
        return
    _show(swept, settings.sweep.figure, minimize=settings.sweep.direction == "minimize")
    if swept.best:
        chosen = " ".join(f"--set {name}={value}" for name, value in swept.best.params.items())
        tell(f"The best is trial {swept.best.number}, model {version.id}: {chosen}")


def _show(swept: "Swept", figure: str, *, minimize: bool) -> None:
    def rank(trial: "FrozenTrial") -> tuple[bool, float]:
        value = trial.value if trial.value is not None else 0.0
        return trial.value is None, value if minimize else -value

    names = list(dict.fromkeys(name for trial in swept.trials for name in trial.params))
    rows = [
        (
            trial.number,
            *(_short(trial.params.get(name)) for name in names),
            _short(trial.value),
            trial.state.name.lower(),
            trial.user_attrs.get("seconds"),
        )
        for trial in sorted(swept.trials, key=rank)
    ]
    show_rows(f"Trials, {swept.folder}", ("trial", *names, figure, "state", "seconds"), rows)


def _short(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value
