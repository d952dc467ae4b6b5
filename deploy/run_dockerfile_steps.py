"""Exercises the Dockerfile where no container engine runs: its COPY and RUN steps in a scratch folder.

    python -m deploy.run_dockerfile_steps --dry-run              parse, copy, and say what would run
    python -m deploy.run_dockerfile_steps --scratch FOLDER       run the RUN steps too (installs everything)

In: a Dockerfile and its build context. Out: one line a step, and an error where a step cannot work: a COPY source that
does not exist or is ignored, a RUN that fails, a program that the image starts and that is not there.

Each stage's file system is a folder `<scratch>/<stage>`; absolute paths of the image are mapped below it. Known limits:
the base image is the machine's own system; steps that need root or change the system are skipped with the reason; a
virtual environment copied between stages still points at the first stage, where it runs from; heredocs, ADD, SHELL and
ONBUILD are refused.
"""

import argparse
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

logger = logging.getLogger("dockerfile")

SYSTEM_STEPS = {
    "apt-get": "changes the system's packages",
    "useradd": "changes the system's users",
    "groupadd": "changes the system's users",
    "install": "needs root to give files to another user",
}
NOTES = {"LABEL", "EXPOSE", "VOLUME", "USER", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT", "CMD"}


class StepError(Exception):
    """A step of the Dockerfile cannot work."""


@dataclass(frozen=True)
class Step:
    """One instruction. `text` is what follows the keyword, with continuation lines joined."""

    line: int
    keyword: str
    text: str


@dataclass
class Stage:
    """A build stage while it is exercised: its folder, variables and working directory inside the image."""

    name: str
    root: Path
    variables: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"

    def at(self, path: str) -> Path:
        """Where a path of the image lies in the scratch folder."""
        inside = os.path.normpath(os.path.join(self.workdir, path))  # noqa: PTH118 - these are the image's paths
        return self.root / inside.lstrip("/")


def parse(text: str) -> list[Step]:
    """The instructions of a Dockerfile, comments left out and continuation lines joined.

    Raises:
        StepError: a heredoc, or an instruction that is not understood.
    """
    steps: list[Step] = []
    joined, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        first = first or number
        if line.rstrip().endswith("\\"):
            joined += line.rstrip()[:-1] + " "
            continue
        keyword, _, rest = (joined + line).strip().partition(" ")
        steps.append(_checked(Step(first, keyword.upper(), " ".join(rest.split()))))
        joined, first = "", 0
    return steps


def _checked(step: Step) -> Step:
    if step.keyword not in NOTES | {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN"}:
        raise StepError(f"line {step.line}: {step.keyword} is not understood")
    if "<<" in step.text:
        raise StepError(f"line {step.line}: heredocs are not understood")
    return step


def kept_files(context: Path) -> list[Path]:
    """Files of the build context that `.dockerignore` leaves in, relative to the context. The last match wins."""
    rules = _ignore_rules(context / ".dockerignore")
    return sorted(path for path in _walk(context, context, rules) if not _ignored(path, rules))


def _walk(folder: Path, context: Path, rules: list[tuple[str, bool]]) -> Iterator[Path]:
    reincluded = [pattern for pattern, ignore in rules if not ignore]
    for path in folder.iterdir():
        relative = path.relative_to(context)
        if not path.is_dir():
            yield relative
        elif not _ignored(relative, rules) or any(rule.startswith(f"{relative}/") for rule in reincluded):
            yield from _walk(path, context, rules)


def _ignore_rules(file: Path) -> list[tuple[str, bool]]:
    if not file.exists():
        return []
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    return [(line.lstrip("!").strip("/"), not line.startswith("!")) for line in lines if line and line[0] != "#"]


def _ignored(path: Path, rules: list[tuple[str, bool]]) -> bool:
    names = [path, *path.parents][:-1]
    verdict = False
    for pattern, ignore in rules:
        if any(_matches(name, pattern) for name in names):
            verdict = ignore
    return verdict


def _matches(path: Path, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return any(fnmatchcase(part, pattern[3:]) for part in path.parts)
    same_depth = len(path.parts) == pattern.count("/") + 1
    return same_depth and fnmatchcase(path.as_posix(), pattern)


class Build:
    """Goes through the steps of one Dockerfile.

    Args:
        context: the build context, holding what COPY names.
        scratch: an empty folder that receives one folder for each stage.
        dry_run: say what RUN would do instead of doing it.
    """

    def __init__(self, context: Path, scratch: Path, *, dry_run: bool) -> None:
        self.context = context
        self.scratch = scratch
        self.dry_run = dry_run
        self.stages: dict[str, Stage] = {}
        self.ran: list[str] = []
        self.skipped: list[str] = []
        self._global_variables: dict[str, str] = {}
        self._files = kept_files(context)
        self._starts: list[str] = []

    def run(self, steps: list[Step]) -> Stage:
        """Exercise every step and return the last stage.

        Raises:
            StepError: a step cannot work.
        """
        actions: Mapping[str, Callable[[Step, Stage], None]] = {
            "ARG": self._arg,
            "ENV": self._env,
            "WORKDIR": self._workdir,
            "COPY": self._copy,
            "RUN": self._run,
        }
        stage: Stage | None = None
        for step in steps:
            logger.info("line %d: %s %s", step.line, step.keyword, step.text)
            if step.keyword == "FROM":
                stage = self._from(step)
            elif stage is None and step.keyword == "ARG":
                self._global_variables.update(_assignment(step.text))
            elif stage is None:
                raise StepError(f"line {step.line}: {step.keyword} stands before the first FROM")
            elif step.keyword in actions:
                actions[step.keyword](step, stage)
            elif step.keyword in ("ENTRYPOINT", "HEALTHCHECK"):
                self._starts.append(_program(step))
        if stage is None:
            raise StepError("there is no FROM")
        self._check_starts(stage)
        return stage

    def _from(self, step: Step) -> Stage:
        match = re.fullmatch(r"(\S+)(?: AS (\S+))?", step.text, re.IGNORECASE)
        if not match:
            raise StepError(f"line {step.line}: FROM {step.text} is not understood")
        name = match[2] or str(len(self.stages))
        stage = Stage(name, self.scratch / name)
        stage.root.mkdir(parents=True)
        self.stages[name] = stage
        self._starts.clear()
        logger.info("  base %s: this machine stands in for it", _expand(match[1], self._global_variables))
        return stage

    def _arg(self, step: Step, stage: Stage) -> None:
        stage.variables.update(_assignment(step.text))

    def _env(self, step: Step, stage: Stage) -> None:
        for word in shlex.split(step.text):
            name, _, value = word.partition("=")
            known = {"PATH": os.environ.get("PATH", ""), **stage.variables, **stage.environment}
            stage.environment[name] = ":".join(_mapped(part, stage) for part in _expand(value, known).split(":"))

    def _workdir(self, step: Step, stage: Stage) -> None:
        folder = stage.at(step.text)
        folder.mkdir(parents=True, exist_ok=True)
        stage.workdir = "/" + folder.relative_to(stage.root).as_posix()

    def _copy(self, step: Step, stage: Stage) -> None:
        words = [word for word in shlex.split(step.text) if not word.startswith("--")]
        options = dict(word[2:].split("=", 1) for word in shlex.split(step.text) if word.startswith("--"))
        *sources, target = words
        for source in sources:
            if "from" in options:
                self._copy_from(step, options["from"], source, stage.at(target))
            else:
                self._copy_context(step, source, stage.at(target))

    def _copy_from(self, step: Step, name: str, source: str, target: Path) -> None:
        if name not in self.stages:
            raise StepError(f"line {step.line}: there is no stage {name!r}; there are {', '.join(self.stages)}")
        origin = self.stages[name].root / source.lstrip("/")
        if not origin.exists():
            raise StepError(f"line {step.line}: {source} is not in stage {name}")
        shutil.copytree(origin, target, symlinks=True, dirs_exist_ok=True)

    def _copy_context(self, step: Step, source: str, target: Path) -> None:
        base = Path(os.path.normpath(source))
        whole = base == Path()
        files = [path for path in self._files if whole or path == base or base in path.parents]
        if not files:
            raise StepError(f"line {step.line}: {source} is not in the build context, or .dockerignore leaves it out")
        for path in files:
            place = target / (path.relative_to(base) if base in path.parents or whole else path.name)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.context / path, place)
        logger.info("  %d files", len(files))

    def _run(self, step: Step, stage: Stage) -> None:
        command = re.sub(r"^(--\S+ )+", "", step.text)
        if reason := _why_skipped(command):
            self.skipped.append(command)
            logger.info("  skipped: %s", reason)
            return
        self.ran.append(command)
        if self.dry_run:
            logger.info("  would run in %s", stage.at("."))
            return
        environment = {**os.environ, **stage.variables, **stage.environment}
        done = subprocess.run(["/bin/sh", "-ec", command], cwd=stage.at("."), env=environment, check=False)  # noqa: S603 - runs what this repository's Dockerfile says
        if done.returncode:
            raise StepError(f"line {step.line}: {command!r} failed with exit code {done.returncode}")

    def _check_starts(self, stage: Stage) -> None:
        path = stage.environment.get("PATH", os.environ.get("PATH", ""))
        for program in self._starts:
            if self.dry_run:
                logger.info("starts %s", program)
            elif not shutil.which(program, path=path):
                raise StepError(f"the image starts {program!r}, which is not on its PATH {path}")


def _assignment(text: str) -> dict[str, str]:
    name, _, value = text.partition("=")
    return {name: value.strip('"')}


def _expand(text: str, known: Mapping[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda match: known.get(match[1], ""), text)


def _mapped(part: str, stage: Stage) -> str:
    """An absolute path of the image, below the stage's folder; anything else, and the machine's own PATH, unchanged."""
    own = part in os.environ.get("PATH", "").split(":")
    return str(stage.root / part.lstrip("/")) if part.startswith("/") and not own else part


def _why_skipped(command: str) -> str:
    programs = [words[0] for part in re.split(r"&&|;|\|\|", command) if (words := part.split())]
    return next((SYSTEM_STEPS[program] for program in programs if program in SYSTEM_STEPS), "")


def _program(step: Step) -> str:
    found = re.search(r"\[.*\]", step.text)
    if not found:
        raise StepError(f"line {step.line}: {step.keyword} should be a JSON list, so that signals reach the program")
    return str(json.loads(found[0])[0])


def main() -> None:
    here = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(prog="python -m deploy.run_dockerfile_steps")
    parser.add_argument("--dry-run", action="store_true", help="copy files, but only say what RUN would do")
    parser.add_argument("--scratch", type=Path, help="keep the stages in this empty folder")
    parser.add_argument("--file", type=Path, default=here / "Dockerfile")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    with tempfile.TemporaryDirectory() as temporary:
        build = Build(here, options.scratch or Path(temporary), dry_run=options.dry_run)
        try:
            build.run(parse(options.file.read_text(encoding="utf-8")))
        except StepError as error:
            sys.exit(f"{options.file.name}: {error}")
    logger.info(
        "done: %d RUN steps %s, %d skipped", len(build.ran), "parsed" if options.dry_run else "run", len(build.skipped)
    )


if __name__ == "__main__":
    main()
