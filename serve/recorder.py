"""Keeps every interaction in the store, whatever happens to the reader or to the store.

Writing is done in order, in one thread of its own: a reader who goes away cancels the request, never the record. A
store that cannot be written costs the record (and a log line), not the answer.
"""

import asyncio
import json
import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Protocol

from configs.errors import WellreadError
from feedback.store import Interaction
from guards.policy import LivePolicy, Policy
from serve import citations
from serve.work import Work

logger = logging.getLogger(__name__)

WITHHELD = "(withheld: it could not be checked for personal data)"


class Keeps(Protocol):
    """What is needed of `feedback.store.Store`."""

    def record(self, interaction: Interaction) -> None: ...


class Recorder:
    """Writes interactions.

    Args:
        store: where to.
        policy: redacts secrets and personal data out of everything that is stored.
        model: name and version of the model that answers.
    """

    def __init__(self, store: Keeps, policy: Policy | LivePolicy, model: str) -> None:
        self._store, self._policy, self._model = store, policy, model
        self._writer = ThreadPoolExecutor(1, "recorder")

    async def keep(self, work: Work) -> None:
        """Record the work, and return when that is done or has failed."""
        await asyncio.shield(asyncio.wrap_future(self._submit(work)))

    def keep_unless_kept(self, work: Work) -> None:
        """Record work that ended early; does not wait."""
        if not work.recorded:
            self._submit(work)

    def scrubbed(self, text: str) -> str:
        """The text as it may be stored."""
        outcome = self._policy.scrub.run(text)
        return outcome.text if outcome.allowed else WITHHELD

    def close(self) -> None:
        """Write what is waiting, and stop."""
        self._writer.shutdown()

    def _submit(self, work: Work) -> "Future[None]":
        work.recorded = True
        work.spend("total", work.started)
        return self._writer.submit(self._write, work)

    def _write(self, work: Work) -> None:
        _log(work)
        try:
            self._store.record(self._interaction(work))
        except WellreadError as error:
            logger.warning(json.dumps({"event": "interaction_lost", "id": work.ask.id, "error": error.problem}))
        # The answer is on its way to the reader; no defect of a store or a guard may take it back.
        except Exception as error:  # noqa: BLE001
            logger.warning(json.dumps({"event": "interaction_lost", "id": work.ask.id, "error": type(error).__name__}))

    def _interaction(self, work: Work) -> Interaction:
        return Interaction(
            id=work.ask.id,
            user=work.ask.user,
            question=self.scrubbed(work.question),
            answer=self.scrubbed(work.text),
            model=self._model,
            index_version=work.found.version,
            grounded=bool(work.message and work.message.grounded),
            finish_reason=work.ended,
            passages=_passages(work),
            parameters=self._parameters(work),
            guard=[report.model_dump() for report in work.guard],
            timings={step: round(seconds, 4) for step, seconds in work.timings.items()},
        )

    def _parameters(self, work: Work) -> dict[str, Any]:
        """How it was asked to be answered; filters and what was searched for are a user's words."""
        kept = {**asdict(work.ask.sampling), "retrieval": work.ask.retrieval}
        if work.ask.top_passages is not None:
            kept["top_passages"] = work.ask.top_passages
        if work.ask.wanted is not None:
            conditions = {name: value for name, value in asdict(work.ask.wanted).items() if value}
            kept["filters"] = {name: self._scrubbed_all(value) for name, value in conditions.items()}
        if work.searched and work.searched != work.question:
            kept["searched"] = self.scrubbed(work.searched)
        return kept

    def _scrubbed_all(self, value: str | tuple[str, ...]) -> str | list[str]:
        return self.scrubbed(value) if isinstance(value, str) else [self.scrubbed(each) for each in value]


def _passages(work: Work) -> list[dict[str, Any]]:
    """Every passage found, as a citation that also says whether the model saw it and whether the answer cites it."""
    hits = work.found.hits
    cited = citations.cited_numbers(work.text)
    listed = citations.cite(work.text, hits, range(1, len(hits) + 1))
    return [
        {**citation.model_dump(), "shown": citation.number <= work.shown, "cited": citation.number in cited}
        for citation in listed
    ]


def _log(work: Work) -> None:
    """One line of JSON without a word of the conversation."""
    line = {
        "event": "answered",
        "id": work.ask.id,
        "at": round(time.time(), 3),
        "ended": work.ended,
        "passages": work.shown,
        "prompt_tokens": work.usage.prompt_tokens,
        "completion_tokens": work.usage.completion_tokens,
        "guards": [f"{report.stage}:{report.category}:{report.action}" for report in work.guard],
        "seconds": {step: round(seconds, 4) for step, seconds in work.timings.items()},
    }
    logger.info(json.dumps(line))
