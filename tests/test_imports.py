"""Imports run one way: configs -> guards -> ingest -> feedback -> train -> serve -> monitor -> app."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ORDER = ("configs", "guards", "ingest", "feedback", "train", "serve", "monitor", "app")
ROOT = Path(__file__).parent.parent
FILES = [path for room in ORDER for path in sorted((ROOT / room).rglob("*.py"))]


def imported_rooms(source: str) -> Iterator[tuple[int, str]]:
    """(line, room) of every import of a room in a module, those inside functions included."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        yield from ((node.lineno, room) for name in names if (room := name.split(".")[0]) in ORDER)


def wrong_imports(room: str, source: str) -> list[tuple[int, str]]:
    """Imports of a room that comes later in the order."""
    return [(line, other) for line, other in imported_rooms(source) if ORDER.index(other) > ORDER.index(room)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_those_before_it(path):
    assert wrong_imports(path.relative_to(ROOT).parts[0], path.read_text()) == []


def test_the_walk_sees_wrong_imports_of_every_form():
    source = "import app.cli\ndef f():\n    from serve.wire import Message\n    import configs\n"
    assert wrong_imports("ingest", source) == [(1, "app"), (3, "serve")]


def test_every_room_is_checked_and_packaged():
    packaged = (ROOT / "pyproject.toml").read_text()
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(ORDER)
    assert "module-name = [" + ", ".join(f'"{room}"' for room in ORDER) + "]" in packaged
