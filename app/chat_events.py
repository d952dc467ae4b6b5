"""What happens on the chat page: each method answers one event, and speaks to the server through the client.

In: the conversation, which Gradio keeps for each visitor, and the values of the page's inputs. Out: tuples in the order
of the outputs that `chat.py` wires up. Nothing here knows how the page looks.

Known limits: a conversation lives in the memory of the page's process and is gone with the browser tab; what counts is
in the server's store. Values that come from the browser are checked here, since anyone can send any.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app import chat_view as view
from app.chat_view import Chat, Turn
from app.client import Client
from configs.errors import ServeError
from serve.wire import ChatChunk, ChatRequest, FeedbackRequest, Message

# Earlier questions sent along with a new one; more would crowd the passages out of a small model's context.
HISTORY_TURNS = 4


@dataclass(frozen=True)
class Sampling:
    """Where the sliders stand at first. `max_tokens` is also the longest answer that can be asked for."""

    temperature: float = 0.0
    max_tokens: int = 128
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.1


class ChatEvents:
    """The page's event handlers.

    Args:
        client: the server that is asked.
        lead: one line that says what can be asked, shown while the conversation is empty.
        examples: questions that the empty page offers.
    """

    def __init__(self, client: Client, lead: str, examples: Sequence[str]) -> None:
        self.client = client
        self.lead = lead
        self.examples = tuple(examples)

    def shown(self, chat: Chat) -> tuple[str, str]:
        """The conversation and the sources, as HTML."""
        return view.conversation(chat, self.lead, self.examples), view.sources(chat)

    async def server_status(self) -> str:
        """The header's line: what the server runs, or why it does not."""
        try:
            health = await self.client.ready()
        except ServeError as error:
            return view.alert(str(error))
        return view.status(health.model, health.index)

    async def ask(
        self,
        question: str,
        chat: Chat,
        retrieval: bool,
        temperature: float,
        max_tokens: float,
        top_p: float,
        top_k: float,
        repetition_penalty: float,
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Stream an answer. Yields (question box, conversation state, conversation, sources, send, stop)."""
        if not question.strip():
            yield (gr.skip(), chat, *self.shown(chat), *_buttons(busy=False))
            return
        request = ChatRequest(
            messages=[*_history(chat), Message(role="user", content=question)],
            retrieval=retrieval,
            temperature=temperature,
            max_tokens=round(max_tokens),
            top_p=top_p,
            top_k=round(top_k),
            repetition_penalty=repetition_penalty,
        )
        turn = Turn(question, retrieval)
        chat.turns.append(turn)
        chat.selected = len(chat.turns) - 1
        yield ("", chat, *self.shown(chat), *_buttons(busy=True))
        try:
            async for chunk in self.client.stream(request):
                _extend(turn, chunk)
                yield (gr.skip(), gr.skip(), *self.shown(chat), gr.skip(), gr.skip())
        except ServeError as error:
            turn.state, turn.error = "failed", str(error)
        box = question if turn.state == "failed" else gr.skip()
        yield (box, chat, *self.shown(chat), *_buttons(busy=False))

    def stop(self, chat: Chat) -> tuple[Any, ...]:
        """Keep what came of the answer until now. Returns (conversation state, conversation, sources, send, stop)."""
        for turn in chat.turns:
            if turn.state == "streaming":
                turn.state = "stopped"
        return (chat, *self.shown(chat), *_buttons(busy=False))

    def clear(self) -> tuple[Any, ...]:
        """Begin anew. Returns what `stop` returns."""
        return (Chat(), *self.shown(Chat()), *_buttons(busy=False))

    def example(self, event: gr.EventData) -> str:
        """The question of the example that was clicked."""
        number = _number(event, len(self.examples))
        return "" if number is None else self.examples[number]

    def choose(self, chat: Chat, event: gr.EventData) -> tuple[Any, ...]:
        """Show the sources of the clicked answer. Returns (conversation state, conversation, sources)."""
        number = _number(event, len(chat.turns))
        if number is not None:
            chat.selected = number
        return (chat, *self.shown(chat))

    async def vote(self, chat: Chat, event: gr.EventData) -> tuple[Any, ...]:
        """Save a thumb up or down. Returns (conversation state, conversation)."""
        turn = _turn(chat, event)
        vote = event._data.get("vote")
        if turn and vote in ("up", "down"):
            try:
                await self.client.feedback(FeedbackRequest(interaction_id=turn.interaction_id, vote=vote))
            except ServeError as error:
                turn.note = f"Your vote was not saved: {error}"
            else:
                turn.vote, turn.note = vote, "Vote saved. Thank you."
        return chat, self.shown(chat)[0]

    def correct(self, chat: Chat, event: gr.EventData) -> tuple[Any, ...]:
        """Open the correction of an answer. Returns (its id, the panel, its title, its status)."""
        turn = _turn(chat, event)
        if turn is None:
            return "", gr.update(visible=False), "", ""
        return turn.interaction_id, gr.update(visible=True), view.correction_title(turn.question), ""

    def prefill(self, chat: Chat, interaction_id: str) -> str:
        """The answer as text to start a correction from; nothing of one that was held back."""
        turn = _find(chat, interaction_id)
        return turn.answer if turn and turn.state != "content_filter" else ""

    async def send_correction(self, chat: Chat, interaction_id: str, correction: str, comment: str) -> tuple[Any, ...]:
        """Save a correction, a comment, or both.

        Returns (conversation state, conversation, correction, comment, panel, status); when it could not be saved the
        typed text and the panel stay as they are.
        """
        turn = _find(chat, interaction_id)
        if turn is None:
            return (*_kept(chat), view.alert("That answer is no longer here. Ask again, then correct the new answer."))
        if not correction.strip() and not comment.strip():
            return (*_kept(chat), view.alert("Write a better answer or a comment first."))
        request = FeedbackRequest(
            interaction_id=turn.interaction_id,
            correction=correction if correction.strip() else None,
            comment=comment if comment.strip() else None,
        )
        try:
            await self.client.feedback(request)
        except ServeError as error:
            return (*_kept(chat), view.alert(f"Not saved, your text is still here: {error}"))
        turn.note = "Correction saved. Thank you." if correction.strip() else "Comment saved. Thank you."
        return chat, self.shown(chat)[0], "", "", gr.update(visible=False), ""


def _buttons(*, busy: bool) -> tuple[Any, Any]:
    return gr.update(visible=not busy), gr.update(visible=busy)


def _kept(chat: Chat) -> tuple[Any, ...]:
    return chat, gr.skip(), gr.skip(), gr.skip(), gr.skip()


def _history(chat: Chat) -> list[Message]:
    whole = [turn for turn in chat.turns if turn.state in ("stop", "length") and turn.answer.strip()]
    return [
        message
        for turn in whole[-HISTORY_TURNS:]
        for message in (Message(role="user", content=turn.question), Message(role="assistant", content=turn.answer))
    ]


def _extend(turn: Turn, chunk: ChatChunk) -> None:
    turn.interaction_id = chunk.id
    for choice in chunk.choices:
        delta = choice.delta
        turn.answer += delta.content or ""
        turn.citations = turn.citations if delta.citations is None else delta.citations
        turn.grounded = turn.grounded if delta.grounded is None else delta.grounded
        turn.search_query = delta.search_query or turn.search_query
        turn.guard = turn.guard if delta.guard is None else delta.guard
        turn.state = choice.finish_reason or turn.state


def _find(chat: Chat, interaction_id: str) -> Turn | None:
    return next((turn for turn in chat.turns if turn.answered and turn.interaction_id == interaction_id), None)


def _number(event: gr.EventData, below: int) -> int | None:
    number = event._data.get("turn") if isinstance(event._data, dict) else None
    return number if isinstance(number, int) and 0 <= number < below else None


def _turn(chat: Chat, event: gr.EventData) -> Turn | None:
    number = _number(event, len(chat.turns))
    turn = None if number is None else chat.turns[number]
    return turn if turn and turn.answered else None
