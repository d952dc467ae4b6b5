"""Text as it may enter a prompt, a database or JSON."""

import re

# NUL cannot be stored in PostgreSQL; other control characters only ever come from damaged or hostile input.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")


def storable(text: str) -> str:
    """The text without control characters (but tab and line ends), lone surrogates replaced by `?`."""
    return _CONTROL.sub("", text).encode("utf-8", "replace").decode("utf-8")
