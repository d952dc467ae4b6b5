"""Whether a new index may take the current one's place, and the log of those that did.

In: two opened indexes. Out: what both find of the pages that are known to answer, or a refusal. `swaps.jsonl` beside
the versions has one line for each change: when, from which version to which, the figures, and what was forced.
"""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from configs.errors import GateRefused
from ingest.index import Index
from ingest.relevance.gate import compare, refuse_drop
from ingest.relevance.known_items import heading_items

SWAPS = "swaps.jsonl"
# With fewer questions, one of them that is missed would be more than a twentieth.
FEWEST_ASKED = 20

log = logging.getLogger(__name__)


def admit(new: Index, old: Index, questions: int, max_drop: float, *, force: bool) -> dict[str, Any]:
    """What two indexes find of the same questions.

    Args:
        questions: how many are asked at most.
        max_drop: how much smaller the new one's recall may be, 0 to 1.
        force: log a refusal, and go on.

    Raises:
        GateRefused: the new one finds too little, or holds nothing.
    """
    figures: dict[str, Any] = {}
    try:
        _refuse_empty(new, old)
        both = set(new.passages.column("url").unique().to_pylist())
        # What the current one knows is asked for: an index that has lost headings would ask for those it kept.
        known = heading_items((chunk for chunk in old.passages if chunk.url in both), questions)
        figures["items"] = len(known)
        if len(known) < FEWEST_ASKED:
            log.warning("the new index is not compared with the current one: they share %d known pages", len(known))
            return figures
        comparison = compare(new, old, known)
        figures |= comparison.figures()
        refuse_drop(comparison, max_drop)
    except GateRefused as refusal:
        if not force:
            raise
        log.warning("the index is taken by force: %s", refusal.problem)
        figures["forced"] = refusal.problem
    return figures


def note_swap(home: Path, before: str | None, after: str, figures: Mapping[str, Any]) -> None:
    """Add a line to the log.

    Args:
        home: folder of the versions.
        before, after: the versions' ids.
    """
    entry = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "from": before, "to": after, **figures}
    with (home / SWAPS).open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _refuse_empty(new: Index, old: Index) -> None:
    if len(old) and not len(new):
        raise GateRefused(
            f"the new index holds no passages, the current one {len(old)}",
            "The current index stays. Run `wellread index --force` if that is what you want",
        )
