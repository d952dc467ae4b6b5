"""Streamed text leaves only after the guards have passed it.

Text is held back until it can be cut: at the end of a sentence, or between two words when a sentence grows long. A cut
is taken only where it is *clean*: guarding both sides apart gives the same text as guarding them together, so no
address or number is split by it. What lies before a clean cut is released as the guards left it.

In: text in arbitrary pieces. Out: guarded text. What is released depends on the text, never on how it arrived.

Known limits: text without spaces and sentence ends waits until the answer ends. A finding that spans more than the
previous and the current stretch (and the few words after them) is seen only in part.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from guards.base import NO_CONTEXT, Context, Outcome
from guards.spans import redact
from guards.stage import Stage

# Words after a cut that must be known before it is judged, and characters that do as well.
LOOKAHEAD_WORDS = 3
LOOKAHEAD_CHARS = 80
LONG_SENTENCE_WORDS = 12

MARKER = re.compile(r"(?<!\w)\[\d{1,3}\]")
_GAP = re.compile(r"\s+|(?<=[\u3002\uff01\uff1f])(?=\S)")
_SENTENCE_END = re.compile(r"[.!?\u3002\uff01\uff1f:;][\"'\u201d\u2019)\]]*$")
_WORDS_AHEAD = re.compile(rf"(?:\s*\S+(?=\s)){{{LOOKAHEAD_WORDS}}}")
# Numbers may be written with spaces; a gap beside a digit may lie inside one.
_DIGIT = re.compile(r"\d")


class HoldBack:
    """Guards one answer while it is streamed.

    Args:
        stage: the guards of the answer.
        context: the passages it is written from, and what else the guards may look at.

    Attributes:
        blocked: the outcome that refused the text, once one has; nothing is released any more.
        outcomes: what the guards said about each released stretch.
    """

    def __init__(self, stage: Stage, context: Context = NO_CONTEXT) -> None:
        self._stage, self._context = stage, context
        self._pending = ""
        self._tried = 0
        self._before = ""
        self._before_guarded = ""
        self.blocked: Outcome | None = None
        self.outcomes: list[Outcome] = []

    def feed(self, text: str) -> str:
        """Take more text and return what may leave now, possibly nothing."""
        if self.blocked:
            return ""
        self._pending += text if self._pending or self._before else text.lstrip()
        return "".join(self._release())

    def finish(self) -> str:
        """The text has ended: return what may leave of the rest."""
        if self.blocked:
            return ""
        rest, self._pending = self._pending.rstrip(), ""
        if not rest:
            return ""
        around = self._check(self._before + rest)
        guarded = self._check(rest)
        if not self._passes(around, guarded):
            return ""
        self.outcomes.append(guarded)
        # What only shows together with what has left already is taken out of the rest.
        start = len(self._before)
        inside = [replace(span, start=max(span.start, start)) for span in around.redactions if span.end > start]
        return redact(self._before + rest, inside)[start:]

    def _release(self) -> Iterator[str]:
        while (place := self._next_gap()) is not None:
            cut, after = place
            guarded = self._guarded_until(cut, after)
            if self.blocked:
                return
            if guarded is not None:
                self.outcomes.append(guarded)
                self._before, self._before_guarded = self._pending[:cut], guarded.text
                self._pending, self._tried = self._pending[cut:], 0
                yield guarded.text

    def _lookahead(self, cut: int) -> str | None:
        """The words after a cut; None while too few are known."""
        window = self._pending[cut : cut + LOOKAHEAD_CHARS]
        words = _WORDS_AHEAD.match(window)
        if words:
            return words.group()
        return window if len(window) == LOOKAHEAD_CHARS else None

    def _guarded_until(self, cut: int, after: str) -> Outcome | None:
        """The guarded stretch before the cut, or None when the cut is not clean."""
        stretch = self._pending[:cut]
        together = self._check(self._before + stretch + after)
        alone = self._check(stretch)
        if not self._passes(together, alone):
            return None
        rest = self._check(after)
        return alone if together.text == self._before_guarded + alone.text + rest.text else None

    def _check(self, text: str) -> Outcome:
        return self._stage.run(text, self._context)

    def _passes(self, *outcomes: Outcome) -> bool:
        self.blocked = next((outcome for outcome in outcomes if not outcome.allowed), None)
        return self.blocked is None

    def _next_gap(self) -> tuple[int, str] | None:
        """The next place that may be cut, and the words after it; None while it, or they, are not known yet."""
        for gap in _GAP.finditer(self._pending, self._tried):
            after = self._lookahead(gap.start())
            if after is None or gap.end() == len(self._pending):
                return None
            # Judged once, with all that is needed known: what arrives later changes nothing about it.
            self._tried = max(gap.end(), gap.start() + 1)
            if self._may_cut(gap, after):
                return gap.start(), after
        return None

    def _may_cut(self, gap: re.Match[str], after: str) -> bool:
        words = self._pending[: gap.start()].split()
        if not words or not after.strip():
            return False
        ends = "\n" in gap.group() or _SENTENCE_END.search(words[-1])
        beside = (words[-1], after.split(maxsplit=1)[0])
        return bool(ends or len(words) >= LONG_SENTENCE_WORDS) and not any(
            _DIGIT.search(MARKER.sub("", word)) for word in beside
        )
