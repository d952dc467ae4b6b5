"""An open chat page in a browser, and what happened in it."""

from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page

EXAMPLES = ("What does VACUUM FULL do?", "Which locks does VACUUM FULL take?", "How often should I vacuum?")


@dataclass
class Visit:
    """An open page, and what happened in it."""

    page: Page
    hosts: set[str] = field(default_factory=set)
    dialogs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, browser: Browser, url: str, width: int = 1280, height: int = 800, scheme: str = "light") -> Self:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        context.set_default_timeout(20_000)
        visit = cls(context.new_page())
        visit.page.on("request", lambda request: visit.hosts.add(_host(request.url)))
        visit.page.on("dialog", lambda dialog: (visit.dialogs.append(dialog.message), dialog.dismiss()))
        visit.page.on("pageerror", lambda error: visit.errors.append(str(error)))
        visit.page.goto(url)
        visit.question.wait_for()
        return visit

    @property
    def question(self) -> Locator:
        return self.page.get_by_label("Your question")

    def ask(self, question: str) -> None:
        self.question.fill(question)
        self.question.press("Enter")

    def answer(self, question: str) -> Locator:
        """Ask, wait for the end, and return the turn."""
        turns = self.page.locator(".wr-turn")
        number = turns.count()
        self.ask(question)
        turn = turns.nth(number)
        turn.locator(".wr-foot").wait_for()
        return turn


def _host(url: str) -> str:
    parts = urlsplit(url)
    return parts.scheme if parts.scheme in ("data", "blob") else parts.hostname or ""
