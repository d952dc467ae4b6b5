"""Styles of a DOCX file: what a paragraph is (heading, list item, code), by its own marks and those of its style.

Names of elements and attributes are compared without their namespace, which differs between the transitional and the
strict form of the format.
"""

from dataclasses import dataclass, replace
from typing import Any

_CODE_NAMES = ("code", "source", "verbatim", "preformatted", "listing", "macro text", "plain text")
_FIXED_WIDTH = ("courier", "consolas", "mono", "menlo", "lucida console", "source code", "fira code", "cascadia")
_DEEPEST_CHAIN = 20


@dataclass(frozen=True)
class Style:
    """What is known of a paragraph.

    Attributes:
        level: 1 to 6 for a heading, else 0.
        list_depth: from 1 for a list item, else 0.
        contents: an entry of a table of contents.
    """

    level: int = 0
    list_depth: int = 0
    code: bool = False
    contents: bool = False


class Styles:
    """The styles of one file.

    Args:
        root: root element of `styles.xml`, or None.
    """

    def __init__(self, root: Any) -> None:
        found = root if root is not None else ()
        self._elements = {value(item, "styleId"): item for item in found if local(item) == "style"}
        self._default = next((name for name, item in self._elements.items() if _is_default(item)), "")
        self._known: dict[str, Style] = {}

    def of(self, paragraph: Any) -> Style:
        """What a paragraph is."""
        named = property_of(paragraph, "pPr", "pStyle")
        name = self._default if named is None else value(named, "val")
        style = _with_marks(self._named(name), child(paragraph, "pPr"))
        if not (style.code or style.level or style.list_depth) and _all_fixed_width(paragraph):
            return replace(style, code=True)
        return style

    def _named(self, name: str, depth: int = 0) -> Style:
        if name not in self._known:
            self._known[name] = self._read(name, depth)
        return self._known[name]

    def _read(self, name: str, depth: int) -> Style:
        element = self._elements.get(name)
        if element is None or depth == _DEEPEST_CHAIN:
            return _by_name(Style(), name)
        based_on = child(element, "basedOn")
        base = Style() if based_on is None else self._named(value(based_on, "val"), depth + 1)
        shown = child(element, "name")
        style = _by_name(base, name if shown is None else value(shown, "val"))
        fonts = property_of(element, "rPr", "rFonts")
        if fonts is not None:
            style = replace(style, code=style.code or _is_fixed_width(fonts))
        return _with_marks(style, child(element, "pPr"))


def local(node: Any) -> str:
    """The name of an element without its namespace; empty for comments and the like."""
    return node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""


def child(node: Any, name: str) -> Any:
    """The first child element of that name, or None."""
    return next((part for part in node if local(part) == name), None)


def property_of(node: Any, *path: str) -> Any:
    """The element at the end of a path of names, or None."""
    for name in path:
        node = child(node, name) if node is not None else None
    return node


def value(node: Any, name: str) -> str:
    """An attribute, whatever its namespace; empty when it is not there."""
    return next((str(text) for key, text in node.attrib.items() if key.rpartition("}")[2] == name), "")


def _is_default(style: Any) -> bool:
    return value(style, "type") == "paragraph" and value(style, "default") in ("1", "true", "on")


def _by_name(style: Style, name: str) -> Style:
    """What the name of a built-in style says: Word keeps those in English in the file."""
    name = name.strip().lower()
    if name == "title":
        return replace(style, level=1)
    if name.startswith("heading ") and name[8:].isdigit():
        return replace(style, level=min(max(int(name[8:]), 1), 6))
    if name.startswith("toc ") or name == "toc heading":
        return replace(style, contents=True, level=0)
    return replace(style, code=style.code or any(part in name for part in _CODE_NAMES))


def _with_marks(style: Style, marks: Any) -> Style:
    """A style with the paragraph marks (`w:pPr`) that stand above it."""
    if marks is None:
        return style
    outline = child(marks, "outlineLvl")
    if outline is not None and value(outline, "val").isdecimal() and not style.contents:
        # Levels count from 0, and 9 means body text.
        level = int(value(outline, "val")[:3])
        style = replace(style, level=0 if level > 8 else min(level + 1, 6))
    numbers = child(marks, "numPr")
    if numbers is not None:
        number, depth = child(numbers, "numId"), child(numbers, "ilvl")
        off = number is not None and value(number, "val") == "0"
        shown = value(depth, "val")[:3] if depth is not None else "0"
        style = replace(style, list_depth=0 if off else (int(shown) if shown.isdecimal() else 0) + 1)
    return style


def _all_fixed_width(paragraph: Any) -> bool:
    """Whether every run of text in a paragraph is set in a font of one width."""
    runs = [run for run in paragraph.iter() if local(run) == "r" and any(local(part) == "t" for part in run)]
    fonts = [property_of(run, "rPr", "rFonts") for run in runs]
    return bool(fonts) and all(font is not None and _is_fixed_width(font) for font in fonts)


def _is_fixed_width(fonts: Any) -> bool:
    name = value(fonts, "ascii").lower()
    return any(part in name for part in _FIXED_WIDTH)
