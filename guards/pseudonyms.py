"""Names that stand for personal data while a conversation lasts, and how the asker gets the data back.

In: a category and a value. Out: `<PERSON_1>`, the same for the same value. The model, the log and the store see the
name alone; `restore` is called on what goes back to the person who sent the data, and nowhere else.
"""

import re
import threading

_NAME = re.compile(r"<[A-Z][A-Z_]{0,40}_[0-9]{1,6}>")


class Pseudonyms:
    """One conversation's names. They live in memory only, and are gone with it."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}
        self._values: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()

    def name(self, category: str, value: str) -> str:
        """The name that stands for the value, given at its first use."""
        with self._lock:
            known = self._names.get((category, value))
            if known is None:
                number = self._counts[category] = self._counts.get(category, 0) + 1
                known = self._names[category, value] = f"<{category.upper()}_{number}>"
                self._values[known] = value
            return known

    def restore(self, text: str) -> str:
        """The text with every name of this conversation replaced by its value; other names stay."""
        return _NAME.sub(lambda match: self._values.get(match.group(), match.group()), text)
