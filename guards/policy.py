"""Policies: which guards run at which stage, in which order, with what threshold and action.

A policy is a YAML file (`configs/policies/` has the presets), or the name of a preset:

    stages:
      input:                    # also: document, passage, output
        - guard: pii
          action: redact
          redact_as: pseudonym
        - guard: toxicity
          action: block
          on_failure: closed

In: a name or a file. Out: a `Policy`, or one line that says what is wrong with it. A `LivePolicy` follows its file
while a server runs; a file that has become wrong is refused, and the policy that was in force stays.
"""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import ConfigError, WellreadError
from configs.load import SHIPPED, read_yaml, unknown, validated
from guards.base import Action
from guards.rules import RULES, GuardRule, Resources
from guards.stage import Rule, Stage

STAGES = ("document", "input", "passage", "output")
ANSWERING = ("input", "passage", "output")
STORED_WITHOUT = ("secrets", "pii")
PRESETS = SHIPPED / "policies"

NOTHING = Resources()

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Policy:
    """The guards of every stage.

    Attributes:
        name: the preset's name, or the file.
        version: names the rules' content; layout and comments do not count.
        stages: by name, all four of them; one that the file leaves out has no guards.
        scrub: redacts what may not be stored: the kinds of `STORED_WITHOUT` that a question or an answer is checked
            for, whatever is done with them there.
    """

    name: str
    version: str
    stages: Mapping[str, Stage]
    scrub: Stage

    def stage(self, name: str) -> Stage:
        """The guards of a stage."""
        return self.stages[name]

    def warm_up(self, *stages: str) -> None:
        """Load what the guards of these stages need.

        Raises:
            ConfigError: one of them cannot be loaded.
        """
        for stage in stages:
            for rule in self.stages[stage].rules:
                _warm_up(f"{self.name}: {stage}", rule)


def check_policy(name: str) -> None:
    """Read a policy without building its guards.

    Raises:
        ConfigError: there is no such policy, or something in it is unknown or ill-typed.
    """
    _read(_file(name))


def load_policy(name: str, resources: Resources = NOTHING, only: Sequence[str] = STAGES) -> Policy:
    """Read a policy and build its guards.

    Args:
        name: a preset (`strict`, `balanced`, `off`) or a YAML file.
        only: stages to build; the others stay empty, so that what their guards need is not asked for.

    Raises:
        ConfigError: there is no such policy, or something in it is unknown, ill-typed or cannot be built.
    """
    file = _file(name)
    rules = _read(file)
    wanted = {stage: rules.get(stage, []) if stage in only else [] for stage in STAGES}
    stages = {stage: Stage([_built(rule, resources) for _, rule in listed]) for stage, listed in wanted.items()}
    content = {
        stage: [[guard, rule.model_dump(mode="json")] for guard, rule in listed] for stage, listed in rules.items()
    }
    version = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    return Policy(name, version, stages, Stage(_scrubbing(wanted, resources)))


class LivePolicy:
    """A policy that is read again when its file changes.

    The file is looked at when a stage is asked for, at most once in `every_s` seconds, and read in a thread of its own;
    until the new policy is loaded, and when it is wrong, the old one answers.
    """

    def __init__(self, name: str, resources: Resources, *, every_s: float = 1.0) -> None:
        self._name, self._resources, self._every_s = name, resources, every_s
        self._file = _file(name)
        self._seen = self._state()
        self._looked = time.monotonic()
        self._lock = threading.Lock()
        self.refused = 0
        self.policy = load_policy(name, resources, ANSWERING)

    @property
    def scrub(self) -> Stage:
        """See `Policy.scrub`."""
        return self.policy.scrub

    def stage(self, name: str) -> Stage:
        """The guards of a stage as they are in force now."""
        if time.monotonic() - self._looked > self._every_s and self._lock.acquire(blocking=False):
            self._looked = time.monotonic()
            threading.Thread(target=self._follow, name="policy", daemon=True).start()
        return self.policy.stages[name]

    def _follow(self) -> None:
        try:
            state = self._state()
            if state == self._seen:
                return
            self._seen = state
            policy = load_policy(self._name, self._resources, ANSWERING)
            policy.warm_up(*ANSWERING)
            self.policy = policy
            logger.info("policy %s read again: version %s", self._name, policy.version)
        except WellreadError as error:
            self.refused += 1
            logger.warning("policy %s refused, the earlier one stays: %s", self._name, error)
        finally:
            self._lock.release()

    def _state(self) -> tuple[int, int] | None:
        try:
            stat = self._file.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size


def _file(name: str) -> Path:
    preset = PRESETS / f"{name}.yaml"
    file = preset if preset.parent == PRESETS and preset.exists() else Path(name)
    if file.is_file():
        return file
    presets = [path.stem for path in PRESETS.glob("*.yaml")]
    raise ConfigError(unknown(f"policy {name!r}", name, presets), "Name a preset or a YAML file")


def _read(file: Path) -> dict[str, list[tuple[str, GuardRule]]]:
    tree = read_yaml(file)
    remedy = f"Edit {file}"
    for key in tree.keys() - {"description", "stages"}:
        raise ConfigError(unknown(f"key {key}", key, ("description", "stages")), remedy)
    if "stages" not in tree:
        # An editor that has emptied a file and not yet written it must not switch every guard off.
        raise ConfigError(f"{file} has no stages", f"{remedy}, or name the preset off")
    stages = tree["stages"] or {}
    if not isinstance(stages, dict):
        raise ConfigError(f"stages = {stages!r} is not a mapping of stages to lists of guards", remedy)
    for key in stages.keys() - set(STAGES):
        raise ConfigError(unknown(f"stage {key}", key, STAGES), remedy)
    return {stage: _rules(stage, listed, remedy) for stage, listed in stages.items()}


def _rules(stage: str, listed: object, remedy: str) -> list[tuple[str, GuardRule]]:
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise ConfigError(f"stages.{stage} = {listed!r} is not a list of guards", remedy)
    return [_rule(f"stages.{stage}.{place}", entry, remedy) for place, entry in enumerate(listed, 1)]


def _rule(path: str, entry: object, remedy: str) -> tuple[str, GuardRule]:
    if not isinstance(entry, dict) or "guard" not in entry:
        raise ConfigError(f"{path} = {entry!r} names no guard", f"{remedy}: write it like `guard: pii`")
    options: dict[str, Any] = dict(entry)
    guard = options.pop("guard")
    if guard not in RULES:
        raise ConfigError(unknown(f"guard {path}.guard = {guard!r}", guard, RULES), remedy)
    return guard, validated(RULES[guard], options, remedy, f"{path} ({guard}): ")


def _built(settings: GuardRule, resources: Resources) -> Rule:
    return Rule(
        settings.build(resources),
        closed=settings.on_failure == "closed",
        timeout_s=settings.timeout_s,
        mutates=settings.action is Action.REDACT,
    )


def _scrubbing(rules: Mapping[str, list[tuple[str, GuardRule]]], resources: Resources) -> list[Rule]:
    said = [rule for stage in ("input", "output") for rule in rules.get(stage, [])]
    first = [next((rule for guard, rule in said if guard == name), None) for name in STORED_WITHOUT]
    return [_built(rule.model_copy(update={"action": Action.REDACT}), resources) for rule in first if rule is not None]


def _warm_up(where: str, rule: Rule) -> None:
    load = getattr(rule.guard, "warm_up", None)
    try:
        if load is not None:
            load()
    except WellreadError as error:
        raise ConfigError(
            f"{where}: the guard {rule.guard.name} cannot be loaded: {error.problem}", error.remedy
        ) from None
    # Any library may break while it loads; the reader gets one line all the same.
    except Exception as error:
        problem = f"{where}: the guard {rule.guard.name} cannot be loaded: {type(error).__name__}: {error}"
        raise ConfigError(problem, "Install what it needs, or drop the rule") from error
