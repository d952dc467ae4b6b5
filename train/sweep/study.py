"""The search for hyperparameters: trials of training runs, the best of which becomes the newest model.

In: the settings, of which `sweep` says what to vary. Out: `<root>/sweeps/<id>/` with Optuna's study (`study.db`), the
trials as a table (`trials.jsonl`) and as a picture; the model version of the best trial; in MLflow a run for the sweep,
with each trial's run nested in it.

A sweep is named by its inputs, so the same command goes on where it was stopped: a trial that was under way is tried
again with the same values, and raising `trials` adds to those that are there. Models of trials that lost are removed,
since their figures are kept.

Known limit: trials share one machine; those that run at once share its cores and memory.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import optuna
from optuna.trial import FrozenTrial, TrialState

from configs.artifacts import locked, work_of, write_text_atomic
from configs.errors import ConfigError, ModelError, WellreadError
from configs.evaluation import FigureName
from configs.load import changed, unknown
from configs.schema import Config
from configs.sweep import SweepSettings
from train.sweep.space import combinations, drawn

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]
Measured = Callable[[int, float], None]
# Trains with these settings, telling (step, held-out loss) on the way; returns the model's id and its figures.
Train = Callable[[Config, Measured], tuple[str, Mapping[str, float]]]
STUDY, TRIALS = "study.db", "trials.jsonl"
# Figures that training itself takes.
TRAINED = ("holdout_loss_after", "holdout_loss_best", "loss_last", "tokens_per_second", "training_seconds")
MODEL, SECONDS, REASON = "model", "seconds", "reason"  # what is noted of a trial beside its value


class Stopped(Exception):  # noqa: N818  # nothing is wrong: somebody pressed Ctrl-C
    """The sweep is being stopped."""


@dataclass(frozen=True)
class Swept:
    """What a sweep found.

    Attributes:
        folder: of the sweep.
        trials: all that ended, in their order.
        best: of those that were completed; None while there is none.
    """

    folder: Path
    trials: tuple[FrozenTrial, ...]
    best: FrozenTrial | None


def sweep_id(config: Config, examples: str) -> str:
    """Name of the sweep: hash of all that its trials have in common."""
    asked = config.sweep.model_dump(mode="json", exclude={"trials", "parallel", "goal", "hours"})
    common = {"model": config.model.model_dump(mode="json"), "train": config.train.model_dump(mode="json")}
    return work_of("sweeps", {"sweep": asked, "seed": config.seed, "examples": examples, **common})


def search(config: Config, folder: Path, train: Train, progress: Progress) -> Swept:
    """Run trials until there are enough, the goal is reached, or the time is over.

    Args:
        train: called from threads, `sweep.parallel` at once.

    Raises:
        ConfigError: a setting of the space is unknown, or a value in it is not allowed.
        KeyboardInterrupt: passed on after the trials under way have been stopped.
    """
    check_space(config)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock", "at work on the same sweep"):
        study = _open(config.sweep, folder, config.seed)
        _try_again(study)
        _Pool(study, config, train, progress).run()
        swept = Swept(folder, tuple(_ended(study)), _best(study))
        write_text_atomic(folder / TRIALS, "".join(json.dumps(as_row(trial)) + "\n" for trial in swept.trials))
    return swept


def best_of(swept: Swept) -> FrozenTrial:
    """The best trial.

    Raises:
        ModelError: none was completed; the message holds the last reason.
    """
    if swept.best is None:
        reasons = [str(trial.user_attrs.get(REASON, "pruned")) for trial in swept.trials] or ["there was no time"]
        raise ModelError(
            f"none of {len(swept.trials)} trials was completed; the last: {reasons[-1]}",
            "Make sweep.space narrower, or see the message",
        )
    return swept.best


def as_row(trial: FrozenTrial) -> dict[str, Any]:
    """A trial as JSON values."""
    kept = {name: trial.user_attrs.get(name) for name in (MODEL, SECONDS, REASON)}
    return {"trial": trial.number, "state": trial.state.name.lower(), "value": trial.value, **trial.params, **kept}


class _Pool:
    """Trials in threads; each trains in processes of its own."""

    def __init__(self, study: optuna.Study, config: Config, train: Train, progress: Progress) -> None:
        self.study, self.config, self.train, self.progress = study, config, train, progress
        self.settings = config.sweep
        self.stopped = threading.Event()
        self.deadline = time.monotonic() + 3600 * self.settings.hours if self.settings.hours else float("inf")

    def run(self) -> None:
        running: set[Future[None]] = set()
        with ThreadPoolExecutor(self.settings.parallel) as pool, self._stopping():
            while True:
                while len(running) < self.settings.parallel and self._more(len(running)):
                    running.add(pool.submit(self._one, self.study.ask()))
                self._tell()
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            # Threads see it when their training tells of its next step.
            self.stopped.set()
            raise

    def _more(self, running: int) -> bool:
        if len(_ended(self.study)) + running >= self.settings.trials or time.monotonic() > self.deadline:
            return False
        if self.settings.sampler == "grid" and not self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            return False
        best, goal = _best(self.study), self.settings.goal
        if best is None or best.value is None or goal is None:
            return True
        return best.value > goal if self.settings.direction == "minimize" else best.value < goal

    def _tell(self) -> None:
        self.progress("trials", len(_ended(self.study)), self.settings.trials)

    def _one(self, trial: optuna.Trial) -> None:
        started = time.monotonic()
        try:
            values = drawn(trial, self.settings.space)
            trained = changed(self.config, values, "Change sweep.space")
            model, figures = self.train(trained, lambda step, loss: self._measured(trial, step, loss))
            trial.set_user_attr(MODEL, model)
            if self.settings.figure not in figures:
                raise ModelError(f"there is no figure {self.settings.figure!r}", f"Known: {', '.join(sorted(figures))}")
            trial.set_user_attr(SECONDS, round(time.monotonic() - started, 1))
            self.study.tell(trial, float(figures[self.settings.figure]))
        except optuna.TrialPruned:
            self.study.tell(trial, state=TrialState.PRUNED)
        except Stopped:
            return
        except WellreadError as error:
            # Too little memory for one combination must not cost the others.
            log.warning("trial %d failed: %s", trial.number, error)
            trial.set_user_attr(REASON, str(error))
            self.study.tell(trial, state=TrialState.FAIL)

    def _measured(self, trial: optuna.Trial, step: int, loss: float) -> None:
        if self.stopped.is_set():
            raise Stopped
        if self.settings.prune and loss == loss:
            trial.report(loss, step)
            if trial.should_prune():
                raise optuna.TrialPruned


def _open(settings: SweepSettings, folder: Path, seed: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{(folder / STUDY).resolve()}",
        study_name="sweep",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3) if settings.prune else optuna.pruners.NopPruner(),
        direction=settings.direction,
        load_if_exists=True,
    )
    # A search that goes on with the same seed would draw the same values again.
    seed += len(study.get_trials(deepcopy=False))
    bayes = settings.sampler == "bayes"
    study.sampler = optuna.samplers.TPESampler(seed=seed) if bayes else optuna.samplers.RandomSampler(seed=seed)
    # Optuna's own grid sampler can end only a loop of Optuna's.
    for values in combinations(settings.space) if settings.sampler == "grid" else ():
        study.enqueue_trial(values, skip_if_exists=True)
    return study


def check_space(config: Config) -> None:
    """Whether there is such a figure, and every end of a range and every choice is allowed: before hours are spent.

    Raises:
        ConfigError: not so.
    """
    allowed = (*TRAINED, *get_args(FigureName))
    if config.sweep.figure not in allowed:
        raise ConfigError(
            unknown(f"figure sweep.figure = {config.sweep.figure!r}", config.sweep.figure, allowed),
            "Figures of the evaluation cost an evaluation for each trial",
        )
    for name, asked in config.sweep.space.items():
        ends = [value for value in (asked.low, asked.high) if value is not None]
        for value in asked.choices or [round(end) if asked.whole else end for end in ends]:
            changed(config, {name: value}, f"Change sweep.space.{name}")


def _try_again(study: optuna.Study) -> None:
    """Trials that a killed sweep left under way get a new number and the same values."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        # One that was killed before it drew its values has none to repeat.
        if trial.params:
            study.enqueue_trial(trial.params, user_attrs={"repeats": trial.number})


def _ended(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that count: those that were killed do not."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    trials = study.get_trials(deepcopy=False, states=states)
    return [trial for trial in trials if trial.state != TrialState.FAIL or REASON in trial.user_attrs]


def _best(study: optuna.Study) -> FrozenTrial | None:
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return study.best_trial if done else None
