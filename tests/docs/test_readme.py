"""The README: its file map covers the rooms, and what it names exists."""

import re
from pathlib import Path

import pytest

from docs.file_map import ROOMS, description, file_map

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def named() -> set[str]:
    return set(re.findall(r"^\| `([\w./-]+/[\w.-]+)` \|", README, re.MULTILINE))


def test_every_source_file_of_the_rooms_is_named() -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.suffix in (".py", ".yaml") and path.stat().st_size and "__pycache__" not in path.parts
    }
    assert not files - named(), "run `python -m docs.generate`"


def test_every_named_file_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    missing = [name for name in (*named(), *links) if not (ROOT / name).exists()]
    assert not missing


def test_make_targets_that_are_named_exist() -> None:
    called = re.findall(r"(?:`|^)make ([a-z][\w-]*)", README, re.MULTILINE)
    rules = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(called) <= set(rules)


def test_the_first_sentence_describes_a_file(tmp_path: Path) -> None:
    samples = {
        "a.py": '"""Reads things. And more.\n\nDetails."""\n',
        "b.yaml": "# Small and\n# quick: for tests. Not for use.\na: 1\n# later\n",
        "c.js": "// Reads things. And more.\nlet a;\n",
        "d.css": "/* Colours of\n * the page. More. */\n",
    }
    for name, text in samples.items():
        (tmp_path / name).write_text(text)
    found = {name: description(tmp_path / name) for name in samples}
    assert found == {
        "a.py": "Reads things.",
        "b.yaml": "Small and quick: for tests.",
        "c.js": "Reads things.",
        "d.css": "Colours of the page.",
    }


def test_a_file_that_says_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "silent.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"app/silent\.py does not say what it does"):
        file_map(tmp_path)
