"""Rows of JSON in files, one a line: what ships with this room, what users bring, and what a killed run left.

In: a path. Out: the rows. Known limit: a file is read as a whole.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from configs.artifacts import write_text_atomic
from configs.errors import ArtifactError

Rows = list[dict[str, Any]]


def read_rows(path: Path, needs: Iterable[str] = ()) -> Rows:
    """The rows of a file.

    Args:
        needs: fields that every row must have.

    Raises:
        ArtifactError: it cannot be read, or a line is no JSON object with these fields.
    """
    try:
        # Not `splitlines`: JSON may hold line separators of other alphabets.
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}", "Check the path") from None
    except UnicodeDecodeError:
        raise ArtifactError(f"{path} is not UTF-8 text", "Save it as UTF-8") from None
    return [_row(path, number, line, needs) for number, line in enumerate(lines, 1) if line.strip()]


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a file of rows; it is there whole or not at all."""
    write_text_atomic(path, "".join(map(_line, rows)))


class Kept:
    """Rows by their `id`, in a file that grows while they are made, and that outlives being killed.

    Args:
        path: is read, where it is there, and appended to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows = {str(row["id"]): row for row in _whole_lines(path)}
        # The last line may be torn, and one that is appended to it would be lost with it.
        write_rows(path, self.rows.values())

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep rows; they are on the disk when this returns."""
        added = [dict(row) for row in rows]
        with self._path.open("a", encoding="utf-8") as out:
            out.write("".join(map(_line, added)))
            out.flush()
            os.fsync(out.fileno())
        self.rows |= {str(row["id"]): row for row in added}


def _whole_lines(path: Path) -> Rows:
    if not path.exists():
        return []
    rows = []
    for line in path.read_bytes().split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "id" in row:
            rows.append(row)
    return rows


def _row(path: Path, number: int, line: str, needs: Iterable[str]) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise ArtifactError(f"line {number} of {path} is not a JSON object", "Write one object a line")
    missing = [name for name in needs if not row.get(name)]
    if missing:
        raise ArtifactError(f"line {number} of {path} has no {missing[0]}", f"Give each line its {missing[0]}")
    return row


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
