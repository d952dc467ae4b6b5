"""`wellread ask`: what it sends, and what it makes of options that make no sense."""

import pytest

from app.ask import ask_server, filters_of
from configs.errors import ConfigError
from serve.wire import Filters
from tests.app.fake_server import FakeServer


def test_filters_are_sent_as_they_were_given(server: FakeServer) -> None:
    filters = filters_of(url_prefix="https://a.org/guide", since="2024", tags=["sql", "old"])
    ask_server(server.url, "What is a vacuum?", filters)
    assert server.requests[-1].filters == Filters(url_prefix="https://a.org/guide", since="2024", tags=("sql", "old"))


def test_without_options_nothing_is_filtered(server: FakeServer) -> None:
    assert filters_of() is None
    assert filters_of("", None, None, "", []) is None
    ask_server(server.url, "What is a vacuum?")
    assert server.requests[-1].filters is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"since": "yesterday"}, "since 'yesterday' is no date"),
        ({"language": "klingon"}, "language 'klingon'"),
        ({"url_prefix": "a.org"}, "url_prefix 'a.org' is no address"),
    ],
)
def test_options_that_make_no_sense_are_told_in_one_line(options: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        filters_of(**options)
    assert "\n" not in str(caught.value)
