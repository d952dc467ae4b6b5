"""robots.txt, case by case, as RFC 9309 has it."""

import pytest

from ingest.web.robots import MAX_BYTES, parse, product_of

AGENT = "wellread/0.1 (test)"


def allows(text: str, path: str) -> bool:
    return parse(text.encode(), AGENT).allows(f"http://h{path}")


@pytest.mark.parametrize(
    ("rules", "path", "allowed"),
    [
        # Section 2.2.2: the longest match wins, and allow wins a tie.
        ("Disallow: /a\nAllow: /a/b", "/a/b/c", True),
        ("Allow: /a\nDisallow: /a/b", "/a/b/c", False),
        ("Disallow: /a\nAllow: /a", "/a", True),
        ("Disallow:", "/a", True),
        ("Disallow: /", "/robots.txt", True),
        # Section 2.2.3: special characters.
        ("Disallow: /*.gif$", "/a/b.gif", False),
        ("Disallow: /*.gif$", "/a/b.gif?x=1", True),
        ("Disallow: /path/*/end$", "/path/a/b/end", False),
        ("Disallow: /a#b", "/a", False),
        ("Disallow: /*?sort=", "/list?sort=up", False),
        ("Disallow: /*?sort=", "/list", True),
        # Section 2.2.2: percent-encoding does not count.
        ("Disallow: /caf%C3%A9", "/caf%C3%A9/x", False),
        ("Disallow: /café", "/caf%C3%A9/x", False),
        ("Disallow: /%7Euser", "/~user/x", False),
        ("Disallow: nosuch", "/nosuch", False),
    ],
)
def test_matching(rules: str, path: str, allowed: bool) -> None:
    assert allows(f"User-agent: *\n{rules}\n", path) is allowed


def test_groups_of_one_name_are_one_and_others_do_not_count() -> None:
    text = "User-agent: a\nDisallow: /a\n\nUser-agent: WELLREAD\nDisallow: /b\n\nUser-agent: wellread/2\nDisallow: /c\n"
    assert [allows(text, path) for path in ("/a", "/b", "/c")] == [True, False, False]


def test_lines_that_are_not_rules_do_not_end_a_group() -> None:
    assert not allows("User-agent: x\nSitemap: http://h/s.xml\nUser-agent: wellread\nDisallow: /a\n", "/a")


def test_line_ends_of_all_kinds() -> None:
    assert not allows("User-agent: *\rDisallow: /a\r\nDisallow: /b\n", "/a")
    assert not allows("User-agent: *\rDisallow: /a\r\nDisallow: /b\n", "/b")
    # Other characters that Python takes for line ends are part of the line.
    assert allows("User-agent: *\nAllow: /x\x0bDisallow: /a\n", "/a")


def test_what_lies_beyond_the_limit_is_ignored() -> None:
    filler = "# filler\n" * (MAX_BYTES // 9 + 1)
    assert allows(f"User-agent: *\n{filler}Disallow: /\n", "/a")


def test_sitemaps_count_wherever_they_stand() -> None:
    text = "Sitemap: http://h/1.xml\nUser-agent: other\nDisallow: /\nsitemap: /2.xml # here\nSitemap:\nSitemap: http://h/1.xml"
    assert parse(text.encode(), AGENT).sitemaps == ("http://h/1.xml", "/2.xml")


@pytest.mark.parametrize(
    ("value", "seconds"), [("2", 2.0), ("0.5", 0.5), ("-1", 0.0), ("soon", 0.0), ("1e9", 0.0), ("9" * 400, 0.0)]
)
def test_crawl_delay(value: str, seconds: float) -> None:
    assert parse(f"User-agent: *\nCrawl-delay: {value}\n".encode(), AGENT).crawl_delay == seconds


def test_product() -> None:
    assert [product_of(agent) for agent in (AGENT, "Wellread", "a b/1", "", "/1")] == [
        "wellread",
        "wellread",
        "a",
        "",
        "",
    ]
