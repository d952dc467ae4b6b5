"""What a crawl reads and leaves: sitemaps, patterns, robots tags, canonical addresses, twins and traps."""

import gzip
from collections.abc import Iterable
from pathlib import Path

import pytest

from configs.errors import SourceError
from ingest.records import Reject, read_table
from tests.ingest.conftest import Serve
from tests.ingest.site_server import Answer, Site, page, redirect, with_head
from tests.ingest.test_crawl import figures, pages_in, paths_of, rejects_in, run

LONG = " ".join(f"word{n} stands here and means something" for n in range(40))


def sitemap(*urls: str, kind: str = "url") -> Answer:
    items = "".join(f"<{kind}><loc>{url}</loc></{kind}>" for url in urls)
    whole = {"url": "urlset", "sitemap": "sitemapindex"}[kind]
    text = f'<?xml version="1.0"?><{whole} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{items}</{whole}>'
    return Answer(text.encode(), content_type="application/xml")


def read(site: Site, folder: Path) -> set[str]:
    return paths_of(site, pages_in(folder))


def rules(site: Site, folder: Path) -> dict[str, str]:
    base = site.url.rstrip("/")
    return {url.removeprefix(base): rule for url, rule in rejects_in(folder).items()}


def test_pages_that_only_a_sitemap_names_are_read(site_of: Serve, tmp_path: Path) -> None:
    site = site_of({"/": page("Start.", "/a"), "/a": page("A."), "/hidden": page("H.", "/deep"), "/deep": page("D.")})
    site.answers["/sitemap.xml"] = sitemap(f"{site.url}hidden", f"{site.url}a", "https://elsewhere.example/x")
    run(site.url, tmp_path)

    assert read(site, tmp_path) == {"/", "/a", "/hidden", "/deep"}
    assert rules(site, tmp_path) == {"https://elsewhere.example/x": "off_site"}
    assert site.asked.index("/a") < site.asked.index("/hidden")


def test_sitemaps_named_by_robots_txt_are_read_through_indexes(site_of: Serve, tmp_path: Path) -> None:
    site = site_of({"/": page("Start."), "/a": page("A."), "/b": page("B.")})
    site.answers |= {
        "/robots.txt": Answer(f"Sitemap: {site.url}index.xml\nSitemap: {site.url}lost.xml\n".encode()),
        "/index.xml": sitemap(f"{site.url}maps/a.xml.gz", "/maps/b.txt", kind="sitemap"),
        "/maps/a.xml.gz": Answer(gzip.compress(sitemap(f"{site.url}a").body), content_type="application/gzip"),
        "/maps/b.txt": Answer(f"{site.url}b\n".encode(), content_type="text/plain"),
    }
    run(site.url, tmp_path)

    assert read(site, tmp_path) == {"/", "/a", "/b"}
    assert rules(site, tmp_path) == {"/lost.xml": "http_404"}
    assert "/sitemap.xml" not in site.asked


def test_an_index_that_names_itself_and_others_without_end(site_of: Serve, tmp_path: Path) -> None:
    site = site_of({"/": page("Start.")})
    site.answers |= {f"/{n}.xml": sitemap("/0.xml", f"/{n + 1}.xml", kind="sitemap") for n in range(20)}
    site.answers["/robots.txt"] = Answer(f"Sitemap: {site.url}0.xml\n".encode())
    run(site.url, tmp_path)

    assert [path for path in site.asked if path.endswith(".xml")] == ["/0.xml", "/1.xml", "/2.xml", "/3.xml"]
    assert rules(site, tmp_path) == {"/3.xml": "bad_sitemap"}


def test_sitemaps_can_be_left_alone(site_of: Serve, tmp_path: Path) -> None:
    site = site_of({"/": page("Start."), "/a": page("A.")})
    site.answers["/sitemap.xml"] = sitemap(f"{site.url}a")
    run(site.url, tmp_path, sitemaps=False)

    assert read(site, tmp_path) == {"/"}
    assert "/sitemap.xml" not in site.asked


def test_a_sitemap_as_the_source_is_all_that_is_read(site_of: Serve, tmp_path: Path) -> None:
    site = site_of({"/": page("Start."), "/a": page("A.", "/b", "/"), "/b": page("B."), "/c": page("C.")})
    site.answers["/list.xml"] = sitemap(f"{site.url}a", f"{site.url}c", f"{site.url}gone")
    run(f"{site.url}list.xml", tmp_path, only_listed=True)

    assert read(site, tmp_path) == {"/a", "/c"}
    assert rules(site, tmp_path) == {"/gone": "http_404"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(Answer(status=404), "http_404", id="none"),
        pytest.param(page("No sitemap."), "bad_sitemap", id="html"),
        pytest.param(sitemap(), "empty", id="empty"),
    ],
)
def test_a_sitemap_that_lists_nothing_is_one_clear_line(
    site_of: Serve, tmp_path: Path, answer: Answer, reason: str
) -> None:
    site = site_of({"/list.xml": answer})
    with pytest.raises(SourceError, match=rf"\({reason}\)") as caught:
        run(f"{site.url}list.xml", tmp_path, only_listed=True)
    assert caught.value.remedy


def test_patterns_say_what_is_read(site_of: Serve, tmp_path: Path) -> None:
    paths = ["/docs/a", "/docs/print/a", "/blog/a", "/docs/b?page=2"]
    site = site_of({"/": page("Start.", *paths), **{path: page(f"Page {path}.") for path in paths}})
    run(site.url, tmp_path, include=["/docs/*"], exclude=["*/print/*", "*?page=*"])

    assert read(site, tmp_path) == {"/", "/docs/a"}
    assert rules(site, tmp_path) == dict.fromkeys(("/docs/print/a", "/blog/a", "/docs/b?page=2"), "excluded")
    assert set(site.asked) == {"/robots.txt", "/sitemap.xml", "/", "/docs/a"}


def test_a_whole_address_lets_another_host_in(site_of: Serve, tmp_path: Path) -> None:
    other = site_of({"/robots.txt": Answer(b"User-agent: *\nDisallow: /no\n"), "/api/x": page("X.", "/api/y", "/no")})
    other.answers |= {"/api/y": page("Y."), "/no": page("No.")}
    site = site_of({"/": page("Start.", f"{other.url}api/x", "/a"), "/a": page("A.")})
    run(site.url, tmp_path, include=["/*", f"{other.url}*"])

    assert set(pages_in(tmp_path)) == {site.url, f"{site.url}a", f"{other.url}api/x", f"{other.url}api/y"}
    assert rejects_in(tmp_path) == {f"{other.url}no": "robots"}


TAGGED = {
    "/noindex": with_head(page("No.", "/from-noindex"), '<meta name="Robots" content="NOINDEX, archive">'),
    "/nofollow": with_head(page("Leads nowhere.", "/never"), '<meta name="wellread" content="nofollow">'),
    "/none": with_head(page("Neither.", "/never"), '<meta name="robots" content="none">'),
    "/other": with_head(page("For others.", "/from-other"), '<meta name="googlebot" content="none">'),
    "/header": Answer(
        page("By header.", "/from-header").body, headers={"X-Robots-Tag": "googlebot: none, wellread: noindex"}
    ),
    "/link": Answer(b'<p>Text. <a rel="nofollow ugc" href="/never">x</a> <a href="/from-link">y</a>'),
}


def test_pages_and_links_are_left_as_they_ask(site_of: Serve, tmp_path: Path) -> None:
    targets = ["/from-noindex", "/from-other", "/from-header", "/from-link", "/never"]
    site = site_of({"/": page("Start.", *TAGGED), **TAGGED, **{path: page(f"Page {path}.") for path in targets}})
    run(site.url, tmp_path / "obeyed")

    assert read(site, tmp_path / "obeyed") == {"/", "/nofollow", "/other", "/link", *targets[:-1]}
    assert rules(site, tmp_path / "obeyed") == dict.fromkeys(("/noindex", "/none", "/header"), "noindex")
    run(site.url, tmp_path / "ignored", robots_tags=False)
    assert read(site, tmp_path / "ignored") == {"/", *TAGGED, *targets}


def claiming(answer: Answer, canonical: str) -> Answer:
    return with_head(answer, f'<link rel="canonical" href="{canonical}">')


def test_a_page_that_is_another_is_kept_once_at_its_own_address(site_of: Serve, tmp_path: Path) -> None:
    site = site_of({"/": page("Start.", "/a?view=print"), "/a": claiming(page(LONG), "/a")})
    site.answers["/a?view=print"] = claiming(page(f"{LONG} Printed."), "/a#top")
    run(site.url, tmp_path)

    assert read(site, tmp_path) == {"/", "/a"}
    (reject,) = read_table(tmp_path / "rejects.parquet", Reject)
    assert (reject.rule, reject.matched) == ("canonical", f"{site.url}a")
    assert reject.score >= reject.threshold == 0.9


def test_a_claim_that_would_lose_text_is_not_believed(site_of: Serve, tmp_path: Path) -> None:
    pages = {f"/{n}": claiming(page(f"Page {n} speaks of things {n}. " * 9), "/") for n in range(3)}
    site = site_of({"/": page("Start.", *pages), **pages})
    run(site.url, tmp_path)

    assert read(site, tmp_path) == {"/", *pages}


def test_two_pages_that_claim_each_other_do_not_both_go(site_of: Serve, tmp_path: Path) -> None:
    site = site_of(
        {"/": page("Start.", "/a", "/b"), "/a": claiming(page(LONG), "/b"), "/b": claiming(page(LONG), "/a")}
    )
    run(site.url, tmp_path)

    assert read(site, tmp_path) == {"/", "/a"}


def test_a_canonical_address_that_is_not_there_costs_nothing(site_of: Serve, tmp_path: Path) -> None:
    site = site_of({"/": page("Start.", "/a"), "/a": claiming(page(LONG), "/lost")})
    run(site.url, tmp_path)

    assert read(site, tmp_path) == {"/", "/a"}
    assert rules(site, tmp_path) == {"/lost": "http_404"}


def test_twins_are_one_page(site_of: Serve, tmp_path: Path) -> None:
    twin, other = page("The same."), page("Another.")
    answers = {
        "/a": twin,
        "/a/": twin,
        "/a/index.html": twin,
        "/b": other,
        "/b/": twin,
        "/c/?x=1": other,
        "/c?x=1": other,
    }
    site = site_of({"/": page("Start.", *answers), **answers})
    run(site.url, tmp_path)

    assert read(site, tmp_path) == {"/", "/a", "/b", "/b/", "/c?x=1"}
    assert rules(site, tmp_path) == dict.fromkeys(("/a/", "/a/index.html", "/c/?x=1"), "same_page")


def endless(numbers: Iterable[int], path: str) -> dict[str, Answer]:
    return {path.format(n): page(f"Day {n}.", path.format(n + 1), path.format(n + 1000)) for n in numbers}


@pytest.mark.parametrize("path", ["/cal?day={}", "/cal/2024-01-{}"])
def test_endless_calendars_end(site_of: Serve, tmp_path: Path, path: str) -> None:
    site = site_of({"/": page("Start.", path.format(10), "/z"), "/z": page("Z."), **endless(range(10, 60), path)})
    run(site.url, tmp_path, max_per_path=8)

    assert len(read(site, tmp_path) - {"/", "/z"}) <= 8
    assert "/z" in read(site, tmp_path)
    assert sorted(set(rules(site, tmp_path).values())) == ["http_404", "trap"]


def test_paths_that_grow_without_end_end(site_of: Serve, tmp_path: Path) -> None:
    site = site_of({"/": page("Start.", "more/")})
    site.answers |= {"/" + "more/" * n: page(f"Level {n}.", "more/") for n in range(1, 30)}
    run(site.url, tmp_path)

    assert len(read(site, tmp_path)) == 5
    assert rules(site, tmp_path) == {"/more/more/more/more/more/": "trap"}


def test_the_limit_on_all_bytes_keeps_what_is_nearest(site_of: Serve, tmp_path: Path) -> None:
    paths = [f"/{n}" for n in range(9)]
    answers = {path: page("x" * 10_000) for path in paths}
    site = site_of({"/": page("Start.", *paths), **answers})
    made = run(site.url, tmp_path, max_total_bytes=35_000)

    assert read(site, tmp_path) == {"/", "/0", "/1", "/2"}
    assert figures(made) == (4, 0, 6)


def test_robots_txt_that_is_endless_or_elsewhere_counts(site_of: Serve, tmp_path: Path) -> None:
    rule = b"User-agent: *\nDisallow: /no\n"
    elsewhere = site_of({"/rules": Answer(rule + b"# filler\n" * 100_000, content_type="text/plain")})
    site = site_of({"/robots.txt": redirect(f"{elsewhere.url}rules"), "/": page("Start.", "/no"), "/no": page("No.")})
    run(site.url, tmp_path)

    assert rules(site, tmp_path) == {"/no": "robots"}


def test_robots_txt_behind_too_many_redirects_allows_all(site_of: Serve, tmp_path: Path) -> None:
    site = site_of({"/": page("Start."), "/robots.txt": redirect("/r1")})
    site.answers |= {f"/r{n}": redirect(f"/r{n + 1}") for n in range(1, 9)}

    assert figures(run(site.url, tmp_path)) == (1, 0, 0)
    assert "/r5" in site.asked
    assert "/r6" not in site.asked
