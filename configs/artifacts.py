"""Versions: what a stage reads, what it leaves behind, and how it survives being killed.

A stage turns input versions and settings into ONE new version: a folder `<root>/<stage>/<id>/` whose last file is
`manifest.json`. The id is a hash of the stage, its inputs and its settings, so the same work is never done twice.
While it is made it is called `.partial-<id>`; a rename publishes it. `<root>/<stage>/current` names the version that
the next stage reads.

A *snapshot* stage (a crawl) reads something whose content is not known beforehand, and always runs.

A stage that reports a fingerprint of what it made is named by that instead of by its inputs: an unchanged site gives
the version that is already there, and a page that changed by nothing that is kept gives the same documents, so that the
stages behind them have nothing to do. A small file `.made-<key>` remembers which version those inputs led to.

Known limit: locks are advisory (`flock`), and are not dependable on NFS before version 4.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from configs.errors import ArtifactError

RECORDED_PACKAGES = (
    *("wellread", "torch", "transformers", "tokenizers", "trl", "peft", "accelerate", "datasets", "deepspeed"),
    *("sentence-transformers", "faiss-cpu", "langchain-core", "bm25s", "beautifulsoup4", "pyarrow"),
)

# What makes each stage's output, for the message when it is missing.
MADE_BY = {
    "pages": "wellread ingest",
    "extracted": "wellread ingest",
    "cleaned": "wellread ingest",
    "documents": "wellread ingest",
    "chunks": "wellread ingest",
    "index": "wellread index",
    "examples": "wellread examples",
    "retrievers": "wellread train retriever",
    "models": "wellread train",
    "evaluations": "wellread eval",
    "exports": "wellread export",
}


@dataclass(frozen=True)
class Made:
    """What a stage reports about the folder it has filled.

    Attributes:
        counts: how many of what, for example `{"documents": 41, "rejected": 3}`.
        figures: measured values, for example `{"loss": 1.9}`.
        fingerprint: hash of what was found or made; empty where the inputs' ids and the settings say it all.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    fingerprint: str = ""


class Manifest(BaseModel):
    """`manifest.json`: where a version comes from and what is in it."""

    # A loss that diverged is NaN, which JSON has no number for; a string survives the way there and back.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    stage: str
    version: str
    created: datetime
    seconds: float
    inputs: dict[str, str]
    settings: dict[str, Any]
    counts: dict[str, int]
    figures: dict[str, float]
    code_revision: str
    packages: dict[str, str]
    work: str = ""
    """Hash of the stage and its settings without its inputs: versions that agree in it can be carried over."""


@dataclass(frozen=True)
class Version:
    """A finished output of a stage. `reused` is true when nothing had to run."""

    path: Path
    manifest: Manifest
    reused: bool = False

    @property
    def id(self) -> str:
        return self.manifest.version


class Workspace:
    """All versions below one root folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def build(
        self,
        stage: str,
        make: Callable[[Path], Made],
        *,
        inputs: Mapping[str, str],
        settings: Mapping[str, Any],
        recorded: Mapping[str, Any] | None = None,
        logic: int = 1,
        resumable: bool = False,
        snapshot: bool = False,
        publish: bool = True,
    ) -> Version:
        """Return the version for these inputs and settings, making it if it is not there, and make it current.

        Args:
            stage: folder name, for example `chunks`.
            make: fills the folder it is given. If `resumable`, the folder may hold what a killed run left.
            inputs: input name -> version id.
            settings: everything else that the output depends on, as JSON values.
            recorded: what the manifest gives as the settings, where that is more than what the output depends on.
            logic: raise it when the stage's code gives other output for the same input.
            resumable: keep the partial folder when `make` fails or is killed.
            snapshot: `make` reads something outside, and runs every time.
            publish: False leaves the current version as it is, until `publish` is called.

        Raises:
            ArtifactError: another process is making the same version right now.
        """
        work = work_of(stage, settings, logic)
        key = key_of(stage, inputs, settings, logic)
        home = self.root / stage
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtifactError(
                f"cannot make the folder {home}: {error.strerror}", "Choose another place with --set root=/other/folder"
            ) from error
        with locked(home / f".{key}.lock", f"already at work on the stage {stage}"):
            if not snapshot and (made_before := self._made_before(stage, key)):
                return self._finished(stage, made_before, reused=True, publish=publish)
            partial = self.partial(stage, key)
            if not resumable and partial.exists():
                shutil.rmtree(partial)
            partial.mkdir(exist_ok=True)
            started = time.monotonic()
            try:
                made = make(partial)
            except BaseException:
                if not resumable:
                    shutil.rmtree(partial, ignore_errors=True)
                raise
            version = _digest({"work": work, "fingerprint": made.fingerprint}) if made.fingerprint else key
            if version != key and not snapshot:
                write_text_atomic(home / f".made-{key}", version + "\n")
            if (home / version / "manifest.json").exists():
                shutil.rmtree(partial)
                return self._finished(stage, version, reused=True, publish=publish)
            manifest = Manifest(
                stage=stage,
                version=version,
                created=datetime.now(UTC),
                seconds=round(time.monotonic() - started, 3),
                inputs=dict(inputs),
                settings=dict(settings if recorded is None else recorded),
                counts=dict(made.counts),
                figures=dict(made.figures),
                code_revision=code_revision(),
                packages=package_versions(),
                work=work,
            )
            write_text_atomic(partial / "manifest.json", manifest.model_dump_json(indent=2) + "\n")
            try:
                os.replace(partial, home / version)
            except OSError as error:
                # The folder is there without a manifest: something else has put it there, or taken that away.
                raise ArtifactError(
                    f"cannot publish {home / version}: {error.strerror}", "Delete that folder and run the command again"
                ) from None
            return self._finished(stage, version, reused=False, publish=publish)

    def partial(self, stage: str, key: str) -> Path:
        """The folder that a version is made in; what a killed `resumable` stage left is there."""
        return self.root / stage / f".partial-{key}"

    def publish(self, stage: str, version: str) -> None:
        """Make a finished version the current one."""
        write_text_atomic(self.root / stage / "current", version + "\n")

    def current(self, stage: str) -> Version:
        """The version of `stage` that was made last.

        Raises:
            ArtifactError: there is none yet, or it is damaged.
        """
        pointer = self.root / stage / "current"
        if not pointer.exists():
            made_by = MADE_BY.get(stage, f"the {stage} stage")
            raise ArtifactError(f"no {stage} in {self.root} yet", f"Run `{made_by}` first")
        return self.version(stage, pointer.read_text().strip())

    def version(self, stage: str, version: str, *, reused: bool = False) -> Version:
        """The version of `stage` with that id.

        Raises:
            ArtifactError: it does not exist, or its manifest is damaged.
        """
        path = self.root / stage / version
        try:
            manifest = Manifest.model_validate_json((path / "manifest.json").read_text())
        except FileNotFoundError:
            made_by = MADE_BY.get(stage, f"the {stage} stage")
            raise ArtifactError(f"{stage} version {version} is not in {self.root}", f"Run `{made_by}` again") from None
        except ValidationError:
            raise ArtifactError(
                f"{path / 'manifest.json'} is damaged", f"Delete {path} and run the stage again"
            ) from None
        return Version(path, manifest, reused)

    def versions(self, stage: str) -> list[Version]:
        """All finished versions of `stage`, oldest first."""
        found = [self.version(stage, path.parent.name) for path in (self.root / stage).glob("[!.]*/manifest.json")]
        return sorted(found, key=lambda version: version.manifest.created)

    def previous(self, stage: str, settings: Mapping[str, Any], *, logic: int = 1) -> Version | None:
        """The version that the same work led to last, from any inputs; what has not changed is taken over from it."""
        # Not the newest of them: a source that is again as it was leads back to an older one.
        pointer = self.root / stage / f".latest-{work_of(stage, settings, logic)}"
        with suppress(FileNotFoundError, NotADirectoryError):
            version = pointer.read_text().strip()
            return self.version(stage, version) if (self.root / stage / version / "manifest.json").exists() else None
        return None

    def _made_before(self, stage: str, key: str) -> str | None:
        home = self.root / stage
        with suppress(FileNotFoundError):
            key = (home / f".made-{key}").read_text().strip()
        return key if (home / key / "manifest.json").exists() else None

    def _finished(self, stage: str, version: str, *, reused: bool, publish: bool) -> Version:
        finished = self.version(stage, version, reused=reused)
        write_text_atomic(self.root / stage / f".latest-{finished.manifest.work}", version + "\n")
        if publish:
            self.publish(stage, version)
        return finished


def key_of(stage: str, inputs: Mapping[str, str], settings: Mapping[str, Any], logic: int = 1) -> str:
    """What a stage's work is found again by: the id of its version, where that is not named by a fingerprint."""
    return _digest({"stage": stage, "logic": logic, "inputs": dict(inputs), "settings": dict(settings)})


def work_of(stage: str, settings: Mapping[str, Any], logic: int = 1) -> str:
    """See `Manifest.work`."""
    return _digest({"stage": stage, "logic": logic, "settings": dict(settings)})


def fingerprint_of(*files: Path) -> str:
    """SHA-256 over the files' contents, in the order given."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as `.npy`, so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as out:
        np.save(out, array, allow_pickle=False)
        out.flush()
        os.fsync(out.fileno())
    os.replace(temporary, path)


def write_text_atomic(path: Path, text: str) -> None:
    """Write a small file so that a reader, or a crash, sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    os.replace(temporary, path)


@cache
def code_revision() -> str:
    """The git commit that runs, with `+changes` when files differ from it; the package version outside a checkout."""
    here = Path(__file__).parent
    try:
        revision = _git(here, "rev-parse", "--short=12", "HEAD")
        return revision + ("+changes" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return f"wellread {metadata.version('wellread')}"


@cache
def package_versions() -> dict[str, str]:
    """Versions of the packages that decide what a stage's output looks like."""
    return versions_of(RECORDED_PACKAGES)


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    return {name: metadata.version(name) for name in packages if _installed(name)}


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603, S607
    return done.stdout.strip()


def _digest(value: Mapping[str, Any]) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


@contextmanager
def locked(path: Path, doing: str) -> Iterator[None]:
    """Hold a lock file.

    Args:
        doing: what whoever holds it does, for the message.

    Raises:
        ArtifactError: another process holds it.
    """
    with path.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise ArtifactError(
                f"process {handle.read().strip() or '(unknown)'} is {doing}",
                "Wait for it, or stop it and run this again",
            ) from None
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        yield
