"""Politeness, host by host: its robots.txt, the pause between two requests, and how many are under way at once.

In: addresses. Out: what the fetcher makes of them, after the host's turn has come; or the refusal of robots.txt, which
is asked for once per host and run.
"""

import asyncio
import logging

from ingest.web.fetch import Failed, Fetched, Fetcher, Outcome, Pace, Redirected, Wanted
from ingest.web.robots import ALLOW_ALL, MAX_BYTES, Rules, parse
from ingest.web.urls import normalise, origin_of, site_of

logger = logging.getLogger(__name__)

UNREACHABLE = ("network", "timeout")
BARRED = "robots.txt asks not to fetch it"
# RFC 9309 section 2.3.1.2: at least five are followed, and a file behind more counts as unavailable.
MAX_REDIRECTS = 5
SLOW_S = 10.0
_ROBOTS = Wanted(any_type=True, max_bytes=MAX_BYTES, cut=True)


class Hosts:
    """All hosts of one run.

    Args:
        delay_s, concurrency: for each host.
        robots: obey robots.txt.
    """

    def __init__(self, fetcher: Fetcher, *, delay_s: float, concurrency: int, user_agent: str, robots: bool) -> None:
        self._fetcher = fetcher
        self._delay_s = delay_s
        self._concurrency = concurrency
        self._user_agent = user_agent
        self._robots = robots
        self._hosts: dict[str, _Host] = {}

    def __len__(self) -> int:
        return len(self._hosts)

    async def get(self, url: str, wanted: Wanted) -> Outcome:
        """Fetch an address, if its host's robots.txt lets us."""
        rules = await self.rules(url)
        if isinstance(rules, Failed):
            return rules
        if not rules.allows(url):
            return Failed("robots", BARRED)
        return await self.get_unasked(url, wanted)

    async def get_unasked(self, url: str, wanted: Wanted) -> Outcome:
        """The same without regard to robots.txt, for what it names itself."""
        host = self._of(url)
        async with host.slots:
            return await self._fetcher.get(url, host.pace, wanted)

    async def rules(self, url: str) -> Rules | Failed:
        """What the host of an address asks of us; or why nothing of it may be fetched now."""
        host = self._of(url)
        async with host.asking:
            if host.rules is None:
                host.rules = await self._ask(url, host) if self._robots else ALLOW_ALL
            return host.rules

    def _of(self, url: str) -> "_Host":
        site = site_of(url)
        if site not in self._hosts:
            self._hosts[site] = _Host(self._delay_s, self._concurrency)
        return self._hosts[site]

    async def _ask(self, page: str, host: "_Host") -> Rules | Failed:
        url = f"{origin_of(page)}/robots.txt"
        outcome: Outcome = Redirected(url)
        for _ in range(MAX_REDIRECTS + 1):
            if not isinstance(outcome, Redirected):
                break
            url = normalise(outcome.target, url) or url
            outcome = await self._fetcher.get(url, host.pace, _ROBOTS)
        if isinstance(outcome, Fetched):
            rules = parse(outcome.body, self._user_agent)
            if rules.crawl_delay > max(SLOW_S, host.pace.delay_s):
                logger.warning("%s asks for %g seconds between two requests", url, rules.crawl_delay)
            host.pace.delay_s = max(host.pace.delay_s, rules.crawl_delay)
            return rules
        if not isinstance(outcome, Failed) or _is_unavailable(outcome):
            return ALLOW_ALL
        if outcome.reason in (*UNREACHABLE, "private_address"):
            return outcome
        return Failed("robots", f"{url}: {outcome.detail}, so no page may be read (RFC 9309)")


def _is_unavailable(outcome: Failed) -> bool:
    # 429 says that we are too fast, not that there are no rules.
    return outcome.reason.startswith("http_4") and outcome.reason != "http_429"


class _Host:
    def __init__(self, delay_s: float, concurrency: int) -> None:
        self.pace = Pace(delay_s)
        self.slots = asyncio.Semaphore(concurrency)
        self.asking = asyncio.Lock()
        self.rules: Rules | Failed | None = None
