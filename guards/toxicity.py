"""Toxicity by alt-profanity-check: a linear model over words, offline, under a millisecond a text.

Text in, the probability of profanity or insult out.

Known limits: it was trained on tweets and comments, knows single words rather than meaning (ROC-AUC .84 on Surge,
.44 on HateCheck), and misses polite hate. The package keeps its model as a joblib file; it is loaded from the installed
package only, which is trusted as far as the package's code is.
"""

import threading
from functools import cache
from importlib import metadata

from guards.base import Action, Verdict

_loading = threading.Lock()


class ToxicityGuard:
    """Answers with `action` when the score exceeds the threshold.

    Args:
        action: `Action.BLOCK` or `Action.FLAG`.
        threshold: probability between 0 and 1.
    """

    name = "toxicity"

    def __init__(self, action: Action = Action.BLOCK, threshold: float = 0.9) -> None:
        self._action = action
        self._threshold = threshold

    def check(self, text: str) -> Verdict:
        score = toxicity(text)
        toxic = score > self._threshold
        return Verdict(
            action=self._action if toxic else Action.ALLOW,
            category="toxicity",
            score=score,
            threshold=self._threshold,
            reason="It reads as insulting or obscene." if toxic else "Not toxic.",
            detector="alt-profanity-check",
            version=_version(),
        )


def toxicity(text: str) -> float:
    """Probability that the text is profane or insulting, 0 to 1."""
    # The import reads and unpacks the model; two threads at once would find a half-imported package.
    with _loading:
        from profanity_check import predict_prob
    return float(predict_prob([text])[0])


@cache
def _version() -> str:
    return metadata.version("alt-profanity-check")
