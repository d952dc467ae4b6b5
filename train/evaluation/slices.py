"""Figures of parts of the held-out questions: by site section, by question type, by whether there is an answer.

In: the rows of evaluations of several models. Out: for each slice its size and each model's figures. A small slice is
marked: of fewer than ten questions, one that falls the other way moves a figure by a tenth.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from train.evaluation.figures import Row, figures_of

SMALL = 10
# Further sections go together, or a report of a large site is nothing but sections.
MOST = 12
OTHERS = "(others)"


@dataclass(frozen=True)
class Slice:
    """Some of the rows.

    Attributes:
        by: what they are grouped by.
        rows: how many of the first model's rows it holds.
        figures: model name -> figures.
    """

    by: str
    value: str
    rows: int
    figures: Mapping[str, Mapping[str, float]]

    @property
    def small(self) -> bool:
        return self.rows < SMALL


def _answerable(row: Row) -> str:
    return "answerable" if row["answerable"] else "unanswerable"


# Set of rows -> what it is sliced by.
SLICED: dict[str, dict[str, Callable[[Row], str]]] = {
    "answers": {
        "site section": lambda row: str(row["section"]),
        "question type": lambda row: str(row["kind"]),
        "answerable": _answerable,
    },
    "general": {"general questions": lambda row: str(row["topic"])},
}


def slices_of(models: Mapping[str, Mapping[str, Sequence[Row]]]) -> list[Slice]:
    """The slices of several models' rows.

    Args:
        models: name -> set -> rows; the first one's decide which slices there are.
    """
    return [
        one
        for name, groupings in SLICED.items()
        for by, of in groupings.items()
        for one in _sliced(by, of, {model: rows.get(name, ()) for model, rows in models.items()})
    ]


def _sliced(by: str, of: Callable[[Row], str], models: Mapping[str, Sequence[Row]]) -> list[Slice]:
    first = next(iter(models.values()), ())
    counts = Counter(map(of, first))
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    kept = set(ranked if len(ranked) <= MOST else ranked[: MOST - 1])
    placed = {
        model: [(value if (value := of(row)) in kept else OTHERS, row) for row in rows]
        for model, rows in models.items()
    }
    values = [value for value in ranked if value in kept] + ([OTHERS] if len(kept) < len(ranked) else [])
    return [_slice(by, value, placed) for value in values]


def _slice(by: str, value: str, placed: Mapping[str, Sequence[tuple[str, Row]]]) -> Slice:
    rows = {model: [row for where, row in pairs if where == value] for model, pairs in placed.items()}
    return Slice(by, value, len(next(iter(rows.values()))), {model: figures_of(own) for model, own in rows.items()})
