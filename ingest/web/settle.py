"""The end of a crawl: which of the pages that were read, or were there before, the new version holds.

In order: what lies beyond the limit of bytes goes back into the queue; of pages that are one and the same, one stays;
pages of the previous crawl that gave nothing this time stay for a while or leave. Everything happens in one
transaction, so a crawl that is killed here is settled by the next run.
"""

import logging
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser

from ingest.extractors.charset import decode
from ingest.records import Reject
from ingest.web.frontier import Frontier
from ingest.web.hosts import UNREACHABLE
from ingest.web.previous import Known, PreviousPages
from ingest.web.urls import without_index

logger = logging.getLogger(__name__)

# A page is believed to be the one that it calls canonical when it says hardly anything that is not there, too: many
# sites name their home page as canonical everywhere, or page one of a list on all pages of the list.
SAME_SHARE = 0.9
_SHINGLE = 3
_FURNITURE = ["script", "style", "nav", "header", "footer", "aside", "noscript"]
_BATCH = 256

# Why an address may give nothing although the page is still there.
_PASSING = (*UNREACHABLE, "private_address", "http_408", "http_425", "http_429")
# The run itself left these out; it says nothing about whether they are still there.
_OURS = ("excluded", "trap", "canonical", "same_page", "limit")


def settle(frontier: Frontier, previous: PreviousPages | None, *, gone_after: int, max_total_bytes: int) -> None:
    """Decide on every page, once.

    Args:
        gone_after: a page leaves after so many runs in a row in which the site says that it is gone.
        max_total_bytes: of all bodies.
    """
    if frontier.fact("settled"):
        return
    with frontier.transaction():
        _cut(frontier, max_total_bytes)
        _merge(frontier, previous)
        if previous:
            _carry_over(frontier, gone_after)
        frontier.remember("settled", "yes")


def body_of(frontier: Frontier, previous: PreviousPages | None, url: str) -> bytes:
    """The body of a page that is kept, wherever it lies."""
    body, place = frontier.db.execute(
        "SELECT body, place FROM page LEFT JOIN previous USING (url) WHERE url = ?", (url,)
    ).fetchone()
    return bytes(body) if body is not None or previous is None else previous.body(url, place)


def _cut(frontier: Frontier, max_total_bytes: int) -> None:
    """Requests that were under way when the limit was reached may have brought more than it allows."""
    total = 0
    rows = frontier.db.execute(
        "SELECT depth, hops, turn, url, size FROM page JOIN entry USING (url) ORDER BY depth, hops, turn, url"
    )
    for *place, size in rows:
        total += size
        if total > max_total_bytes and total > size:
            frontier.db.execute(
                "UPDATE entry SET status = 'queued' WHERE (depth, hops, turn, url) >= (?, ?, ?, ?)", place
            )
            frontier.db.execute("DELETE FROM page WHERE url IN (SELECT url FROM entry WHERE status = 'queued')")
            return


def _merge(frontier: Frontier, previous: PreviousPages | None) -> None:
    @lru_cache(maxsize=1)
    def shingles_at(url: str) -> frozenset[tuple[str, ...]]:
        return _shingles(words_at(url))

    def words_at(url: str) -> list[str]:
        charset = frontier.db.execute("SELECT charset FROM page WHERE url = ?", (url,)).fetchone()[0]
        return _words(body_of(frontier, previous, url), charset)

    # SQLite sorts before it gives the first row, so dropping pages on the way changes nothing in what it gives.
    # By where they point to, so that a home page that all others name is read once.
    named = "SELECT url, canonical FROM page WHERE canonical != '' ORDER BY canonical, url"
    for url, canonical in frontier.db.execute(named):
        there = frontier.redirects_from(canonical)[-1]
        if there != url and _is_page(frontier, there):
            share = _share(words_at(url), shingles_at(there))
            if share >= SAME_SHARE:
                detail = f"calls itself {there}, and says the same"
                _drop(frontier, Reject(url, "canonical", detail, share, SAME_SHARE, there))
    for twins in _twins(frontier):
        first, *others = twins
        for url in others:
            _drop(frontier, Reject(url, "same_page", f"the same as {first}", 1.0, 1.0, first))


def _twins(frontier: Frontier) -> Iterator[list[str]]:
    """Addresses of the same body that differ in a final slash or an index page's name, the nearest to the start first;
    equally near ones in the order of length, so that the shorter name stays."""
    frontier.db.create_function("without_index", 1, without_index, deterministic=True)
    rows = frontier.db.execute(
        "SELECT url, without_index(url) AS place, sha256 FROM page JOIN entry USING (url) "
        "ORDER BY place, sha256, depth, hops, length(url), url"
    )
    for _, group in groupby(rows, key=lambda row: row[1:]):
        twins = [row[0] for row in group]
        if len(twins) > 1:
            yield twins


def _is_page(frontier: Frontier, url: str) -> bool:
    return frontier.db.execute("SELECT 1 FROM page WHERE url = ?", (url,)).fetchone() is not None


def _drop(frontier: Frontier, reject: Reject) -> None:
    frontier.db.execute("DELETE FROM page WHERE url = ?", (reject.url,))
    frontier.reject(reject)


def _share(words: list[str], there: frozenset[tuple[str, ...]]) -> float:
    """Share of the runs of three words that are found there, too; 1 when there are no words."""
    own = _shingles(words)
    return len(own & there) / len(own) if own else 1.0


def _shingles(words: list[str]) -> frozenset[tuple[str, ...]]:
    return frozenset(zip(*(words[at:] for at in range(min(_SHINGLE, len(words)))), strict=False))


def _words(body: bytes, charset: str) -> list[str]:
    tree = LexborHTMLParser(decode(body, charset, markup=True))
    tree.strip_tags(_FURNITURE)
    return tree.text(separator=" ").split()


class _Missing(NamedTuple):
    """What this run says of a page that the previous one kept."""

    rule: str
    detail: str
    matched: str = ""


def _carry_over(frontier: Frontier, gone_after: int) -> None:
    frontier.enqueue_orphans()
    carried = unanswered = 0
    for known in _not_read(frontier):
        found = _found(frontier, known.url)
        if found.rule in ("moved", *_OURS):
            frontier.reject(Reject(known.url, found.rule, found.detail, matched=found.matched))
            continue
        passing = found.rule in _PASSING or found.rule.startswith("http_5")
        missing = known.missing + (not passing)
        if not passing and missing >= gone_after:
            runs = "1 run" if missing == 1 else f"{missing} runs in a row"
            frontier.reject(Reject(known.url, "gone", f"{found.rule} in {runs}: {found.detail}", missing, gone_after))
            continue
        logger.info("%s: %s (%s); what was there before is kept", known.url, found.rule, found.detail)
        frontier.carry(known._replace(missing=missing))
        carried += 1
        unanswered += passing
    frontier.remember("carried", str(carried))
    frontier.remember("unanswered", str(unanswered))


def _not_read(frontier: Frontier) -> Iterator[Known]:
    columns = ", ".join(f"previous.{name}" for name in Known._fields)
    at = ""
    while True:
        rows = frontier.db.execute(
            f"SELECT {columns} FROM previous JOIN entry USING (url) "  # noqa: S608  # names of our own fields
            "WHERE status != 'page' AND previous.url > ? ORDER BY previous.url LIMIT ?",
            (at, _BATCH),
        ).fetchall()
        if not rows:
            return
        yield from (Known(*row) for row in rows)
        at = rows[-1][0]


def _found(frontier: Frontier, url: str) -> _Missing:
    there = frontier.redirects_from(url)[-1]
    status, reason, detail, matched = frontier.db.execute(
        "SELECT status, reason, detail, target FROM entry WHERE url = ?", (there,)
    ).fetchone()
    if status == "queued":
        return _Missing("limit", "beyond the limits of this run")
    if status == "rejected":
        if there == url or reason not in ("canonical", "same_page"):
            return _Missing(reason, detail if there == url else f"redirects to {there}: {detail}", matched)
        there = matched
    return _Missing("moved", f"redirects to {there}", there)
