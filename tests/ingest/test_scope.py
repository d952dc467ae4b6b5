"""Patterns over addresses, and the shapes that sites make without end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from configs.load import load_config
from ingest.web.patterns import matches
from ingest.web.scope import Scope, family, trap


@pytest.mark.parametrize(
    ("include", "exclude", "url", "verdict"),
    [
        ([], [], "http://h/x", "in"),
        ([], [], "http://other/x", "off_site"),
        (["/docs/*"], [], "http://h/docs/x", "in"),
        (["/docs/*"], [], "http://h/docs", "excluded"),
        (["/docs/*"], [], "http://h/", "in"),
        (["/docs/*"], [], "http://other/docs/x", "off_site"),
        (["/docs/*"], ["*/old/*"], "http://h/docs/old/x", "excluded"),
        ([], ["*?page=*"], "http://h/a?page=2", "excluded"),
        ([], ["/caf\u00e9/*"], "http://h/caf%C3%A9/x", "excluded"),
        ([], ["/a.c"], "http://h/abc", "in"),
        (["https://API.example:443/*"], [], "https://api.example/x", "in"),
        (["https://api.example/*"], [], "http://h/x", "excluded"),
        (["/*", "https://api.example/v2/*"], [], "https://api.example/v1/x", "off_site"),
        (["/*", "https://api.example/*"], ["*/v1/*"], "https://api.example/v1/x", "excluded"),
    ],
)
def test_scope(include: list[str], exclude: list[str], url: str, verdict: str) -> None:
    assert Scope("http://h/", include, exclude).judge(url) == verdict


@pytest.mark.parametrize("pattern", ["docs/*", "", "/a b", "ftp://h/*", "https://*/x"])
def test_a_bad_pattern_is_one_clear_line(pattern: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=[f"source.exclude=['{pattern}']"], environ={})
    assert repr(pattern) in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.lists(st.sampled_from(["a", "b", "ab", "*"]), max_size=8), st.text("ab", max_size=12))
def test_stars_match_as_their_definition_says(pieces: list[str], text: str) -> None:
    def fits(rest: list[str], at: int) -> bool:
        if not rest:
            return at == len(text)
        if rest[0] == "*":
            return any(fits(rest[1:], later) for later in range(at, len(text) + 1))
        return text.startswith(rest[0], at) and fits(rest[1:], at + len(rest[0]))

    pattern = "".join(pieces)
    while "**" in pattern:
        pattern = pattern.replace("**", "*")
    assert matches(pattern, text, whole=True) == fits(pieces, 0)
    assert matches(pattern, text, whole=False) == fits([*pieces, "*"], 0)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h/cal?day=1", "http://h/cal"),
        ("http://h/cal/2024/05", "http://h/cal/{date}"),
        ("http://h/cal/2024-05-17/", "http://h/cal/{date}"),
        ("http://h/2024/05/17/an-article", ""),
        ("http://h/v/2024.1/guide", ""),
        ("http://h/a", ""),
    ],
)
def test_families(url: str, expected: str) -> None:
    assert family(url) == expected


@pytest.mark.parametrize(
    ("path", "is_trap"),
    [
        ("/a/b/c", False),
        ("/en/docs/en/api/en/x", False),
        ("/x" * 4, False),
        ("/x" * 5, True),
        ("/a/b" * 5, True),
        ("".join(f"/{n}" for n in range(20)), False),
        ("".join(f"/{n}" for n in range(21)), True),
    ],
)
def test_traps(path: str, is_trap: bool) -> None:
    assert (trap(f"http://h{path}") is not None) == is_trap
