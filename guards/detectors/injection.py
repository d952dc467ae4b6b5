"""Prompt injection and jailbreak: a small token tagger of our own and structural rules, offline.

Text in; a `Verdict` out whose spans are the sentences that command the assistant. In what a person asks, only attempts
to override the assistant's rules count; in a passage, whatever commands the assistant or asks it for other work. The
tagger reads each window once and weighs every token against its surroundings, so that a foreign sentence stands out,
also one without punctuation around it. See docs/models/injection.md for the data, the figures, and how to train it.

Known limits: English; an injected sentence on the passage's own topic and in its own voice is not told from it. Single
words are too short to be judged.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from configs.errors import ConfigError
from guards.base import NO_CONTEXT, Action, Context, Span, Verdict
from guards.detectors.injection_rules import structural, surest
from guards.encoder import Encoder
from guards.normalise import Folded
from guards.spans import joined, windows

Source = Literal["user", "passage"]
Tokens = tuple[list[tuple[int, int]], npt.NDArray[np.float32]]

WEIGHTS = Path(__file__).parent.parent / "weights" / "injection"
WINDOW, OVERLAP, PLACES = 900, 200, 512
# Tokens whose mean logit is compared: fewer fire on chance, more miss the shortest commands.
RUN = 5
FEWEST = 3
SOURCES: tuple[Source, ...] = ("passage", "user")
_BORDER = re.compile(r"[.!?](?=\s)|\n")
_REASON = {
    "user": "It tries to override the assistant's instructions.",
    "passage": "It contains instructions to the assistant.",
}


class InjectionGuard:
    """Answers with `action` when the text tries to take over the assistant.

    Args:
        action: what to do then; `Action.REDACT` takes out the sentences.
        threshold: probability between 0 and 1; None: the shipped one, chosen for few false alarms.
        source: whose text it is. People may ask for things, documents may not.

    Raises:
        ConfigError: there is no such source.
    """

    name = "injection"

    def __init__(
        self, *, action: Action = Action.BLOCK, threshold: float | None = None, source: Source = "user"
    ) -> None:
        if source not in SOURCES:
            raise ConfigError(f"there is no source {source!r}", "There are user, passage")
        self._action = action
        self._threshold = threshold
        self._source: Source = source

    def warm_up(self) -> None:
        """Load the model now rather than at the first check."""
        model().encoder.warm_up()

    def check(self, text: str, context: Context = NO_CONTEXT) -> Verdict:
        loaded = model()
        limit = loaded.thresholds[self._source] if self._threshold is None else self._threshold
        rules = structural(text, self._source, context)
        score, spans = loaded.judge(text, self._source, limit, context)
        kind = rules[0].kind if rules else "injection"
        score = max(score, surest(rules))
        spans += [Span(found.start, found.end, "injection") for found in rules if found.score >= limit]
        hit = score >= limit
        return Verdict(
            action=self._action if hit else Action.ALLOW,
            category="injection",
            score=score,
            threshold=limit,
            reason=_said(self._source, kind) if hit else "No instructions to the assistant.",
            detector="wellread-injection",
            version=loaded.version,
            spans=joined(spans) if hit else (),
        )


def _said(source: Source, kind: str) -> str:
    return _REASON[source] if kind == "injection" else f"{_REASON[source][:-1]}: {kind}."


class Model:
    """The tagger with its calibration and thresholds.

    Args:
        prefix: path of the weights without ending.

    Attributes:
        thresholds: the shipped threshold for each source.
        version: of the weights.
    """

    def __init__(self, prefix: Path) -> None:
        self.encoder = Encoder(prefix, max_tokens=PLACES)
        meta = self.encoder.meta
        self.version = str(meta["version"])
        self.thresholds: dict[str, float] = meta["thresholds"]
        self._calibration: dict[str, tuple[float, float]] = meta["calibration"]
        self._columns = {label: place for place, label in enumerate(self.encoder.labels)}

    def judge(self, text: str, source: Source, limit: float, context: Context = NO_CONTEXT) -> tuple[float, list[Span]]:
        """The highest probability of any run of tokens, and the sentences of those that reach the limit."""
        worst, spans = 0.0, []
        for start, folded, offsets, logits in self.read(text, context):
            chances = self.chances(logits, source)
            worst = max(worst, float(chances.max(initial=0.0)))
            for first, last in _stretches(chances >= limit, len(offsets)):
                piece = _sentence(folded.text, offsets[first][0], offsets[last][1])
                found = folded.original(*piece)
                spans.append(Span(start + found[0], start + found[1], "injection"))
        return worst, spans

    def peak(self, text: str, source: Source) -> float:
        """The highest mean logit of any run of tokens, before calibration."""
        tops = [runs(logits[:, self._columns[source]]).max(initial=-30.0) for *_, logits in self.read(text)]
        return float(max(tops, default=-30.0))

    def read(
        self, text: str, context: Context = NO_CONTEXT
    ) -> Iterator[tuple[int, Folded, list[tuple[int, int]], npt.NDArray[np.float32]]]:
        """Offset and folded text of each window, and offsets and logits [tokens, labels] of its tokens."""
        for start, window in windows(text, WINDOW, OVERLAP, context):
            if window.isspace() or not window:
                continue
            folded = Folded(window)
            done = 0
            while done < len(folded.text):
                context.check_deadline()
                offsets, logits = self.encoder.token_logits([folded.text[done:]])[0]
                if not offsets:
                    break
                places = [(first + done, last + done) for first, last in offsets]
                yield start, folded, places, logits
                # Dense text has more tokens than the network has places.
                if len(offsets) < PLACES - 2:
                    break
                done = max(places[-1][1], done + 1)

    def chances(self, logits: npt.NDArray[np.float32], source: Source) -> npt.NDArray[np.float64]:
        """Calibrated probability of each run of `RUN` tokens, float [tokens - RUN + 1], or fewer."""
        slope, intercept = self._calibration[source]
        return 1 / (1 + np.exp(-np.clip(runs(logits[:, self._columns[source]]) * slope + intercept, -30, 30)))


def runs(logits: npt.NDArray[np.float32], length: int = RUN) -> npt.NDArray[np.float64]:
    """Mean of every run of `length` neighbours; of all where there are fewer, and nothing for a word or two."""
    size = min(length, len(logits))
    if size < FEWEST:
        return np.zeros(0)
    sums = np.concatenate([[0.0], np.cumsum(logits, dtype=np.float64)])
    return np.asarray((sums[size:] - sums[:-size]) / size)


def _stretches(hot: npt.NDArray[np.bool_], tokens: int) -> list[tuple[int, int]]:
    """First and last token of each stretch that runs of tokens cover; `hot`: which runs count, by first token."""
    found: list[tuple[int, int]] = []
    for place in np.flatnonzero(hot).tolist():
        last = min(place + RUN, tokens) - 1
        if found and place <= found[-1][1] + 1:
            found[-1] = (found[-1][0], last)
        else:
            found.append((place, last))
    return found


def _sentence(text: str, start: int, end: int, most: int = 300) -> tuple[int, int]:
    """The sentences or lines around a stretch."""
    before = [match.end() for match in _BORDER.finditer(text, max(0, start - most), start)]
    after = _BORDER.search(text, max(start, end - 1), min(len(text), end + most))
    first = before[-1] if before else (0 if start <= most else start)
    while first < start and text[first].isspace():
        first += 1
    last = after.start() + (after.group() != "\n") if after else (len(text) if len(text) - end <= most else end)
    return first, max(last, end)


@cache
def model() -> Model:
    """The shipped model."""
    return Model(WEIGHTS)
