"""The errors that wellread raises on purpose, and the exit code of each.

    WellreadError          1  something outside went wrong; the message says what to do
    |-- ConfigError        2  a setting is unknown, of the wrong type, or contradicts another
    |-- SourceError        1  a site or folder could not be read
    |-- ArtifactError      1  a stage's output is missing, damaged, or made with other settings
    |-- ModelError         1  a model could not be loaded or does not fit what it is used for
    |-- ServeError         1  the server could not start or be reached
    `-- GateRefused        3  everything worked, and the answer is no

Every message is one line that names the offending value; `remedy` is the sentence that says what to do about it.
"""

import errno

FULL_DISK = ("no space left on device", "database or disk is full", "disk quota exceeded", "file too large")


class WellreadError(Exception):
    """Base of the family. `str(error)` is one line: what is wrong, then the remedy.

    Args:
        problem: what is wrong, with the offending value in it.
        remedy: what the reader can do, as an imperative sentence.
    """

    exit_code = 1

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = " ".join(problem.split())
        self.remedy = " ".join(remedy.split())
        super().__init__(f"{self.problem}. {self.remedy}" if self.remedy else self.problem)


class ConfigError(WellreadError):
    """A setting is unknown, has the wrong type, or cannot be combined with another."""

    exit_code = 2


class SourceError(WellreadError):
    """A site or a folder could not be read, or held nothing to read."""


class ArtifactError(WellreadError):
    """A stage's output is missing, damaged, in use, or was made with other settings."""


class ModelError(WellreadError):
    """A model or tokenizer could not be loaded, or lacks what the task needs."""


class ServeError(WellreadError):
    """The server could not start, or could not be reached."""


class GateRefused(WellreadError):  # noqa: N818  nothing went wrong: it is an answer
    """A gate compared two models or two indexes and said no. Nothing is broken."""

    exit_code = 3


def is_full_disk(error: BaseException) -> bool:
    """Whether an error, or what led to it, says that nothing more can be written."""
    # Arrow, SQLite, torch and safetensors each wrap the system's error in one of their own, some without its number.
    chain = [error, error.__cause__, error.__context__]
    return any(
        getattr(one, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        or any(phrase in str(one).lower() for phrase in FULL_DISK)
        for one in chain
        if one is not None
    )
