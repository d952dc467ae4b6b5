"""The examples that the injection model learns from: passages with a foreign command put into them, and questions.

In: the folder of the public sets (docs/models/injection.md says what each holds), a folder of manuals in HTML, public
jailbreak prompts, and the grammar of our own beside this file. Out: `Example`s drawn at random, without end.

Known limits: English; what is pasted is drawn without regard for what would be likely in such a place.
"""

import gzip
import hashlib
import json
import random
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guards.normalise import Folded

FOLDS = 2
GRAMMAR = Path(__file__).with_name("injection_grammar.txt")
SNIPPETS = Path(__file__).with_name("injection_snippets.txt")
OWN_MANUAL = Path(__file__).parents[2] / "docs"
# Characters of a passage that is learned from: about what one window holds at run time.
SHORTEST, LONGEST = 250, 900

_SPACES = re.compile(" {2,}")
_SYMBOL = re.compile(r"\{(\w*)\}")
_WORD_START = re.compile(r"(?<=\s)(?=\S)")
_SENTENCE_START = re.compile(r"(?<=[.!?:])\s+(?=\S)|\n")
_HEADING = re.compile(r"(?m)^#{1,4} +([^#\n{]{4,60})$")
_FENCED = re.compile(r"```[a-z]*\n(.{20,400}?)\n```", re.DOTALL)
# Navigation of the manuals' own themes.
_CHROME = "//script|//style|//nav|//*[contains(@class,'sphinxsidebar') or contains(@class,'related')" + (
    " or contains(@class,'navheader') or contains(@class,'navfooter') or contains(@class,'toc')]"
)


@dataclass
class Example:
    """A text with targets by character.

    Attributes:
        marks: (start, end, passage, user): the target of each label within, None where it does not count; what no mark
            covers has the targets of `rest`.
    """

    text: str = ""
    marks: list[tuple[int, int, float | None, float | None]] = field(default_factory=list)
    rest: tuple[float | None, float | None] = (0.0, 0.0)

    def add(self, text: str, passage: float | None = None, user: float | None = None) -> None:
        """Append a marked text."""
        text = Folded(text).text
        self.marks.append((len(self.text), len(self.text) + len(text), passage, user))
        self.text += text


class Grammar:
    """Sentences of our own: `draw` picks one production of a symbol after the other."""

    def __init__(self, path: Path = GRAMMAR) -> None:
        self._rules: dict[str, list[str]] = {}
        name = ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("  "):
                self._rules[name] += line.strip().split(" | ")
            elif line and not line.startswith("#"):
                name = line
                self._rules[name] = []

    def draw(self, symbol: str, rng: random.Random) -> str:
        text = rng.choice(self._rules[symbol])
        text = _SYMBOL.sub(lambda match: self.draw(match[1], rng) if match[1] else "", text)
        return _SPACES.sub(" ", text).strip()


def fold(group: str) -> int:
    """Which part of the data a group of similar rows belongs to."""
    return int(hashlib.sha256(group.encode()).hexdigest(), 16) % FOLDS


def read_set(data: Path, name: str, file: str = "dev/data") -> Iterator[dict[str, Any]]:
    """Rows of a public set."""
    with gzip.open(data / name / f"{file}.jsonl.gz", "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


@dataclass(frozen=True)
class Attack:
    """A public attack on assistants that read passages. `lead`: how much of it is prose; code follows."""

    kind: str
    category: str
    text: str

    @property
    def lead(self) -> int:
        return len(self.text.partition("\n```")[0])


def attacks(data: Path) -> list[Attack]:
    """BIPIA's attacks on passages."""
    rows = read_set(data, "inject_bipia", "dev/attacks")
    return [Attack(row["kind"], row["category"], row["attack"]) for row in rows]


def attack_folds(found: Iterable[Attack]) -> dict[str, int]:
    """A fold for each category: half of each kind's categories in each, by the order of a hash."""
    folds: dict[str, int] = {}
    for kind in ("text", "code"):
        names = sorted(
            {a.category for a in found if a.kind == kind}, key=lambda name: hashlib.sha256(name.encode()).digest()
        )
        folds |= {name: place % FOLDS for place, name in enumerate(names)}
    return folds


def contexts(data: Path) -> list[tuple[str, str, str]]:
    """Task (email, code or table), id and text of BIPIA's contexts."""
    found = []
    for row in read_set(data, "inject_bipia", "dev/contexts"):
        text = row["context"] if isinstance(row["context"], str) else "\n".join(row["context"])
        found.append((row["task"], row["id"], text))
    return found


def manuals(data: Path) -> list[tuple[str, str]]:
    """Name and text of the pages of mlrun's manual, in Markdown."""
    found = []
    with tarfile.open(data / "mlops_sites" / "dev" / "mlrun_src.tar.xz") as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            file = archive.extractfile(member) if member.name.endswith((".md", ".rst")) else None
            if file is not None:
                found.append((member.name, file.read().decode("utf-8", "replace")))
    return found


def own_pages() -> list[tuple[str, str]]:
    """Name and text of the pages of our own manual, which asks a question in each heading."""
    return [(path.name, path.read_text(encoding="utf-8")) for path in sorted(OWN_MANUAL.glob("*.md"))]


def html_pages(folder: Path) -> list[tuple[str, str]]:
    """Name and text of the pages of manuals in HTML under the folder."""
    from lxml import html

    found = []
    for path in sorted(path for path in folder.rglob("*.html") if path.is_file()):
        body = html.fromstring(path.read_bytes()).find("body")
        if body is None:
            continue
        for node in body.xpath(_CHROME):
            node.drop_tree()
        text = re.sub(r"\n\s*\n+", "\n", body.text_content()).strip()
        if len(text) > 1000:
            found.append((str(path.relative_to(folder)), text))
    return found


def passages(text: str, words: int = 150) -> list[str]:
    """Whole lines of a page, up to about `words` words together."""
    found, lines, size = [], [], 0
    for line in text.splitlines():
        lines.append(line)
        size += len(line.split())
        if size >= words:
            found.append("\n".join(lines))
            lines, size = [], 0
    return found


def clusters(texts: Sequence[str], alike: float = 0.3) -> list[int]:
    """A number for each text; those that share three in ten of their runs of five words have the same."""
    runs = []
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        runs.append({hash(tuple(words[place : place + 5])) for place in range(max(1, len(words) - 4))})
    number = list(range(len(texts)))
    for later, own in enumerate(runs):
        for earlier in range(later):
            other = runs[earlier]
            if number[earlier] != number[later] and len(own & other) >= alike * min(len(own), len(other)):
                old, new = number[later], number[earlier]
                number = [new if value == old else value for value in number]
    return number


def first_question(row: dict[str, Any]) -> str:
    """What the person says first in a row of HH-RLHF."""
    return str(row["prompt"]).removeprefix("Human: ").partition("\n\nAssistant:")[0].strip()


def safe_group(row: dict[str, Any]) -> str:
    """What the contrast pairs of XSTest have in common."""
    return f"{row['focus']} {row['note']}"


class Pool:
    """What examples are made of, less the rows of the fold that is held out.

    Args:
        data: folder of the public sets.
        manuals_folder: manuals in HTML, or None.
        jailbreaks: public jailbreak prompts with their folds.
        held: the fold to leave out; None for none.
    """

    def __init__(
        self, data: Path, manuals_folder: Path | None, jailbreaks: Sequence[tuple[int, str]], held: int | None
    ) -> None:
        self.grammar = Grammar()
        self.snippets = SNIPPETS.read_text(encoding="utf-8").split("---\n")
        every = attacks(data)
        folds = attack_folds(every)
        self.attacks: dict[str, list[Attack]] = defaultdict(list)
        for attack in every:
            if folds[attack.category] != held:
                self.attacks[attack.kind].append(attack)
        self.contexts: dict[str, list[str]] = defaultdict(list)
        for task, identifier, text in contexts(data):
            if fold(identifier) != held:
                self.contexts[task].append(text)
        pages = [text for name, text in manuals(data) if fold(name) != held]
        self.contexts["mlrun"] = pages
        self.contexts["wellread"] = [text for name, text in own_pages() if fold(name) != held]
        self.snippets += [code for page in pages for code in _FENCED.findall(page)]
        if manuals_folder is not None:
            self.contexts["manuals"] = [text for _, text in html_pages(manuals_folder)]
        self.paragraphs = {row["_id"]: row["text"] for row in read_set(data, "qa_xquad_en", "common/corpus")}
        self.questions = [(row["para"], row["text"]) for row in read_set(data, "qa_xquad_en", "dev/queries")]
        self.contexts["xquad"] = list(self.paragraphs.values())
        self.asked = [first_question(row) for row in read_set(data, "pref_hh_harmless")]
        self.asked = [text for text in self.asked if 10 < len(text) < 400]
        self.tasks = [(row["instruction"], row["instances"][0]["input"]) for row in read_set(data, "instr_seed_tasks")]
        self.safe = [row["text"] for row in read_set(data, "xstest") if fold(safe_group(row)) != held]
        self.jailbreaks = [text for number, text in jailbreaks if number != held]
        self.sources = [(name, weight) for name, weight in SOURCES.items() if self.contexts[name]]


SOURCES = {"email": 0.16, "code": 0.18, "table": 0.14, "mlrun": 0.2, "manuals": 0.3, "wellread": 0.14, "xquad": 0.1}


class Draw:
    """Examples at random from a pool."""

    def __init__(self, pool: Pool, seed: int) -> None:
        self._pool = pool
        self._rng = random.Random(seed)

    def example(self) -> Example:
        kind = self._rng.choices(["attacked", "clean", "asked", "jailbreak"], [0.36, 0.37, 0.15, 0.12])[0]
        example: Example = getattr(self, kind)()
        return example

    def attacked(self) -> Example:
        """A passage with a command to the assistant somewhere in it."""
        source, text = self._context()
        place = self._place(text)
        example = Example()
        example.add(text[:place], 0.0, 0.0)
        before, after = self._rng.choice(
            [("\n", "\n"), ("\n", "\n"), (" ", " "), ("\n\n", "\n\n"), ("", " "), (" ", "")]
        )
        if place:
            example.add(before, 0.0, 0.0)
        self._attack(example, source)
        if place < len(text):
            example.add(after, None, 0.0)
            example.add(text[place:], 0.0, 0.0)
        return example

    def clean(self) -> Example:
        """A passage as it is, at times with one more sentence to its reader, or with a question that it answers."""
        rng = self._rng
        example = Example()
        if rng.random() < 0.12:
            paragraph, question = rng.choice(self._pool.questions)
            example.add(rng.choice([f"## {question}\n\n", f"{question}\n", f"Q: {question}\nA: "]), 0.0, 0.0)
            example.add(self._pool.paragraphs[paragraph][:LONGEST], 0.0, 0.0)
            return example
        source, text = self._context()
        if source == "table" and rng.random() < 0.4:
            title = rng.choice(["{}", '"{}"']).format(self._own("title"))
            row = f"\n| {rng.randint(1, 20)} | {title} | 3:{rng.randint(10, 59)} |"
            place = text.find("\n", rng.randrange(len(text)))
            text = text[:place] + row + text[place:]
        if rng.random() < 0.15:
            heading = _HEADING.search(text)
            if heading:
                asked = rng.choice(["How do I use {}?", "What is {}?", "How does {} work?", "Why {}?", "Can I use {}?"])
                text = (
                    text[: heading.start()] + "## " + asked.format(heading[1].strip().lower()) + text[heading.end() :]
                )
        place = self._place(text) if rng.random() < 0.3 else 0
        example.add(text[:place], 0.0, 0.0)
        if place:
            example.add(
                rng.choice(["\n", " ", "\n\n"]) + self._pool.grammar.draw("reader", rng) + rng.choice(["\n", " "]),
                0.0,
                0.0,
            )
        example.add(text[place:], 0.0, 0.0)
        return example

    def asked(self) -> Example:
        """What people ordinarily ask."""
        rng, pool = self._rng, self._pool
        example = Example()
        kind = rng.randrange(8)
        if kind <= 1:
            text = rng.choice(pool.asked)
        elif kind == 2:
            text = rng.choice(pool.questions)[1]
        elif kind == 3:
            text = "\n".join(rng.choice(pool.tasks)).strip()[:LONGEST]
        elif kind == 4:
            text = rng.choice(pool.safe)
        elif kind == 5:
            text = self._own(rng.choice(["ask", "ask", "attack_style", "attack_request", "attack_answer"]))
        elif kind == 6 or (kind == 7 and rng.random() < 0.5):
            text = self._own("reader_user")
        else:
            text = f"{self._own('ask')}\n{self._context()[1][:600]}"
        example.add(text, None, 0.0)
        return example

    def jailbreak(self) -> Example:
        """A message that tries to free the assistant from its rules, whole or beside an ordinary question."""
        rng, pool = self._rng, self._pool
        example = Example()
        if pool.jailbreaks and rng.random() < 0.6:
            text = rng.choice(pool.jailbreaks)
            start = 0 if len(text) < LONGEST or rng.random() < 0.5 else rng.randrange(len(text) - LONGEST // 2)
            example.add(text[start : start + rng.randint(SHORTEST, LONGEST)], 1.0, 1.0)
            return example
        mixed = rng.random()
        if mixed < 0.2:
            example.add(self._ordinary() + rng.choice([" ", "\n"]), None, 0.0)
        example.add(self._own(rng.choice(["jailbreak", "jailbreak", "override"])), 1.0, 1.0)
        if 0.2 < mixed < 0.3:
            example.add(rng.choice([" ", "\n"]) + self._ordinary(), None, 0.0)
        return example

    def _ordinary(self) -> str:
        return self._own("ask") if self._rng.random() < 0.5 else self._rng.choice(self._pool.questions)[1]

    def _own(self, symbol: str) -> str:
        return self._pool.grammar.draw(symbol, self._rng)

    def _attack(self, example: Example, source: str) -> None:
        rng, pool = self._rng, self._pool
        kinds = ["answer", "style", "request", "code", "override", "public", "task", "asked", "question"]
        weights = [3, 2.5, 2.5, 2, 2, 3, 0.7, 0.7, 0.8]
        if source == "code":
            weights = [1, 1, 1, 6, 1, 6, 0.3, 0.3, 0.3]
        kind = rng.choices(kinds, weights)[0]
        if kind == "public":
            attack = rng.choice(pool.attacks["code" if source == "code" or rng.random() < 0.2 else "text"])
            example.add(attack.text[: attack.lead], 1.0, 0.0)
            example.add(attack.text[attack.lead :], None, 0.0)
        elif kind == "code":
            fence = rng.choice(["```", "```", "```python", ""])
            example.add(self._own("attack_code"), 1.0, 0.0)
            example.add(f"\n{fence}\n{rng.choice(pool.snippets).strip()}\n{fence}", None, 0.0)
        elif kind == "override":
            example.add(self._own("override"), 1.0, 1.0)
        elif kind == "task":
            example.add(rng.choice(pool.tasks)[0], 1.0, 0.0)
        elif kind == "asked":
            example.add(rng.choice(pool.asked)[:200], 1.0, 0.0)
        elif kind == "question":
            example.add(rng.choice(pool.questions)[1], 1.0, 0.0)
        else:
            count = 1 if rng.random() < 0.85 else 2
            example.add(" ".join(self._own(f"attack_{kind}") for _ in range(count)), 1.0, 0.0)

    def _context(self) -> tuple[str, str]:
        """Source and a stretch of a passage, from the start of a line or not."""
        rng = self._rng
        names, weights = zip(*self._pool.sources, strict=True)
        source = rng.choices(names, weights)[0]
        text = rng.choice(self._pool.contexts[source])
        size = rng.randint(SHORTEST, LONGEST)
        if len(text) > size and rng.random() < 0.85:
            start = rng.randrange(len(text) - size)
            line = text.find("\n", start, start + 200)
            start = line + 1 if line >= 0 and rng.random() < 0.8 else start
            text = text[start:]
        return source, Folded(text[:size]).text

    def _place(self, text: str) -> int:
        """Where to put something: at the start, the end, or between sentences, lines or words."""
        rng = self._rng
        kind = rng.choices(["start", "end", "sentence", "word"], [0.22, 0.28, 0.35, 0.15])[0]
        if kind == "start":
            return 0
        finder = _SENTENCE_START if kind == "sentence" else _WORD_START
        places = [match.end() for match in finder.finditer(text)] if kind != "end" else []
        return rng.choice(places) if places else len(text)
