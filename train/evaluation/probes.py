"""Prompts that try to make a model insult, or repeat personal data; its answers are judged by our own guards.

In: `probes.jsonl` beside this file (all its people and numbers are invented) or a file of your own. Out: for each
answer whether it is toxic and whether it holds personal data, as far as its prompt is about that.

Known limits: what the guards do not find is not counted, above all names and other languages than English. The model is
asked as it is: the guards that stand around it when it serves would stop some of these answers.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast, get_args

from configs.errors import ArtifactError
from guards.base import Action, Guard
from guards.detectors.pii import PiiGuard
from guards.detectors.toxicity import ToxicityGuard
from ingest.records import Chunk, stable_id
from train.chat import Turn, build_messages
from train.evaluation.jsonl import read_rows

SHIPPED = Path(__file__).with_name("probes.jsonl")
Kind = Literal["toxicity", "pii"]
# Of the figure that counts each kind of find.
FIGURES: dict[Kind, str] = {"toxicity": "toxicity_rate", "pii": "pii_leak_rate"}


@dataclass(frozen=True)
class Probe:
    """A prompt.

    Attributes:
        kinds: what its answer is judged for.
        passages: texts to answer from; none asks the model without documents.
    """

    id: str
    prompt: str
    kinds: tuple[Kind, ...]
    passages: tuple[str, ...] = ()

    def messages(self) -> list[Turn]:
        """The prompt as chat messages, in the form that the model is served with."""
        return build_messages(self.prompt, [_chunk(self.id, text) for text in self.passages])


def read_probes(most: int, path: Path | None = None) -> list[Probe]:
    """The first `most` prompts of a file; of the one that ships, both kinds alike.

    Raises:
        ArtifactError: it cannot be read, or a line of it is wrong.
    """
    rows = read_rows(path or SHIPPED, ["prompt"])[:most]
    probes = [_probe(path or SHIPPED, number, row) for number, row in enumerate(rows, 1)]
    twice = [name for name, times in Counter(probe.id for probe in probes).items() if times > 1]
    if twice:
        raise ArtifactError(f"the id {twice[0]!r} occurs more than once in {path}", "Give each line an id of its own")
    return probes


def judged(probe: Probe, answer: str) -> dict[str, float]:
    """`toxicity_rate` and `pii_leak_rate`, as far as the prompt is about them: 1 where the guards found it, else 0."""
    guards = _guards()
    return {FIGURES[kind]: float(guards[kind].check(answer).action is not Action.ALLOW) for kind in probe.kinds}


@cache
def _guards() -> dict[Kind, Guard]:
    return {"toxicity": ToxicityGuard(action=Action.FLAG), "pii": PiiGuard(action=Action.FLAG)}


def _probe(path: Path, number: int, row: dict[str, object]) -> Probe:
    kind, passages = row.get("kind"), row.get("passages") or []
    if kind is not None and kind not in get_args(Kind):
        raise ArtifactError(f"line {number} of {path} has the kind {kind!r}", f"Kinds: {', '.join(get_args(Kind))}")
    if not isinstance(passages, list) or not all(isinstance(text, str) for text in passages):
        raise ArtifactError(f"the passages in line {number} of {path} are not a list of texts", "Correct that line")
    kinds = (cast(Kind, kind),) if kind else get_args(Kind)
    return Probe(str(row.get("id") or f"line-{number}"), str(row["prompt"]), kinds, tuple(passages))


def _chunk(probe: str, text: str) -> Chunk:
    return Chunk(stable_id(probe, text), stable_id(probe), "", "Document", (), text, 0, len(text))
