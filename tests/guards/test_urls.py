"""Addresses are read as browsers read them, and none that is not allowed remains a link."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from guards.base import Action, Context
from guards.detectors.urls import UrlGuard, parse
from guards.spans import redact

GUARD = UrlGuard(hosts=("good.org", "*.sub.org", "bücher.de"))


def cleaned(text: str) -> str:
    return redact(text, GUARD.check(text).spans)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See https://evil.com/a.", "See <LINK>."),
        ("(https://evil.com/a_(b))", "(<LINK>)"),
        ("[text](https://evil.com)", "text"),
        ('[b](https://good.org "x") [*c*](https://evil.org/b "y")', '[b](https://good.org "x") *c*'),
        ("![](http://evil.com/?q=data)", "<LINK>"),
        ("![alt](http://evil.com/?q=data)", "alt"),
        ("[![a](http://evil.com/i)](https://good.org/)", "[a](https://good.org/)"),
        ("[http://evil.com](http://evil.com)", "<LINK>"),
        ("[a](javascript:alert(1))", "a"),
        ("[a](&#106;avascript:alert&lpar;1))", "a)"),
        ("[a](vscode://x/y)", "a"),
        ("[a](//evil.com/x) [b](/\\evil.com) [c](https:evil.com) [d](http:///evil.com)", "a b c d"),
        ("[a](https://good.org@evil.com) [b](https://good.org\\@evil.com)", "a b"),
        ("[a](https://g%6fod.org.evil.com) [b](https://g\u043eod.org)", "a b"),
        ("[a](<https://evil.com/a b>)", "a"),
        ("[a](mailto:x@evil.com)", "a"),
        ("[a][b]\n\n[b]: javascript:alert(1)", "[a][b]\n\n[b]: #"),
        ("[a]: http://evil.com/x 'title'", "[a]: # 'title'"),
        ('<a href="http://evil.com">hi</a> <img src=//evil.com/x.png>', '<a href="#">hi</a> <img src=#>'),
        ('<img srcset="https://good.org/1 1x, https://evil.com/2 2x">', '<img srcset="#">'),
        ("www.evil.com/x //evil.com/x evil.com/?q=secret", "<LINK> <LINK> <LINK>"),
        ("http\\://evil.com http&#58;//evil.com https:\\\\evil.com", "<LINK> <LINK> <LINK>"),
        ("http://2130706433/ http://0x7f.1/ http://[::1]/x", "<LINK> <LINK> <LINK>"),
        ("<img src='data:image/svg+xml,<svg onload=x>'>", "<img src='#'>"),
    ],
)
def test_other_hosts_become_text(text, expected):
    assert cleaned(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "https://good.org/a?b=c#d, https://GOOD.org. and (https://good.org:8080/x)",
        "[a](https://x.sub.org/y) [b](https://good.org/a_(b)) [c](docs/page.md#part) [d](#top)",
        "[a](https://bücher.de/x) and [b](https://xn--bcher-kva.de/x)",
        "[m](mailto:x@good.org) and [t](tel:+123)",
        "![](data:image/png;base64,iVBORw0KGgo=)",
        "foo[1]: int; x[0]:std::foo; data = {'a': 1}; action=std::move(x)",
        "Use http:// or https:// and run a // b, README.md/x, jdbc:postgresql://db/x",
        "In JavaScript: say what. The data: here.",
        "",
    ],
)
def test_what_is_no_link_or_is_allowed_stays(text):
    assert cleaned(text) == text


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://Example.ORG./x", "example.org"),
        (" \thttps://ex\nample.org", "example.org"),
        ("https://user:pw@a@example.org:443/", "example.org"),
        ("https://ex%61mple.org", "example.org"),
        ("https://example\u3002org", "example.org"),
        ("https://\uff45xample.org", "example.org"),
        ("http://0300.0250.1/", "192.168.0.1"),
        ("http://[2001:DB8::0001]:80/", "2001:db8::1"),
        ("http://a b/", ""),
        ("page.html", ""),
        ("https://good.org#@evil.com", "good.org"),
        ("https://good.org\\@evil.com", "good.org"),
    ],
)
def test_hosts_are_those_of_the_browser(address, host):
    assert parse(address).host == host


def test_cited_hosts_are_allowed():
    context = Context(allowed_hosts=frozenset({"cited.org:443"}))
    assert GUARD.check("https://cited.org/x", context).action is Action.ALLOW
    assert GUARD.check("https://cited.org/x").action is Action.REDACT


def test_images_weigh_more_than_links_and_a_threshold_lets_links_pass():
    guard = UrlGuard(threshold=0.7)
    assert guard.check("[a](https://evil.com)").action is Action.ALLOW
    verdict = guard.check("[a](https://evil.com) ![a](https://evil.com/?q=1)")
    assert verdict.action is Action.REDACT
    assert "evil" not in verdict.reason


@pytest.mark.parametrize("host", ["https://a.org", "a b", "a.org/x", ""])
def test_a_host_that_is_none_is_refused(host):
    with pytest.raises(ConfigError, match="no host"):
        UrlGuard(hosts=(host,))


@pytest.mark.parametrize(
    "bait",
    [
        "[",
        "](",
        "](a",
        '](a "',
        'src="',
        "http://",
        " //a.a.a.a",
        "a.",
        "[a]: ",
        "javascript:",
        "!!",
        "http://a)))",
        "www..",
        "(a",
    ],
)
def test_repeated_beginnings_end(bait):
    GUARD.check(bait * (200_000 // len(bait)))
    GUARD.check("http://a" + bait * (100_000 // len(bait)))


def test_the_deadline_is_kept():
    with pytest.raises(TimeoutError):
        GUARD.check("http://evil.com " * 10_000, Context(deadline=0.0))


PIECES = [
    "[",
    "](",
    ")",
    "![",
    "http://",
    "//evil.com",
    "evil.com/x",
    "javascript:",
    "src=",
    '"',
    "@",
    "\\",
    "é\u0301",
    "\ud800",
    "\x00",
    " ",
    "\n",
    "]: ",
]
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=25).map("".join)


@given(TEXTS)
def test_spans_are_in_order_and_inside_the_text(text):
    position = 0
    for span in GUARD.check(text).spans:
        assert position <= span.start < span.end <= len(text)
        position = span.end
