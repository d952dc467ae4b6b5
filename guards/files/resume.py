"""Moderates a file into another, so that it can be stopped at any moment and goes on where it was.

In: a `Job`. Out: the file of decisions, and the counts. Decisions are appended to `.<out>.guard-part` as they come, one
line each; what stands there is not done again. When all are there, they become the output by one rename.
`.<out>.guard.json` says what the work was; it stays beside the output, so that the same command again finds nothing to
do, and one with another input, policy or option is refused instead of mixing two decisions in one file.

Known limits: the lock is advisory, and not dependable on NFS before version 4. What was written in the last seconds
before a power failure (not a kill) may be done again.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from configs.artifacts import write_text_atomic
from configs.errors import ArtifactError, ConfigError, SourceError
from guards.files.read import format_of, read_items
from guards.files.write import line_of, write_csv, write_parquet, write_parquet_beside
from guards.moderate import DECIDED, NAMED, PLAIN, Columns, Item, Shape, counted, decisions, unusable
from guards.policy import Policy
from guards.replacements import KEY_VARIABLE, keyed_hash

AGAIN = "Undo that to go on, or begin anew with --restart"
TOLD_EVERY = 1000

Counts = Counter[tuple[str, str]]
Told = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Job:
    """What is to be moderated, and how.

    Attributes:
        source, out: `.jsonl`, `.csv`, `.tsv` or `.parquet`, in any combination.
        encoding: of a CSV source.
    """

    source: Path
    out: Path
    policy: Policy
    stage: str
    columns: Columns = NAMED
    shape: Shape = PLAIN
    encoding: str = "utf-8-sig"
    workers: int = 1

    def items(self) -> Iterator[Item]:
        """The rows of the source."""
        rest = self.shape.keep and not self.beside
        return read_items(self.source, self.columns, encoding=self.encoding, rest=rest)

    @property
    def beside(self) -> bool:
        """The output takes ids and kept columns from the source itself, in their types."""
        return format_of(self.source) == format_of(self.out) == "parquet"

    def facts(self) -> dict[str, Any]:
        """Everything that the decisions depend on, by the name that a message gives it."""
        return {
            "input": _digest(self.source),
            "policy": self.policy.version,
            "stage": self.stage,
            "choice of columns": asdict(self.columns),
            "set of options": {**asdict(self.shape), "encoding": self.encoding, "format": self.out.suffix.lower()},
            "version of wellread": metadata.version("wellread"),
            **({"hash key": keyed_hash("", "")} if self.hashes else {}),
        }

    @property
    def hashes(self) -> bool:
        """Some guard puts keyed hashes in place of what it finds."""
        rules = self.policy.stage(self.stage).rules
        return any(getattr(rule.guard, "redact_as", None) == "hash" for rule in rules)


class _Files:
    """The files that the work on one output leaves beside it."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.part = out.with_name(f".{out.name}.guard-part")
        self.new = out.with_name(f".{out.name}.guard-new{out.suffix}")
        self.state = out.with_name(f".{out.name}.guard.json")


@dataclass
class _State:
    """What is known of the work, as it is kept in a file.

    Attributes:
        rows: of the source; all of them can be checked, or are to be passed over.
        made: size and time of the finished output, and its counts; None while there is work to do.
    """

    facts: dict[str, Any]
    rows: int
    made: dict[str, Any] | None = None

    def write(self, file: Path) -> None:
        write_text_atomic(file, json.dumps(asdict(self), indent=2) + "\n")

    def is_of(self, file: Path) -> bool:
        """Whether the file is the finished output, untouched."""
        return self.made is not None and file.exists() and _stamp(file) == self.made["stamp"]


def moderate_file(job: Job, told: Told = lambda *_: None, *, restart: bool = False) -> Counts:
    """Moderate `job.source` into `job.out`, or what is still missing of it.

    Args:
        told: called with what is being done, how many rows are done, and how many there are.
        restart: forget what an earlier run has done, and write over its output.

    Raises:
        SourceError: the source cannot be read, holds a row that cannot be checked, or changes while it is read.
        ConfigError: a column is missing, or a file is of no known kind.
        ArtifactError: the output cannot be written, or what is there was made from something else.
    """
    _check(job)
    # A link stays one: what it points to is replaced.
    files = _Files(job.out.resolve())
    with _locked(files.part, job.out) as part:
        if restart:
            files.state.unlink(missing_ok=True)
            part.truncate(0)
        state = _begin(job, files, told, restart=restart)
        if state.made is None:
            _moderate(job, state, files, part, told)
        if state.is_of(files.new):
            os.replace(files.new, files.out)
        elif not state.is_of(files.out):
            raise ArtifactError(f"{job.out} was changed after it was made", "Make it again with --restart")
        files.part.unlink()
    return Counter({(kind, name): count for kind, name, count in (state.made or {})["counts"]})


def _check(job: Job) -> None:
    format_of(job.out)
    format_of(job.source)
    if job.source.exists() and not job.source.is_file():
        raise ConfigError(f"{job.source} is not a file", "Name a file, or pipe it in without --in")
    if job.out.exists() and not job.out.is_file():
        raise ConfigError(f"{job.out} is not a file", "Name a file, or leave out --out to write to standard output")
    if job.out.exists() and job.source.exists() and job.out.samefile(job.source):
        raise ConfigError(f"{job.out} is the input, too", "Name another file with --out")
    if job.hashes and not os.environ.get(KEY_VARIABLE):
        # A key is made up for each process then, and work that goes on later would hash the same value differently.
        raise ConfigError(f"the policy hashes what it finds, and {KEY_VARIABLE} is not set", "Set it to a secret text")


@contextmanager
def _locked(part: Path, out: Path) -> Iterator[BinaryIO]:
    """The part file, open for appending by this process alone."""
    try:
        handle = part.open("a+b")
    except OSError as error:
        raise ArtifactError(f"cannot write {out}: {error.strerror}", "Name another file with --out") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtifactError(f"another process is writing {out}", "Wait for it, or stop it first") from None
        try:
            yield handle
        finally:
            if not os.fstat(handle.fileno()).st_size:
                part.unlink(missing_ok=True)


def _begin(job: Job, files: _Files, told: Told, *, restart: bool) -> _State:
    """What an earlier run of the same work has left; otherwise a fresh state, after a look at every row."""
    facts = job.facts()
    left = _left(files)
    if left is None:
        if files.out.exists() and not restart:
            raise ArtifactError(f"{job.out} exists already", "Name another file, or write over it with --restart")
        fresh = _State(facts, _checked_rows(job, told))
        fresh.write(files.state)
        return fresh
    changed = next((name for name in facts if left.facts.get(name) != facts[name]), None)
    if changed:
        raise ArtifactError(f"{job.out} was begun with another {changed}", AGAIN)
    return left


def _left(files: _Files) -> _State | None:
    try:
        state = _State(**json.loads(files.state.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise ArtifactError(f"{files.state} is damaged", "Begin anew with --restart") from None
    # Finished, and then taken away: nothing of it is left to protect.
    gone = state.made is not None and not files.out.exists() and not files.new.exists()
    return None if gone else state


def _checked_rows(job: Job, told: Told) -> int:
    """The number of rows. A bad one is told now, and not after hours of work."""
    rows = 0
    for rows, item in enumerate(job.items(), 1):
        if item.problem and not job.shape.skip_bad:
            raise unusable(item)
        if rows % TOLD_EVERY == 0:
            told("reading", rows, None)
    return rows


def _moderate(job: Job, state: _State, files: _Files, part: BinaryIO, told: Told) -> None:
    """Do what the part file lacks, and make the output of it."""
    counts: Counts = Counter()
    done = 0
    for done, row in enumerate(_whole_rows(part), 1):  # noqa: B007  the last one is the count
        counts += counted(row)
    part.truncate(part.tell())
    left = islice(job.items(), done, None)
    for row in decisions(left, job.policy.stage(job.stage), job.shape, job.workers):
        part.write(line_of(row))
        part.flush()
        counts += counted(row)
        done += 1
        told("checking", done, state.rows)
    if done != state.rows or _digest(job.source) != state.facts["input"]:
        raise SourceError(f"{job.source} was changed while it was read", "Begin anew with --restart")
    _write(job, files)
    state.made = {"stamp": _stamp(files.new), "counts": [[*name, count] for name, count in counts.items()]}
    state.write(files.state)


def _whole_rows(part: BinaryIO) -> Iterator[dict[str, Any]]:
    """What is done. A row that was cut off ends it; the file then stands before that row."""
    part.seek(0)
    while True:
        start = part.tell()
        line = part.readline()
        try:
            row = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            row = None
        if row is None:
            part.seek(start)
            return
        yield row


def _write(job: Job, files: _Files) -> None:
    """Make the output of the part file, under another name."""

    def rows() -> Iterator[dict[str, Any]]:
        with files.part.open("rb") as lines:
            for line in lines:
                yield json.loads(line)

    match format_of(job.out):
        case "csv":
            delimiter = "\t" if job.out.suffix.lower() == ".tsv" else ","
            write_csv(rows(), _kept(rows()), job.shape, files.new, delimiter)
        case "parquet" if job.beside:
            write_parquet_beside(rows(), job.source, job.columns, job.shape, files.new)
        case "parquet":
            write_parquet(rows(), _kept(rows()), job.shape, files.new)
        case _:
            shutil.copyfile(files.part, files.new)
    with files.new.open("rb+") as written:
        os.fsync(written.fileno())


def _kept(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of the kept columns, in the order in which they appear."""
    names = {name: None for row in rows for name in row if name not in DECIDED}
    return list(names)


def _stamp(file: Path) -> list[int]:
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"cannot read {file}: {error.strerror}", "Check its name and your rights") from None
