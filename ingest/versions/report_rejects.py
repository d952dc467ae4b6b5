"""What the tables of rejects say, in a form that fits on a page.

In: tables of `Reject`, read twice, row by row. Out: how many each rule left out with a few samples, and the largest
groups of duplicates. Memory depends on the number of rules, not of rejects.

Known limit: with more than 100,000 groups of duplicates the sizes may be too low by a few.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from pathlib import Path

from ingest.records import Reject, read_table, stable_id
from ingest.versions.sketch import TopCounter

SAMPLES, GROUPS, GROUP_MEMBERS = 3, 8, 4


@dataclass(frozen=True)
class Group:
    """A document and those that repeat it.

    Attributes:
        url: of the one that was kept.
        size: how many repeat it.
        members: some of them.
    """

    url: str
    size: int
    members: tuple[Reject, ...]


@dataclass(frozen=True)
class Rule:
    """What one rule left out.

    Attributes:
        samples: some of its rejects, spread over the table, those that show their text first.
    """

    name: str
    count: int
    samples: tuple[Reject, ...]


@dataclass(frozen=True)
class Digest:
    """What was left out, in short.

    Attributes:
        rules: most first.
        kinds: rules that found something repeated, with how many.
        groups: the largest groups of duplicates, largest first.
    """

    rules: tuple[Rule, ...] = ()
    kinds: dict[str, int] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()


def digest_rejects(tables: Sequence[Path]) -> Digest:
    """Read tables of rejects.

    Raises:
        ArtifactError: one is missing or damaged.
    """
    counts: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    matched = TopCounter()
    samples: defaultdict[str, _Sample] = defaultdict(_Sample)
    for reject in _rows(tables):
        counts[reject.rule] += 1
        samples[reject.rule].add(reject)
        if reject.matched:
            kinds[reject.rule] += 1
            matched.add([reject.matched])
    return Digest(
        rules=tuple(Rule(name, count, samples[name].chosen()) for name, count in _ranked(counts)),
        kinds=dict(_ranked(kinds)),
        groups=_groups(tables, matched.top(GROUPS)),
    )


class _Sample:
    """Chooses some rows of many: those with the lowest hashes, so that they are spread and always the same ones."""

    def __init__(self) -> None:
        self._heap: list[tuple[bool, int, int, Reject]] = []
        self._seen = 0

    def add(self, reject: Reject) -> None:
        # The heap gives up its smallest; a hash turned round makes that the highest. The number settles ties.
        self._seen += 1
        entry = (bool(reject.sample), -int(stable_id(reject.url), 16), -self._seen, reject)
        if len(self._heap) < SAMPLES:
            heappush(self._heap, entry)
        elif entry > self._heap[0]:
            heappushpop(self._heap, entry)

    def chosen(self) -> tuple[Reject, ...]:
        return tuple(entry[3] for entry in sorted(self._heap, key=lambda entry: -entry[2]))


def _groups(tables: Sequence[Path], largest: Sequence[tuple[str, int]]) -> tuple[Group, ...]:
    members: dict[str, list[Reject]] = {url: [] for url, _ in largest}
    # A second reading, for the first does not know yet which groups will be large.
    for reject in _rows(tables) if members else ():
        if len(group := members.get(reject.matched, [])) < GROUP_MEMBERS and reject.matched in members:
            group.append(reject)
    return tuple(Group(url, size, tuple(members[url])) for url, size in largest)


def _rows(tables: Sequence[Path]) -> Iterator[Reject]:
    for path in tables:
        yield from read_table(path, Reject)


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
