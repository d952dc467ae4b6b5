"""One question to a running server, and its answer on the terminal."""

import asyncio

from app.client import Client
from app.console import tell
from configs.errors import ConfigError
from serve.wire import ChatRequest, ChatResponse, Message


def ask_server(server_url: str, question: str) -> ChatResponse:
    """Ask, and wait for the whole answer.

    Raises:
        ConfigError: the question is empty.
        ServeError: the server cannot be reached, is not ready, or refuses.
    """

    if not question.strip():
        raise ConfigError("the question is empty", 'Ask something, as in wellread ask "What is a passage?"')

    async def work() -> ChatResponse:
        async with Client(server_url) as client:
            return await client.answer(ChatRequest(messages=[Message(role="user", content=question)]))

    return asyncio.run(work())


def show_answer(response: ChatResponse) -> None:
    """The answer, then where it comes from."""
    message = response.choices[0].message
    tell(message.content)
    if message.citations:
        tell("\nSources:" if message.grounded else "\nNearest sources:")
    for citation in message.citations:
        titled = citation.heading.startswith(citation.title)
        place = citation.heading if titled else " > ".join(filter(None, (citation.title, citation.heading)))
        tell(f'[{citation.number}] {place}\n    {citation.url}\n    "{citation.quote}"')
    for report in message.guard:
        tell(f"{report.stage} guard: {report.action} ({report.category}): {report.reason}")
