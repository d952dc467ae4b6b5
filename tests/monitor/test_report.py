"""The report's rates, counted by hand, and honest about having no data."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from feedback.store import Interaction
from ingest.examples import ABSTENTION
from monitor.report import make_report

START = datetime(2026, 1, 1, tzinfo=UTC)


def row(n, **changes):
    return Interaction(**{"id": f"i{n}", "question": "q", "answer": "a", "model": "m", **changes}, created=hour(n))


def hour(n):
    return START + timedelta(hours=n)


def test_rates_are_shares_of_the_interactions():
    rows = [
        row(0, grounded=True, timings={"total": 1.0}),
        row(1, grounded=True, timings={"total": 3.0}, guard=[{"action": "redact"}]),
        row(2, finish_reason="content_filter", guard=[{"action": "block"}]),
        row(3, timings={"total": 2.0}, index_version="x", answer=ABSTENTION),
        # Neither is an abstention: the first was broken off, the second answered without the documents.
        row(4, finish_reason="cancelled", index_version="x", answer=ABSTENTION),
        row(5),
    ]
    votes = {("i0", "ann"): "up", ("i0", "bob"): "down", ("i1", "ann"): "up", ("other", "ann"): "down"}
    report = asdict(make_report(rows, votes))
    assert report.pop("first") == START
    assert report.pop("last") == START + timedelta(hours=5)
    assert report == {
        "interactions": 6,
        "grounded": 2 / 6,
        "abstained": 1 / 6,
        "blocked": 1 / 6,
        "redacted": 1 / 6,
        "voted": 2 / 6,
        "approval": 2 / 3,
        "latency_p50": 2.0,
        "latency_p95": 2.9,
    }


def test_no_data_is_none_and_never_zero():
    report = asdict(make_report([], {}))
    assert report.pop("interactions") == 0
    assert set(report.values()) == {None}
