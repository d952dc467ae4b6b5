from pathlib import Path

import numpy as np
import pytest

from configs.errors import ConfigError
from ingest.passages import Passages, write_passages
from ingest.records import Chunk, stable_id
from ingest.search.filters import Filter, Masks, mask

ROWS = [
    ("https://docs.example/guide", "2024-03-01", "en", ("install", "linux")),
    ("https://docs.example/guide/first", "2024-12-31", "en", ("install",)),
    ("https://docs.example/guide/first?page=2", "2023-01-01", "de", ()),
    ("https://docs.example/guidelines", "", "en", ("linux",)),
    ("https://docs.example.evil/guide", "2025-01-01", "", ("installation",)),
    ("file:///docs/guide/a.md", "1999-06-15", "fr", ("install", "linux", "old")),
]


def chunk(number: int, url: str, date: str, language: str, tags: tuple[str, ...]) -> Chunk:
    return Chunk(stable_id(str(number)), f"d{number}", url, "T", (), "text", 0, 4, language, date, tags)


@pytest.fixture
def passages(tmp_path: Path) -> Passages:
    write_passages(tmp_path, (chunk(number, *row) for number, row in enumerate(ROWS)))
    return Passages.load(tmp_path)


def rows(passages: Passages, **wanted: str | tuple[str, ...]) -> list[int]:
    found = mask(passages, Filter(**wanted))  # type: ignore[arg-type]
    assert found.dtype == np.bool_
    assert found.shape == (len(passages),)
    return np.flatnonzero(found).tolist()


def test_an_empty_filter_lets_all_through(passages: Passages) -> None:
    assert not Filter()
    assert Filter(language="en")
    assert rows(passages) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("https://docs.example/guide", [0, 1, 2]),
        ("https://docs.example/guide/", [0, 1, 2]),
        ("HTTPS://Docs.Example/guide", [0, 1, 2]),
        ("https://docs.example/guide/first", [1, 2]),
        ("https://docs.example/Guide", []),
        ("https://docs.example", [0, 1, 2, 3]),
        ("https://docs.example/gui", []),
        ("file:///docs", [5]),
    ],
)
def test_addresses_are_compared_in_whole_segments(passages: Passages, prefix: str, expected: list[int]) -> None:
    assert rows(passages, url_prefix=prefix) == expected


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        ("2024", "", [0, 1, 4]),
        ("", "2024", [0, 1, 2, 5]),
        ("2024", "2024", [0, 1]),
        ("2024-03-02", "2024-12", [1]),
        ("2024-03-01", "2024-03-01", [0]),
        ("2024-02", "2024-11", [0]),
        ("", "2000-01-01", [5]),
        ("2026", "", []),
    ],
)
def test_dates_include_both_ends_and_need_a_date(
    passages: Passages, since: str, until: str, expected: list[int]
) -> None:
    assert rows(passages, since=since, until=until) == expected


def test_languages_and_tags(passages: Passages) -> None:
    assert rows(passages, language="en") == [0, 1, 3]
    assert rows(passages, language="FR") == [5]
    assert rows(passages, language="ja") == []
    assert rows(passages, tags=("install",)) == [0, 1, 5]
    assert rows(passages, tags=("Install", "linux")) == [0, 5]
    assert rows(passages, tags=("instal",)) == []


def test_conditions_narrow_each_other(passages: Passages) -> None:
    assert rows(passages, url_prefix="https://docs.example", language="en", tags=("install",), since="2024-06") == [1]


def test_rows_past_the_first_batch_keep_their_place(tmp_path: Path) -> None:
    count = 9000
    made = (
        (f"https://a.org/{number}", "2024-01-01" if number % 3 else "", "en", ("t",) * (number % 5 == 0))
        for number in range(count)
    )
    write_passages(tmp_path, (chunk(number, *row) for number, row in enumerate(made)))
    passages = Passages.load(tmp_path)
    assert rows(passages, tags=("t",)) == list(range(0, count, 5))
    assert rows(passages, since="2024", tags=("t",)) == [row for row in range(0, count, 5) if row % 3]
    assert rows(passages, url_prefix="https://a.org/8888") == [8888]


def test_an_empty_index(tmp_path: Path) -> None:
    write_passages(tmp_path, [])
    assert rows(Passages.load(tmp_path), url_prefix="https://a.org", since="2020", language="en", tags=("t",)) == []


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"since": "2024-13-01"}, "since '2024-13-01' is no date. Write YYYY-MM-DD"),
        ({"until": "2023-02-29"}, "until '2023-02-29' is no date"),
        ({"since": "last week"}, "since 'last week' is no date"),
        ({"since": "2024-1-1"}, "since '2024-1-1' is no date"),
        ({"since": "20245"}, "since '20245' is no date"),
        ({"since": "2024-06", "until": "2023"}, "since 2024-06 is after until 2023"),
        ({"language": "english"}, "language 'english' is no ISO 639-1 code"),
        ({"language": "xx"}, "language 'xx' is no ISO 639-1 code"),
        ({"url_prefix": "docs.example/guide"}, "url_prefix 'docs.example/guide' is no address"),
    ],
)
def test_what_makes_no_sense_is_refused(wanted: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Filter(**wanted)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_masks_are_remembered_and_cannot_be_changed(passages: Passages) -> None:
    masks = Masks(passages, most=2)
    english = masks(Filter(language="en"))
    assert masks(Filter(language="en")) is english
    assert english.tolist() == mask(passages, Filter(language="en")).tolist()
    with pytest.raises(ValueError, match="read-only"):
        english[0] = False
    masks(Filter(language="de"))
    masks(Filter(language="en"))
    masks(Filter(language="fr"))
    assert masks(Filter(language="en")) is english
    masks(Filter(language="fr"))
    masks(Filter(language="de"))
    assert masks(Filter(language="en")) is not english
