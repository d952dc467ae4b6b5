"""Addresses: one spelling for each page, however it is linked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.web.urls import Resolver, normalise, without_index

SPACES = " \t\r\n\f\0"


@pytest.mark.parametrize(
    "parameter",
    "utm_source=a UTM_Medium=b gclid=1 gbraid=1 fbclid=2 msclkid=3 mc_cid=4 mc_eid=4 _hsenc=5 _ga=6 _gl=6 mkt_tok=7 "
    "yclid=8 igshid=9 pk_campaign=x mtm_source=x matomo_kwd=x srsltid=y PHPSESSID=z jsessionid=z".split(),
)
def test_parameters_that_track_the_reader_are_dropped(parameter: str) -> None:
    assert normalise(f"http://h/a?{parameter}") == "http://h/a"
    assert normalise(f"http://h/a?x=1&{parameter}&b=2") == "http://h/a?b=2&x=1"


@pytest.mark.parametrize("parameter", "gid=1 ref=main page=2 utm=1 id=gclid q=fbclid session=1".split())
def test_other_parameters_stay(parameter: str) -> None:
    assert normalise(f"http://h/a?{parameter}") == f"http://h/a?{parameter}"


def test_session_ids_in_the_path_are_dropped() -> None:
    assert normalise("http://h/a;jsessionid=1A2B?x=1") == "http://h/a?x=1"
    assert normalise("http://h/a;v=1/b") == "http://h/a;v=1/b"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("123")), max_size=5), st.randoms())
def test_the_order_of_differently_named_parameters_is_one(pairs: list[tuple[str, str]], random) -> None:
    by_name = sorted(pairs, key=lambda pair: pair[0])
    names = [name for name, _ in pairs]
    random.shuffle(names)
    # Another order of the names, with the values of each name in the order that they had.
    values = {name: iter([value for other, value in pairs if other == name]) for name in names}
    shuffled = [(name, next(values[name])) for name in names]
    query = "&".join(f"{name}={value}" for name, value in shuffled)
    expected = "&".join(f"{name}={value}" for name, value in by_name)

    assert normalise(f"http://h/?{query}") == f"http://h/{'?' if pairs else ''}{expected}"


STEPS = st.sampled_from(["", "/", "../", "../../", "../../../../"])
LINKS = st.text(st.sampled_from("ab/.%2eE7~?&=#;:@ é\u200b\\+[]|-_"), max_size=12)
BASES = ["http://h/", "http://h/a/b", "https://h:81/a/?q=1", "http://h/a//b/", "http://h/a/b/c/d?x"]


@given(STEPS, LINKS, st.sampled_from(BASES))
def test_the_short_way_and_the_full_procedure_agree(steps: str, link: str, base: str) -> None:
    link = steps + link
    whole = normalise(link, base) if link.partition("#")[0].strip(SPACES) else base
    assert Resolver(base)(link) == whole


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("", "http://h/a/b?q=1"),
        ("#part", "http://h/a/b?q=1"),
        ("?r=2", "http://h/a/b?r=2"),
        ("c.html#x", "http://h/a/c.html"),
        ("../../../up", "http://h/up"),
        ("//other.example/x", "http://other.example/x"),
        ("mailto:a@b.example", None),
    ],
)
def test_links_are_relative_to_their_page(link: str, expected: str | None) -> None:
    assert Resolver("http://h/a/b?q=1")(link) == expected


def test_what_names_of_one_page_have_in_common() -> None:
    names = {without_index(f"http://h/a{end}?x=1") for end in ("", "/", "/index.html", "/index.htm", "/index.php")}
    assert names == {"http://h/a?x=1"}
    assert without_index("http://h/a/index2.html") == "http://h/a/index2.html"
