"""Toxicity by a small fine-tuned encoder of our own: offline, English, about two milliseconds for a message.

Text in; calibrated probabilities out, for toxicity as a whole and for insult, hate, threat, sexual, profanity and
self-harm. The text is unmasked first (`guards.normalise`) and read in windows, the worst of which counts. See
docs/models/toxicity.md for the data, the figures by group, and how to train it again.

Known limits: English only; irony, quotation and context beyond a window are not understood. Of a text of more than one
window, those are passed unread in which no stretch of words looks harmful to a linear sieve. Even so, a manual is
read at little more than a tenth of a megabyte a second.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from configs.errors import ConfigError
from guards.base import NO_CONTEXT, Action, Context, Span, Verdict
from guards.encoder import Encoder
from guards.normalise import Folded
from guards.spans import joined, windows

Probabilities = npt.NDArray[np.float32]

WEIGHTS = Path(__file__).parent.parent / "weights" / "toxicity"
# No window has more tokens than characters, and the network has 512 places: nothing is cut off, however dense it is.
WINDOW, OVERLAP, PLACES = 480, 96, 512
# Tokens over which the sieve takes its mean, a sentence or so, and the characters read on either side.
STRETCH, AROUND = 24, 60
OVERALL = "toxic"
CATEGORIES = ("insult", "hate", "threat", "sexual", "profanity", "self_harm")
# Swearing alone is not aimed at anyone, so it has to be asked for.
DEFAULT = tuple(category for category in CATEGORIES if category != "profanity")
# From the less to the more vague.
VAGUE = ("insult", "profanity")
_SAID = {
    OVERALL: "abusive",
    "insult": "insulting",
    "hate": "hateful",
    "threat": "threatening or violent",
    "sexual": "sexually explicit",
    "profanity": "obscene",
    "self_harm": "about self-harm",
}

_ADDRESS = re.compile(r"(?:https?://|www\.)[^\s<>]{1,2000}")
_HANDLE = re.compile(r"@\w{3,40}")
_SENTENCE = re.compile(r"[^.!?\n]+[.!?\n]*")


class ToxicityGuard:
    """Answers with `action` when the text as a whole or one of the categories reaches its threshold.

    Args:
        action: what to do then; `Action.REDACT` takes out the sentences.
        threshold: probability between 0 and 1 for all of them; None: the shipped ones, chosen for few false alarms.
        categories: which of `CATEGORIES` count, and nothing else; None: all but profanity, and toxicity as a whole.

    Raises:
        ConfigError: there is no such category, or none is named.
    """

    name = "toxicity"

    def __init__(
        self,
        *,
        action: Action = Action.BLOCK,
        threshold: float | None = None,
        categories: Sequence[str] | None = None,
    ) -> None:
        unknown = sorted(set(categories or ()) - set(CATEGORIES))
        if unknown:
            raise ConfigError(f"there is no toxicity category {unknown[0]!r}", f"There are {', '.join(CATEGORIES)}")
        if categories is not None and not categories:
            raise ConfigError("no toxicity category is named", f"There are {', '.join(CATEGORIES)}")
        self._action = action
        self._threshold = threshold
        self._labels = (OVERALL, *DEFAULT) if categories is None else tuple(categories)

    def warm_up(self) -> None:
        """Load the model now rather than at the first check."""
        model().encoder.warm_up()

    def check(self, text: str, context: Context = NO_CONTEXT) -> Verdict:
        loaded = model()
        columns = [loaded.encoder.labels.index(label) for label in self._labels]
        limits = loaded.thresholds[columns] if self._threshold is None else np.full(len(columns), self._threshold)
        worst, spans = np.zeros(len(columns), dtype=np.float32), []
        for start, window, found in loaded.read(text, context):
            chances = found[columns]
            worst = np.maximum(worst, chances)
            if np.any(chances >= limits):
                category = self._category(chances, limits)
                places = [(start, start + len(window))]
                # Each sentence is a run of its own; a message as a whole says as much, unless something is cut out.
                if len(text) > WINDOW or self._action is Action.REDACT:
                    places = loaded.sentences(start, window, columns, limits)
                spans += [Span(*place, category) for place in places]
        deciding = int(np.argmax(_odds(worst) - _odds(limits)))
        hit = bool(worst[deciding] >= limits[deciding])
        category = self._category(worst, limits)
        return Verdict(
            action=self._action if hit else Action.ALLOW,
            category=category if hit else "toxicity",
            score=float(worst[deciding]),
            threshold=float(limits[deciding]),
            reason=f"It reads as {_SAID.get(category, _SAID[OVERALL])}." if hit else "Not toxic.",
            detector="wellread-toxicity",
            version=loaded.version,
            spans=joined(spans),
        )

    def _category(self, chances: Probabilities, limits: npt.NDArray[np.float64]) -> str:
        """The likeliest category that reached its limit, `toxicity` if none did; threats and hate insult as well, and
        all of them swear, so these two are named only if no other was reached."""
        reached = [
            (-VAGUE.index(label) if label in VAGUE else 1, float(chance), label)
            for label, chance, limit in zip(self._labels, chances, limits, strict=True)
            if label != OVERALL and chance >= limit
        ]
        return max(reached)[2] if reached else "toxicity"


class Model:
    """The encoder, its calibration and its thresholds.

    Args:
        prefix: path of the weights without ending.

    Attributes:
        thresholds: the shipped threshold of each label.
        version: of the weights.
    """

    def __init__(self, prefix: Path) -> None:
        self.encoder = Encoder(prefix, max_tokens=PLACES)
        meta = self.encoder.meta
        self.version = str(meta["version"])
        self.thresholds = np.array([meta["thresholds"][label] for label in self.encoder.labels])
        self._calibration = np.array([meta["calibration"][label] for label in self.encoder.labels])
        self._sieve: Probabilities = np.array(meta["sieve"], dtype=np.float32) / np.float32(100)
        self._limit = float(meta["sieve_limit"])

    def read(self, text: str, context: Context = NO_CONTEXT) -> Iterator[tuple[int, str, Probabilities]]:
        """Offset, content and probabilities [labels] of each window that has to be read."""
        for start, window in windows(text, WINDOW, OVERLAP, context):
            plain = readable(window)
            part = plain if len(text) <= WINDOW else self.suspicious(plain)
            if part.strip():
                yield start, window, self.probabilities(part)

    def suspicious(self, plain: str) -> str:
        """The part of a readable window that the network has to read, with a little of what surrounds it."""
        encoding = self.encoder.encode([plain])[0]
        places = np.flatnonzero(stretches(self._sieve, encoding.ids[1:-1]) >= self._limit)
        if not len(places):
            return ""
        offsets = encoding.offsets[1:-1] or [(0, 0)]
        last = min(int(places[-1]) + STRETCH, len(offsets)) - 1
        return plain[max(0, offsets[int(places[0])][0] - AROUND) : offsets[last][1] + AROUND]

    def probabilities(self, plain: str) -> Probabilities:
        """Calibrated probabilities [labels] of a readable window."""
        return self.calibrated(self.encoder.logits([plain])[0])

    def calibrated(self, logits: Probabilities) -> Probabilities:
        """Probabilities [..., labels] from logits of the network."""
        scaled = logits * self._calibration[:, 0] + self._calibration[:, 1]
        return np.asarray(1 / (1 + np.exp(-scaled)), dtype=np.float32)

    def worst(self, text: str) -> Probabilities:
        """The highest logit of any window, for each label [labels]; every window is read."""
        plain = [readable(window) for _, window in windows(text, WINDOW, OVERLAP)]
        return np.asarray(self.encoder.logits(plain).max(axis=0))

    def sentences(
        self, start: int, window: str, columns: list[int], limits: npt.NDArray[np.float64]
    ) -> list[tuple[int, int]]:
        """Which sentences of a window reach a limit by themselves; all of it if none does."""
        places = [match.span() for match in _SENTENCE.finditer(window) if not match.group().isspace()]
        if len(places) > 1:
            chances = [self.probabilities(readable(window[first:last]))[columns] for first, last in places]
            found = [place for place, chance in zip(places, chances, strict=True) if np.any(chance >= limits)]
            if found:
                return [(start + first, start + last) for first, last in found]
        return [(start, start + len(window))]


@cache
def model() -> Model:
    """The shipped model."""
    return Model(WEIGHTS)


def readable(text: str) -> str:
    """What the network reads: unmasked, and with web addresses and long handles, which say nothing, cut short."""
    return _HANDLE.sub("@", _ADDRESS.sub("http", Folded(text).text))


def stretches(sieve: Probabilities, ids: Sequence[int]) -> npt.NDArray[np.float64]:
    """The mean score of each `STRETCH` tokens in a row, or of all of them if there are fewer.

    A few tokens count as if harmless ones stood beside them: a heading of two words is no evidence.
    """
    sums = np.cumsum(np.concatenate([[0.0], sieve[np.asarray(ids, dtype=np.int64)]]))
    if len(ids) <= STRETCH:
        return sums[-1:] / max(len(ids), STRETCH // 4)
    return np.asarray((sums[STRETCH:] - sums[:-STRETCH]) / STRETCH)


def toxicity(text: str) -> float:
    """Calibrated probability that the text is toxic, 0 to 1."""
    return float(scores([text])[0, 0])


def scores(texts: Sequence[str]) -> Probabilities:
    """Calibrated probabilities, float32 [len(texts), labels], in the order of `model().encoder.labels`, overall first.

    Every window is read.
    """
    loaded = model()
    logits = np.array([loaded.worst(text) for text in texts], dtype=np.float32)
    return loaded.calibrated(logits.reshape(len(texts), len(loaded.encoder.labels)))


def _odds(chances: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    bounded = np.clip(np.asarray(chances, dtype=np.float64), 1e-9, 1 - 1e-9)
    return np.asarray(np.log(bounded / (1 - bounded)), dtype=np.float64)
