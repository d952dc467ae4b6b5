"""How the assistant is doing: rates over the stored interactions.

Stored interactions and votes in, one flat `Report` out. A rate over nothing is None, never 0: no data is not bad news,
and not good news either.

Known limit: one window, no slices; drift and alerts are not here yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from feedback.store import Interaction
from serve.citations import is_abstention


@dataclass(frozen=True)
class Report:
    """Rates are shares of `interactions`, 0 to 1; `approval` is the share of up among votes; latencies in seconds."""

    interactions: int
    first: datetime | None
    last: datetime | None
    grounded: float | None
    abstained: float | None
    blocked: float | None
    redacted: float | None
    voted: float | None
    approval: float | None
    latency_p50: float | None
    latency_p95: float | None


def make_report(interactions: Sequence[Interaction], votes: Mapping[tuple[str, str], str]) -> Report:
    """Summarise interactions and the votes that count (see `feedback.store.Store.votes`)."""
    total = len(interactions)
    blocked = sum(row.finish_reason == "content_filter" for row in interactions)
    grounded = sum(row.grounded for row in interactions)
    redacted = sum(any(verdict.get("action") == "redact" for verdict in row.guard) for row in interactions)
    known = {row.id for row in interactions}
    counted = {place: vote for place, vote in votes.items() if place[0] in known}
    latencies = [row.timings["total"] for row in interactions if "total" in row.timings]
    return Report(
        interactions=total,
        first=min((row.created for row in interactions), default=None),
        last=max((row.created for row in interactions), default=None),
        grounded=_share(grounded, total),
        abstained=_share(sum(map(_abstained, interactions)), total),
        blocked=_share(blocked, total),
        redacted=_share(redacted, total),
        voted=_share(len({interaction for interaction, _ in counted}), total),
        approval=_share(sum(vote == "up" for vote in counted.values()), len(counted)),
        latency_p50=float(np.percentile(latencies, 50)) if latencies else None,
        latency_p95=float(np.percentile(latencies, 95)) if latencies else None,
    )


def _abstained(row: Interaction) -> bool:
    """Said that the documents do not hold the answer; answers without the documents cannot."""
    return row.finish_reason == "stop" and bool(row.index_version) and is_abstention(row.answer)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
