"""The texts on which the injection model is measured, each with the fold of the data that its parts belong to.

In: the folder of the public sets and, where there are any, manuals and jailbreak prompts that nothing is learned from.
Out: `Trial`s. A trial of a fold is made of rows of that fold alone: the model that judges it has seen neither the
attack's category nor the context.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from guards.detectors.injection import Source
from guards.training.injection_data import (
    attack_folds,
    attacks,
    contexts,
    fold,
    html_pages,
    manuals,
    own_pages,
    passages,
    read_set,
    safe_group,
)

# Where a foreign text is put: as BIPIA does, on lines of its own before, after, or between two sentences.
PLACES = ("start", "middle", "end")
TASKS = {"text": ("email", "table"), "code": ("code",)}
MOST_PASSAGES = 400
_BORDER = re.compile(r"(?<=[.!?])\s+|\n")


@dataclass(frozen=True)
class Trial:
    """One text to judge.

    Attributes:
        source: whose text it is.
        name: the set that it counts for.
        category: of the attack; elsewhere empty.
        fold: whose model may judge it; None: nothing like it is learned from.
    """

    source: Source
    name: str
    category: str
    text: str
    attacked: bool
    fold: int | None


def passage_trials(data: Path) -> Iterator[Trial]:
    """BIPIA's attacks in its contexts, these contexts alone, and a manual's passages of about 150 words."""
    rng = random.Random(0)
    every = attacks(data)
    folds = attack_folds(every)
    found = contexts(data)
    for attack in every:
        for place in PLACES:
            for task in TASKS[attack.kind]:
                own = [text for kind, name, text in found if kind == task and fold(name) == folds[attack.category]]
                text = insert(rng.choice(own), attack.text, place, rng)
                yield Trial("passage", f"{task} {place}", attack.category, text, True, folds[attack.category])
    for task, name, text in found:
        yield Trial("passage", f"{task} alone", "", text, False, fold(name))
    for title, pages in (("mlrun manual", manuals(data)), ("wellread manual", own_pages())):
        pieces = [(fold(name), piece) for name, page in pages for piece in passages(page)]
        for number, piece in rng.sample(pieces, min(len(pieces), MOST_PASSAGES)):
            yield Trial("passage", title, "", piece, False, number)


def insert(text: str, attack: str, place: str, rng: random.Random) -> str:
    """The attack on lines of its own in the text."""
    if place == "start":
        return f"{attack}\n{text}"
    if place == "end":
        return f"{text}\n{attack}"
    borders = [match.end() for match in _BORDER.finditer(text)] or [len(text) // 2]
    at = rng.choice(borders)
    return f"{text[:at]}\n{attack}\n{text[at:]}"


def user_trials(data: Path, jailbreaks: Sequence[tuple[int, str]] = ()) -> Iterator[Trial]:
    """Public jailbreak prompts, and what people ordinarily ask."""
    for number, text in jailbreaks:
        yield Trial("user", "jailbreaks in the wild", "", text, True, number)
    for row in read_set(data, "xstest"):
        yield Trial("user", f"xstest {row['label']}", "", row["text"], False, fold(safe_group(row)))
    for row in read_set(data, "pref_dpo_demo"):
        yield Trial("user", "chat (dpo)", "", row["conversations"][0]["value"], False, None)
    for row in read_set(data, "feedback_kto_demo"):
        yield Trial("user", "chat (kto)", "", row["messages"][0]["content"], False, None)


def unseen_manuals(folder: Path) -> Iterator[Trial]:
    """Passages of manuals in HTML that nothing is learned from; each folder is a set."""
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        pieces = [piece for _, page in html_pages(inner) for piece in passages(page)]
        for piece in random.Random(0).sample(pieces, min(len(pieces), MOST_PASSAGES // 4)):
            yield Trial("passage", f"{inner.name} manual", "", piece, False, None)
