"""THE chain: how a question becomes an answer, step by step.

    preprocess -> guard_input -> condense -> retrieve -> prompt -> generate -> guard_output -> postprocess

In: an `Ask`. Out: pieces of checked text, then one `Answer`. The guards are those that the policy has for questions,
passages and answers at that moment. A `Work` is carried through the steps and collects what they find out. A step that
settles the answer early (a refusal, an abstention) sets `work.settled`; the model is then not called. Whatever happens,
the interaction is recorded, also when the reader goes away in the middle.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from urllib.parse import urlsplit

from langchain_core.runnables import RunnableGenerator, RunnableLambda

from guards.base import Context
from guards.detectors.canary import CanaryGuard
from guards.holdback import HoldBack
from guards.policy import LivePolicy, Policy
from guards.spotlight import new_nonce
from ingest.examples import ABSTENTION
from serve import citations
from serve.condense import Mode, standalone
from serve.engines.base import Engine
from serve.prompt import fit_prompt
from serve.recorder import Recorder
from serve.retrieve import Retriever
from serve.screen import screened
from serve.text import storable
from serve.wire import AnswerMessage
from serve.work import Answer, Ask, Part, Work, timed, usage
from train.chat import PLAIN, Framing, Turn

REFUSED_QUESTION = "This question was held back by a safety check."
REFUSED_ANSWER = "The rest of the answer was held back by a safety check."


class Assistant:
    """Answers questions.

    Args:
        engine: the model.
        retriever: the documents.
        policy: the guards of questions (and earlier turns), of passages, and of answers.
        recorder: keeps every interaction.
        framing: what protects passages and instructions in the prompt; its canary is planted while the policy looks for
            it in answers, and each question gets a nonce of its own.
        condensing: how a question that leans on earlier turns is made to stand alone for the search.
    """

    def __init__(
        self,
        engine: Engine,
        retriever: Retriever,
        policy: Policy | LivePolicy,
        recorder: Recorder,
        framing: Framing = PLAIN,
        condensing: Mode = "terms",
    ) -> None:
        self.engine, self.retriever, self.policy, self.recorder = engine, retriever, policy, recorder
        self.framing, self.condensing = framing, condensing
        self.chain = (
            RunnableLambda(timed("preprocess", self.preprocess))
            | RunnableLambda(timed("guard_input", self.guard_input))
            | RunnableLambda(self.condense)
            | RunnableLambda(timed("retrieve", self.retrieve))
            | RunnableLambda(timed("prompt", self.fit))
            | RunnableGenerator(self.generate)
            | RunnableGenerator(self.guard_output)
            | RunnableGenerator(self.postprocess)
        )

    async def answer(self, ask: Ask) -> AsyncGenerator[str | Answer, None]:
        """Pieces of text as they are released, then the `Answer`.

        The first piece is empty: it says that the question was accepted and the model is about to start. Closing this
        generator, or cancelling the task that waits for it, stops the model.

        Raises:
            PromptTooLongError: before the first piece.
        """
        work = Work(ask)
        try:
            async with aclosing(self.chain.astream(work)) as parts:  # type: ignore[type-var]
                async for part in parts:
                    work.text += part.text
                    yield part.text
            work.ended = work.finish_reason
            # Before the last event: a vote may follow it at once, and must find the interaction.
            await self.recorder.keep(work)
            yield Answer(work.message or AnswerMessage(content=work.text), work.finish_reason, work.usage)
        except Exception:
            work.ended = "error"
            raise
        finally:
            await work.generation.aclose()
            self.recorder.keep_unless_kept(work)

    def preprocess(self, work: Work) -> Work:
        """The last user turn is the question; system turns are left out, since the prompt has its own."""
        turns = [Turn(role=turn["role"], content=storable(turn["content"]).strip()) for turn in work.ask.messages]
        work.question = turns[-1]["content"]
        work.history = [turn for turn in turns[:-1] if turn["role"] != "system"]
        return work

    def guard_input(self, work: Work) -> Work:
        """Check and redact the question; earlier turns that a guard refuses are left out."""
        stage, context = self.policy.stage("input"), Context(pseudonyms=work.pseudonyms)
        outcome = stage.run(work.question, context)
        work.report(outcome, "input")
        work.question = outcome.text
        if not outcome.allowed:
            work.settled, work.finish_reason = f"{REFUSED_QUESTION} {outcome.reason}", "content_filter"
            return work
        checked = [(turn["role"], stage.run(turn["content"], context)) for turn in work.history]
        work.history = [Turn(role=role, content=earlier.text) for role, earlier in checked if earlier.allowed]
        return work

    async def condense(self, work: Work) -> Work:
        """Make of a question that leans on earlier turns one that can be searched for; the guards see it too."""
        if work.settled is not None or not work.ask.retrieval:
            return work
        started = time.perf_counter()
        work.searched = await standalone(self.condensing, work.question, work.history, self.engine)
        if work.searched != work.question:
            stage, context = self.policy.stage("input"), Context(pseudonyms=work.pseudonyms)
            outcome = await asyncio.to_thread(stage.run, work.searched, context)
            work.searched = outcome.text if outcome.allowed else work.question
        work.spend("condense", started)
        return work

    def retrieve(self, work: Work) -> Work:
        """Find passages; when the documents hardly hold the answer, say so instead of asking the model.

        Passages that a guard refuses, for example since they give the assistant orders, are left out.
        """
        if work.settled is None and work.ask.retrieval:
            found = self.retriever.find(work.searched, work.ask.top_passages, work.ask.wanted)
            work.found, outcomes = screened(found, self.policy.stage("passage"))
            for outcome in outcomes:
                work.report(outcome, "passage")
            if not work.found.answerable:
                work.settled = ABSTENTION
        return work

    def fit(self, work: Work) -> Work:
        """Build the prompt, as large as the model's context allows."""
        if work.settled is None:
            passages = [hit.chunk for hit in work.found.hits]
            room = self.engine.max_context - work.ask.sampling.max_tokens
            count, framing = self.engine.count_tokens, self._framing()
            work.prompt, shown = fit_prompt(
                work.question, passages, work.history, count, room, framing, work.found.sections
            )
            work.found, work.shown = work.found.showing(shown), len(shown)
        return work

    def _framing(self) -> Framing:
        looked_for = any(rule.guard.name == CanaryGuard.name for rule in self.policy.stage("output").rules)
        return replace(self.framing, nonce=new_nonce(), canary=self.framing.canary if looked_for else "")

    async def generate(self, works: AsyncIterator[Work]) -> AsyncIterator[Part]:
        """The model's text as it comes, or the settled answer."""
        async for work in works:
            yield Part(work, "")
            if work.settled is not None:
                yield Part(work, work.settled)
                continue
            started = time.perf_counter()
            pieces = self.engine.generate(work.prompt, work.ask.sampling)
            async for piece in await work.generation.enter_async_context(aclosing(pieces)):
                work.timings.setdefault("first_token", time.perf_counter() - started)
                work.timings["generate"] = time.perf_counter() - started
                work.finish_reason = piece.finish_reason or work.finish_reason
                work.usage = usage(piece.prompt_tokens, piece.completion_tokens)
                yield Part(work, piece.text)

    async def guard_output(self, parts: AsyncIterator[Part]) -> AsyncIterator[Part]:
        """Hold text back until it is checked; once it is refused, stop the model and say why."""
        held: HoldBack | None = None
        released = ""
        async for part in parts:
            work = part.work
            # Its passages are known by now.
            held = held or HoldBack(self.policy.stage("output"), _context(work))
            started = time.perf_counter()
            text = part.text if work.settled is not None else await asyncio.to_thread(held.feed, part.text)
            work.spend("guard_output", started)
            released += text
            yield Part(work, work.pseudonyms.restore(text))
            if held.blocked:
                break
        if held is None:
            return
        if rest := await asyncio.to_thread(held.finish):
            yield Part(work, work.pseudonyms.restore(rest))
        for outcome in held.outcomes:
            work.report(outcome, "output")
        if held.blocked:
            await work.generation.aclose()
            work.report(held.blocked, "output")
            work.finish_reason = "content_filter"
            yield Part(work, ("\n\n" if released else "") + f"{REFUSED_ANSWER} {held.blocked.reason}")

    async def postprocess(self, parts: AsyncIterator[Part]) -> AsyncIterator[Part]:
        """Drop or correct wrong markers, add a missing one, and turn markers into citations."""
        text = ""
        async for part in parts:
            work = part.work
            kept = citations.verified(part.text, text, work.found.hits[: work.shown]) if work.shown else part.text
            text += kept
            yield Part(work, kept)
        hits = work.found.hits[: work.shown] or work.found.hits
        if work.shown and not text.strip():
            text = ABSTENTION
            yield Part(work, text)
        numbers = citations.cited_numbers(text) if work.shown else []
        answered = work.settled is None and work.finish_reason != "content_filter" and not citations.is_abstention(text)
        if answered and not numbers and (best := citations.best_supporting(text, hits)):
            text, numbers = f"{text} [{best}]", [best]
            yield Part(work, f" [{best}]")
        shown = numbers or list(range(1, len(hits) + 1))
        work.message = AnswerMessage(
            content=text,
            citations=citations.cite(text, hits, shown),
            grounded=answered and bool(numbers),
            answerable=round(work.found.probability, 4) if work.found.version else None,
            search_query=work.pseudonyms.restore(work.searched) if work.searched not in ("", work.question) else None,
            guard=work.guard,
        )


def _context(work: Work) -> Context:
    """What the answer's guards may look at: links may lead to where its passages come from."""
    shown = [hit.chunk for hit in work.found.hits[: work.shown]]
    hosts = frozenset(urlsplit(chunk.url).hostname or "" for chunk in shown)
    return Context(
        passages=tuple(chunk.text for chunk in shown), allowed_hosts=hosts - {""}, pseudonyms=work.pseudonyms
    )
