"""One question to a running server, and its answer on the terminal."""

import asyncio
from collections.abc import Sequence

from pydantic import ValidationError

from app.client import Client
from app.console import tell
from configs.errors import ConfigError
from serve.wire import ChatRequest, ChatResponse, Filters, Message


def filters_of(
    url_prefix: str | None = None,
    since: str | None = None,
    until: str | None = None,
    language: str | None = None,
    tags: Sequence[str] | None = None,
) -> Filters | None:
    """Filters as the command line's options say; None when they say nothing.

    Raises:
        ConfigError: one of them makes no sense.
    """
    try:
        filters = Filters(
            url_prefix=url_prefix or "",
            since=since or "",
            until=until or "",
            language=language or "",
            tags=tuple(tags or ()),
        )
    except ValidationError as error:
        # Its own text has several lines.
        raise ConfigError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    return filters if filters != Filters() else None


def ask_server(server_url: str, question: str, filters: Filters | None = None) -> ChatResponse:
    """Ask, and wait for the whole answer.

    Args:
        filters: which passages may be found; None allows all.

    Raises:
        ConfigError: the question is empty.
        ServeError: the server cannot be reached, is not ready, or refuses.
    """

    if not question.strip():
        raise ConfigError("the question is empty", 'Ask something, as in wellread ask "What is a passage?"')

    async def work() -> ChatResponse:
        async with Client(server_url) as client:
            messages = [Message(role="user", content=question)]
            return await client.answer(ChatRequest(messages=messages, filters=filters))

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
