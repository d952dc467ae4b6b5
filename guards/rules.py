"""What a policy may say about each guard: one settings class a guard, and how the guard is built from it.

The fields' docstrings are their documentation. Detectors are imported when they are built, since some bring large
libraries, and most policies use few of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from configs.errors import ConfigError
from configs.section import Fraction, Positive, Section
from guards.base import Action, Guard

Embed = Callable[[Sequence[str]], np.ndarray]
Taking = Literal[Action.FLAG, Action.BLOCK]


@dataclass(frozen=True)
class Resources:
    """What some guards need from outside this room.

    Attributes:
        embed: texts to unit vectors, an array of shape (texts, dimensions).
        canary: what stands in the system prompt, and in no answer.
        topics: gives unit vectors of the corpus' topics, an array of shape (topics, dimensions); called when needed.
    """

    embed: Embed | None = None
    topics: Callable[[], np.ndarray] | None = None
    canary: str | None = None


class GuardRule(Section):
    """What every rule may say."""

    action: Action
    """What is done when the guard finds something: `flag`, `redact` or `block`; `allow` only scores."""
    on_failure: Literal["closed", "open"] = "closed"
    """Whether a text is refused (`closed`) or passes (`open`) when the guard itself breaks or overruns its time."""
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 5.0
    """Seconds after which the guard counts as broken."""

    def build(self, resources: Resources) -> Guard:
        """The guard that the rule describes; what is not set is left to the guard's defaults.

        Raises:
            ConfigError: it needs something that the resources lack.
        """
        options = self.model_dump(exclude={"on_failure", "timeout_s"}, exclude_none=True)
        return self.kind()(**options, **self.needs(resources))

    def kind(self) -> Callable[..., Guard]:
        """The guard's class."""
        raise NotImplementedError

    def needs(self, resources: Resources) -> dict[str, Any]:  # noqa: ARG002  most need nothing
        """Arguments that come from elsewhere than the policy."""
        return {}


class PiiRule(GuardRule):
    """Personal data."""

    mode: Literal["patterns", "full"] = "patterns"
    """`patterns` finds what has a form, such as numbers; `full` also names, places and organisations, by a model."""
    redact_as: Literal["tag", "mask", "hash", "pseudonym"] = "tag"
    """What replaces a find: its type, stars, a keyed hash, or a name that is turned back for the asker alone."""
    entities: tuple[str, ...] | None = None
    """Kinds to look for; all when not set."""
    allow: tuple[str, ...] = ()
    """What is never personal: a value such as a support address, or a domain for all its addresses."""
    spacy_model: str | None = None
    """Package of a spaCy model that gives a second opinion on people's names, in the mode `full`."""
    threshold: Fraction | None = None
    """Confidence from which a find counts."""

    def kind(self) -> Callable[..., Guard]:
        from guards.detectors.pii import PiiGuard

        return PiiGuard


class SecretsRule(GuardRule):
    """Keys, tokens and passwords."""

    allow: tuple[str, ...] = ()
    """Values that are not secret."""

    def kind(self) -> Callable[..., Guard]:
        from guards.detectors.secrets import SecretsGuard

        return SecretsGuard


class InvisibleRule(GuardRule):
    """Characters that a reader does not see and a model does."""

    def kind(self) -> Callable[..., Guard]:
        from guards.detectors.invisible import InvisibleGuard

        return InvisibleGuard


class ToxicityRule(GuardRule):
    """Insults, hate, threats, sexual content, profanity, self-harm; by the model that comes along."""

    action: Taking
    """`flag` or `block`."""
    categories: tuple[str, ...] | None = None
    """Categories that count; all when not set."""
    threshold: Fraction | None = None
    """Probability above which a text is toxic; the shipped ones, a figure a category, when not set."""

    def kind(self) -> Callable[..., Guard]:
        from guards.detectors.toxicity import ToxicityGuard

        return ToxicityGuard


class ClassifierRule(GuardRule):
    """A Hugging Face sequence classifier, by name or folder."""

    action: Taking
    """`flag` or `block`."""
    model: str
    """Hub id or local folder; weights in safetensors."""
    labels: tuple[str, ...] | None = None
    """Labels that count; when not set, every label but the harmless one."""
    threshold: Fraction = 0.5
    """Probability above which a label counts."""

    def kind(self) -> Callable[..., Guard]:
        from guards.detectors.classifier import ClassifierGuard

        return ClassifierGuard


class MeasurementRule(GuardRule):
    """The toxicity measurement of Hugging Face evaluate."""

    action: Taking
    """`flag` or `block`."""
    module: str = "toxicity"
    """Name on the hub or a local script."""
    model: str | None = None
    """The measurement's model; its own default when not set."""
    threshold: Fraction = 0.5
    """Score above which a text is toxic."""

    def kind(self) -> Callable[..., Guard]:
        from guards.detectors.classifier import MeasurementGuard

        return MeasurementGuard


class InjectionRule(GuardRule):
    """Attempts to override the assistant's instructions."""

    action: Taking
    """`flag` or `block`; a blocked passage is left out, and the rest is answered from."""
    source: Literal["user", "passage"]
    """Whose text it is: people may ask for things, documents may not."""
    threshold: Fraction | None = None
    """Probability above which it is an attempt; the shipped one when not set."""

    def kind(self) -> Callable[..., Guard]:
        from guards.detectors.injection import InjectionGuard

        return InjectionGuard


class CanaryRule(GuardRule):
    """The system prompt in an answer: a secret word is put into the one and looked for in the other."""

    def kind(self) -> Callable[..., Guard]:
        from guards.detectors.canary import CanaryGuard

        return CanaryGuard

    def needs(self, resources: Resources) -> dict[str, Any]:
        if resources.canary is None:
            raise ConfigError("the guard canary needs a prompt, and only a server has one", "Drop the rule here")
        return {"canary": resources.canary}


class UrlRule(GuardRule):
    """Links that lead elsewhere than to the sources."""

    hosts: tuple[str, ...] = ()
    """Hosts that may be linked besides those of the cited passages: `example.org`, or `*.example.org`."""

    def kind(self) -> Callable[..., Guard]:
        from guards.detectors.urls import UrlGuard

        return UrlGuard


class TopicRule(GuardRule):
    """Questions that have nothing to do with the documents."""

    action: Taking
    """`flag` or `block`."""
    threshold: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.2
    """Cosine similarity to the nearest topic of the documents, below which a text is off topic."""

    def kind(self) -> Callable[..., Guard]:
        from guards.detectors.topic import TopicGuard

        return TopicGuard

    def needs(self, resources: Resources) -> dict[str, Any]:
        if resources.embed is None or resources.topics is None:
            raise ConfigError(
                "the guard topic needs an index, and there is none here", "Run `wellread index`, or drop the rule"
            )
        return {"embed": resources.embed, "centroids": resources.topics()}


class LanguageRule(GuardRule):
    """Texts in other languages than the ones that are answered in."""

    action: Taking
    """`flag` or `block`."""
    languages: tuple[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")], ...] = ("en",)
    """ISO 639-1 codes."""
    min_chars: Positive | None = None
    """Shorter texts are not judged."""
    threshold: Fraction | None = None
    """Confidence from which another language counts."""

    def kind(self) -> Callable[..., Guard]:
        from guards.detectors.language import LanguageGuard

        return LanguageGuard


class GibberishRule(GuardRule):
    """Random characters and broken encodings."""

    action: Taking
    """`flag` or `block`."""
    threshold: float | None = None
    """Score above which a text is gibberish; the shipped one when not set."""

    def kind(self) -> Callable[..., Guard]:
        from guards.detectors.gibberish import GibberishGuard

        return GibberishGuard


class GroundingRule(GuardRule):
    """Sentences of an answer that the passages do not support; `redact` leaves them out."""

    threshold: Fraction | None = None
    """Support below which a sentence counts as not supported; the shipped one when not set."""
    nli: str | None = None
    """A Hugging Face model for natural language inference, which decides instead of the shipped one."""

    def kind(self) -> Callable[..., Guard]:
        from guards.detectors.grounding import GroundingGuard

        return GroundingGuard

    def needs(self, resources: Resources) -> dict[str, Any]:
        return {"embed": resources.embed}


RULES: dict[str, type[GuardRule]] = {
    "pii": PiiRule,
    "secrets": SecretsRule,
    "invisible": InvisibleRule,
    "toxicity": ToxicityRule,
    "classifier": ClassifierRule,
    "measurement": MeasurementRule,
    "injection": InjectionRule,
    "canary": CanaryRule,
    "urls": UrlRule,
    "topic": TopicRule,
    "language": LanguageRule,
    "gibberish": GibberishRule,
    "grounding": GroundingRule,
}
