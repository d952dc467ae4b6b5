"""The examples that the toxicity model learns from: four public sets, harmless text, and sentences of our own.

In: a folder with the sets (see docs/models/toxicity.md for what each holds). Out: `Example`s whose labels are 0 or 1,
or missing where a set says nothing about a category.

Known limits: `profanity` is labelled by a list of words, `insult` mostly by what one annotator called toxic.
"""

import ast
import gzip
import hashlib
import io
import itertools
import json
import os
import re
import string
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

LABELS = ("toxic", "insult", "hate", "threat", "sexual", "profanity", "self_harm")
HARMLESS = dict.fromkeys(LABELS, 0.0)
HARMLESS_SOURCES = ("xstest", "documentation", "docstrings")
OWN = Path(__file__).with_name("toxicity.yaml")

_PROFANE = re.compile(
    r"\b(?:mother|bull|horse|ass|dumb|jack|dip)?(?:f+u+c+k+\w{0,9}|fck\w{0,5}|shit\w{0,9}|bitch\w{0,9}|cunt\w{0,5}"
    r"|asshole\w{0,3}|ass|asses|dick\w{0,6}|cocks?|cocksuck\w{0,5}|puss(?:y|ies)|whor\w{1,6}|sluts?|slutty|bastards?"
    r"|hoes?|twats?|wank\w{0,5}|bollocks|arse\w{0,6}|damn\w{0,4}|goddamn|crap\w{0,4}|piss\w{0,5}|pricks?|wtf|stfu|lmfao"
    r"|tits?|titties)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Example:
    """One text.

    Attributes:
        source: the set it is from.
        key: its id in that set.
        group: what must stay together when the data are split, such as a template.
        labels: by name of the label; a missing one is unknown.
        tags: what figures are broken down by: functionality, target.
    """

    source: str
    key: str
    group: str
    text: str
    labels: dict[str, float]
    tags: dict[str, str] = field(default_factory=dict)

    def fold(self, folds: int) -> int:
        """Which of `folds` parts it belongs to; the same in every run."""
        digest = hashlib.sha256(f"{self.source} {self.group}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % folds


def load_examples(data: Path) -> list[Example]:
    """All examples, in a fixed order."""
    return [
        *davidson(data),
        *hatecheck(data),
        *surge(data),
        *moderation(data),
        *xstest(data),
        *documentation(data),
        *docstrings(),
        *own_sentences(),
    ]


def davidson(data: Path) -> Iterator[Example]:
    """Tweets by three or more annotators: hate, offensive or neither."""
    for row in read_set(data, "tox_davidson"):
        labels = {"toxic": float(row["label_toxic"]), "profanity": profane(row["text"])}
        if row["cls"] == 0 or row["hate"] == 0:
            labels["hate"] = float(row["cls"] == 0)
        if row["cls"] == 2:
            labels |= {"insult": 0.0, "threat": 0.0}
        kind = ("hate", "offensive", "neither")[row["cls"]]
        yield Example("davidson", row["id"], row["id"], row["text"], labels, {"class": kind})


def hatecheck(data: Path) -> Iterator[Example]:
    """Templates that each test one way of being hateful or not. Abuse of individuals is not hate, but it is insult."""
    for row in read_set(data, "tox_hatecheck"):
        kind, hateful = row["functionality"], float(row["label_hateful"])
        labels = {"toxic": hateful, "hate": hateful, "sexual": 0.0, "self_harm": 0.0, "profanity": profane(row["text"])}
        if kind.startswith("threat_"):
            labels["threat"] = 1.0
        elif not hateful or kind.startswith(("derog", "slur", "profanity")):
            labels["threat"] = 0.0
        if kind == "target_indiv_nh":
            labels["insult"] = 1.0
            del labels["toxic"]
        elif not hateful and kind != "target_group_nh":
            labels["insult"] = 0.0
        tags = {"functionality": kind, "target": row["target"] or "none"}
        yield Example("hatecheck", row["id"], row["templ_id"], row["text"], labels, tags)


def surge(data: Path) -> Iterator[Example]:
    """Comments that one annotator found toxic or not; most of the toxic ones insult someone."""
    for row in read_set(data, "tox_surge"):
        toxic = float(row["label_toxic"])
        labels = {"toxic": toxic, "insult": toxic, "profanity": profane(row["text"])}
        if not toxic:
            labels |= {"hate": 0.0, "threat": 0.0}
        yield Example("surge", row["id"], row["id"], row["text"], labels)


def moderation(data: Path) -> Iterator[Example]:
    """Web and model texts in the categories of OpenAI's moderation policy; a category that is not given is unknown."""
    names = {"S": "sexual", "H": "hate", "HR": "insult", "SH": "self_harm"}
    for row in read_set(data, "tox_openai_moderation"):
        given = row["cats"]
        labels = {"toxic": float(row["label_any"]), "profanity": profane(row["text"])}
        labels |= {name: float(given[short]) for short, name in names.items() if short in given}
        if "V" in given:
            labels["threat"] = float(bool(given["V"] or given.get("H2")))
        tags = {"category": next((names.get(short, "threat") for short, value in given.items() if value), "none")}
        yield Example("openai_moderation", row["id"], row["id"], row["text"], labels, tags)


def xstest(data: Path) -> Iterator[Example]:
    """Safe questions that look unsafe."""
    for row in read_set(data, "xstest"):
        if row["label"] == "safe":
            group = f"{row['type']} {row['focus']} {row['note']}"
            yield Example("xstest", row["id"], group, row["text"], HARMLESS, {"type": row["type"]})


def documentation(data: Path, every: int = 5) -> Iterator[Example]:
    """Paragraphs of a manual, one in `every`."""
    place = 0
    with tarfile.open(data / "mlops_sites" / "dev" / "mlrun_src.tar.xz") as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            file = archive.extractfile(member) if member.isfile() and member.name.endswith(".md") else None
            if file is None:
                continue
            content = io.TextIOWrapper(file, encoding="utf-8", errors="replace").read()
            for paragraph in re.split(r"\n[ \t]{0,9}\n", content):
                text = " ".join(paragraph.split())[:600]
                place += 1
                if len(text) > 60 and place % every == 0:
                    yield Example("documentation", f"doc-{place}", member.name, text, HARMLESS)


def docstrings(every: int = 12) -> Iterator[Example]:
    """Paragraphs of the documentation inside Python's standard library, one in `every`; nothing is imported."""
    place = 0
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
        for paragraph in "\n\n".join(filter(None, map(ast.get_docstring, nodes))).split("\n\n"):
            text = " ".join(paragraph.split())[:600]
            place += 1
            if len(text) > 60 and place % every == 0:
                yield Example("docstrings", f"py-{place}", path.name, text, HARMLESS)


def own_sentences() -> Iterator[Example]:
    """The templates beside this file, each filled with a few of its slots' values."""
    content = yaml.safe_load(OWN.read_text(encoding="utf-8"))
    place = 0
    for part in content["texts"]:
        labels: dict[str, float] = HARMLESS | {name: float(value) for name, value in part["labels"].items()}
        labels = {name: value for name, value in labels.items() if name not in part.get("unknown", ())}
        for template in part["texts"]:
            for text in _filled(template, content["slots"], place):
                place += 1
                exact = labels | ({"profanity": profane(text)} if "profanity" in labels else {})
                yield Example("own", f"own-{place}", template, text, exact)


def _filled(template: str, slots: dict[str, list[str]], first: int, count: int = 4) -> Iterator[str]:
    names = sorted({name for _, name, _, _ in string.Formatter().parse(template) if name})
    for number in range(count if names else 1):
        # Coprime steps, so that every value of every slot is used somewhere.
        values = {
            name: slots[name][(first * 3 + number * 5 + step) % len(slots[name])]
            for name, step in zip(names, itertools.count(), strict=False)
        }
        text = template.format_map(values)
        yield text[0].upper() + text[1:]


def profane(text: str) -> float:
    """1 if the text has a word of the list."""
    return float(bool(_PROFANE.search(text)))


def read_set(data: Path, name: str) -> list[dict[str, Any]]:
    """The rows of one set."""
    with gzip.open(data / name / "dev" / "data.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
