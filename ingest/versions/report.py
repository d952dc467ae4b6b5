"""The report of a data set that a manager can read: one HTML file that needs nothing else, neither network nor scripts.

In: the counts of the stages, the profile, the tables of rejects. Out: `report.html`; the same input gives the same
bytes. What pages say is shown as text, never as markup: the template escapes everything, addresses become links only
when a browser may follow them, and the file forbids a browser to load or run anything.

Known limit: a rule's part of the funnel is known when the stages before count `rejected_<rule>`; else only how many a
stage left out is shown.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import takewhile
from math import log
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from configs.artifacts import Version, Workspace, write_text_atomic
from configs.errors import ArtifactError
from ingest.records import Document, column, read_table
from ingest.versions.ancestry import REJECTS, TABLES, ancestors
from ingest.versions.profile import PROFILE, DataProfile, Word, profile_documents, read_profile
from ingest.versions.report_charts import Step, columns, sankey
from ingest.versions.report_rejects import Digest, digest_rejects

REPORT = "report.html"
REJECTED, FLAGGED, TERMS, REPEATED = "rejected_", "flagged_", "terms_", "repeated_"
# What a stage's count is called in its manifest, and what it is called in the report.
SIZES = {"pages": "pages", "extracted": "documents", "cleaned": "documents", "documents": "documents"}
NAMES = {"pages": "Pages read", "extracted": "With text", "cleaned": "Clean", "documents": "Unique documents"}
FOUND, LEFT_OUT = "Addresses tried", "left out"
# Not for a page: control characters are not allowed in HTML, and a lone surrogate is not text at all.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
LONGEST_SAMPLE = 280
HERE = "(here)"
MOST_PLACES, MOST_WORDS, MOST_LANGUAGES, MOST_YEARS = 12, 40, 12, 20
# What the guards leave documents out for.
GUARDED = frozenset({"pii", "secret", "toxicity", "injection", "invisible", "gibberish", "guard_failed"})
SPOKEN = {"pii": "personal data", "secret": "secrets", "und": "unknown", "c4": "C4", "fineweb": "FineWeb"}
# A word of most documents says nothing about them.
COMMON_SHARE, SHORTEST_WORD = 0.5, 4


@dataclass(frozen=True)
class Facts:
    """What a report is made of.

    Attributes:
        source: the site or folder that was read.
        stages: stage and counts of its manifest, from `pages` to `documents`.
        profile: of the documents.
        rejects: tables of rejects; those of the pages first, where they have some.
        settings: those of the stages, by their dotted names, to be listed.
        passages: how many the documents were cut into; None while they are not.
        terms: group of people, such as `gender/female`, to mentions; also read from counts called `terms_<group>`.
    """

    source: str
    stages: Sequence[tuple[str, Mapping[str, int]]]
    profile: DataProfile
    rejects: Sequence[Path]
    settings: Mapping[str, Any]
    passages: int | None = None
    terms: Mapping[str, int] = field(default_factory=dict)


def facts_of(workspace: Workspace, made_from: Version, counts: Mapping[str, int], profile: DataProfile) -> Facts:
    """The facts about a data set, of which `make` may still be running.

    Args:
        made_from: the version that it was made from; those before are found by the manifests.
        counts: its own.

    The table of rejects that is in its own folder is still to be added, with `write_report`.
    """
    before = [*ancestors(workspace, made_from), made_from]
    pages = [version for version in before if version.manifest.stage == "pages"]
    read = pages[-1].manifest.settings if pages else {}
    tables = [version.path / REJECTS for version in pages]
    settings = {
        f"{one.manifest.stage}.{name}": value for one in before for name, value in one.manifest.settings.items()
    }
    return Facts(
        source=str(read.get("site") or read.get("folder") or "Documents"),
        stages=[*((one.manifest.stage, one.manifest.counts) for one in before), ("documents", counts)],
        profile=profile,
        rejects=[path for path in tables if path.exists()],
        settings=settings,
    )


def write_report(path: Path, facts: Facts, rejects: Path) -> Path:
    """Write the report.

    Args:
        path: the file.
        facts: see there.
        rejects: the data set's own table of rejects.

    Raises:
        ArtifactError: a table of rejects is damaged.
    """
    digest = digest_rejects([*facts.rejects, rejects])
    unread = Counter(rule for table in facts.rejects for rule in column(table, "rule"))
    counts = facts.stages[-1][1]
    steps = funnel(facts.stages, unread, digest)
    html = _template().render(
        source=facts.source,
        steps=steps,
        chart=sankey(steps) if len(steps) > 1 else None,
        digest=digest,
        profile=facts.profile,
        lengths=columns(facts.profile.words) if facts.profile.documents else [],
        languages=_most(facts.profile.languages, MOST_LANGUAGES),
        years=dict(list(facts.profile.years.items())[-MOST_YEARS:]),
        places=_places(facts.profile.places),
        words=_telling(facts.profile),
        passages=facts.passages,
        repeated=_by_prefix(counts, REPEATED),
        redacted=counts.get("redacted", 0),
        flagged=_by_prefix(counts, FLAGGED),
        guarded={name: n for name, n in _by_prefix(counts, REJECTED).items() if name in GUARDED},
        terms=_categories({**_by_prefix(counts, TERMS), **facts.terms}),
        settings={name: value for name, value in facts.settings.items() if value is not None},
    )
    write_text_atomic(path, html)
    return path


def report_again(workspace: Workspace, documents: Version, out: Path, count_tokens: Callable[[str], int]) -> Path:
    """Write the report of a finished data set to a file, with how many passages it was cut into.

    Args:
        out: the file.
        count_tokens: for a data set that has no profile yet.

    Raises:
        ArtifactError: what it was made from is gone, or a table is damaged.
    """
    profile = _profile(documents, count_tokens)
    sources = list(documents.manifest.inputs.items())
    made_from = workspace.version(*sources[0])
    facts = facts_of(workspace, made_from, documents.manifest.counts, profile)
    cut = [one for one in workspace.versions("chunks") if one.manifest.inputs.get("documents") == documents.id]
    passages = cut[-1].manifest.counts.get("chunks") if cut else None
    return write_report(out, replace(facts, passages=passages), documents.path / REJECTS)


def _profile(documents: Version, count_tokens: Callable[[str], int]) -> DataProfile:
    if (documents.path / PROFILE).exists():
        return read_profile(documents.path)
    return profile_documents(read_table(documents.path / TABLES["documents"], Document), count_tokens)


def funnel(
    stages: Sequence[tuple[str, Mapping[str, int]]], unread: Mapping[str, int], digest: Digest
) -> tuple[Step, ...]:
    """The steps from what was found to what is kept.

    Args:
        stages: see `Facts`.
        unread: rule to addresses that were not read because of it.
    """
    sizes = [(stage, counts) for stage, counts in stages if stage in SIZES]
    if not sizes:
        raise ArtifactError("there are no counts of any stage", "Run `wellread ingest` again")
    read = sizes[0][1].get(SIZES[sizes[0][0]], 0)
    steps = [Step(FOUND, read + sum(unread.values()), {})] if unread else []
    steps.append(Step(NAMES[sizes[0][0]], read, unread))
    before = read
    known: dict[str, int] = {}
    stages_are_one = len(sizes) == 2
    for stage, counts in sizes[1:]:
        count = counts.get(SIZES[stage], 0)
        rules = _by_prefix(counts, REJECTED)
        here = {rule: n - known.get(rule, 0) for rule, n in rules.items() if n > known.get(rule, 0)}
        if stage == "documents" and not known:
            # The stages before did not say what they left out: only repeated documents are surely of this one.
            here = {rule: n for rule, n in here.items() if rule in digest.kinds or stages_are_one}
        rest = before - count - sum(here.values())
        steps.append(Step(NAMES[stage], count, here | ({LEFT_OUT: rest} if rest > 0 else {})))
        before, known = count, known | rules
    return tuple(steps)


def _places(places: Mapping[str, int]) -> tuple[str, dict[str, int]]:
    """What all places begin with, and the documents of each part of the source below it."""
    split = [(place.split("/"), count) for place, count in places.items()]
    levels = zip(*(parts for parts, _ in split), strict=False)
    depth = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, levels))
    found: Counter[str] = Counter()
    for parts, count in split:
        found[parts[depth] if len(parts) > depth and parts[depth] else HERE] += count
    shared = "/".join([*split[0][0][:depth], ""]) if split else ""
    return shared, _most(found, MOST_PLACES)


def _telling(profile: DataProfile) -> list[Word]:
    """Words that are frequent in some documents and not in most, by occurrences times log(documents / those with it)
    (Sparck Jones 1972)."""
    most = profile.documents * COMMON_SHARE
    long = [word for word in profile.vocabulary.top if len(word.word) >= SHORTEST_WORD and 1 < word.documents <= most]
    weight = {word.word: round(word.occurrences * log(profile.documents / word.documents), 6) for word in long}
    return sorted(long, key=lambda word: (-weight[word.word], word.word))[:MOST_WORDS]


def _most(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """The largest, and the others together."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(n for _, n in ranked[most:])
    return dict(ranked[:most]) | ({f"{len(ranked) - most} others": rest} if rest else {})


def _categories(terms: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Mentions by category and group, the most mentioned first."""
    found: dict[str, dict[str, int]] = {}
    for name, count in sorted(terms.items(), key=lambda item: (-item[1], item[0])):
        category, _, group = name.rpartition("/")
        found.setdefault(category, {})[group] = count
    return dict(sorted(found.items()))


def _by_prefix(counts: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): n for name, n in counts.items() if name.startswith(prefix) and n}


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "plain": _plain,
        "number": _number,
        "share": _share,
        "words": _words,
        "address": _address,
        "link": _link,
    }
    return environment.get_template(REPORT)


def _plain(text: object) -> str:
    """One line of text that a page may show."""
    line = " ".join(_CONTROLS.sub("", str(text)).split())
    return line if len(line) <= LONGEST_SAMPLE else f"{line[:LONGEST_SAMPLE]}…"


def _words(name: str) -> str:
    """A rule's or category's name as words."""
    return SPOKEN.get(name) or _plain(name).replace("_", " ")


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _share(part: float, whole: float) -> str:
    """A share in percent; the least and the most are not rounded to nothing and all."""
    if not whole or part <= 0:
        return "0%"
    percent = 100 * part / whole
    if percent < 1:
        return "under 1%"
    return "over 99%" if 99 <= percent < 100 else f"{percent:.0f}%"


def _address(url: str) -> str:
    """An address as people read it."""
    return _plain(unquote(url))


def _link(url: str) -> str:
    """The address where a browser may follow it, else nothing: never `javascript:`; `file:` leads to errors only."""
    return url if url.startswith(("https://", "http://")) and not _CONTROLS.search(url) else ""
