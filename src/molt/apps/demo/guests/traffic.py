"""The traffic: conversations that begin at random moments, at a given rate, whatever the answers."""

import asyncio
import contextlib
import random
import time
from collections import Counter, deque
from pathlib import Path

import aiohttp

from molt.apps.demo.guests.people import GUEST_SHARE, Population, mood
from molt.apps.demo.guests.reporter import Reporter
from molt.apps.demo.guests.scripts import STAFF, Script, load
from molt.apps.demo.guests.talk import CHAT, OPENAI, STREAM, Line, Reply
from molt.apps.demo.guests.visit import Visit

TIMEOUT = aiohttp.ClientTimeout(total=30.0)
"""Seconds after which a guest gives up on an answer."""
FAREWELL = 5.0
"""Seconds that open requests are given when the traffic stops."""
OWN_SESSION = 0.7
"""Share of agent-chat guests whose app names the session; the others learn it from the first answer."""


class Guests:
    """Guests who talk through `url` and whose outcomes go to `api` (None: are only counted).

    `rate` is conversations a second (Poisson) and may be changed at any time, `users` the number of user ids, `pace` the mean
    time to think in seconds. Counters are live: `requests`, `failed_for_users` (no answer, an
    error or nonsense; not 429), `limited` (429), `orders`, `conversations`, `outcomes` by kind.
    """

    def __init__(
        self,
        *,
        url: str,
        api: str | None = None,
        token: str = "",
        dialogues: Path | None = None,
        rate: float = 20.0,
        users: int = 2000,
        seed: int = 11,
        pace: float = 1.0,
        openai_share: float = 0.1,
        guest_share: float = GUEST_SHARE,
    ) -> None:
        self._url = url.rstrip("/")
        self._api, self._token = api, token
        self._scripts = load(dialogues)
        self._people = Population(users, seed)
        self.rate, self._seed, self._pace = rate, seed, pace
        self._openai_share, self._guest_share = openai_share, guest_share
        self._stop = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()
        self.requests = 0
        self.failed_for_users = 0
        self.limited = 0
        self.orders = 0
        self.conversations = 0
        self.outcomes: Counter[str] = Counter()
        self.outcomes_lost = 0
        self.recent_failures: deque[str] = deque(maxlen=20)

    @property
    def active(self) -> int:
        """Conversations that are open now."""
        return len(self._open)

    async def run(self, conversations: int | None = None) -> None:
        """Let guests in until `stop`, or until that many conversations have begun; then see them out."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=20.0)
        async with aiohttp.ClientSession(timeout=TIMEOUT, connector=connector) as http:
            reporter = Reporter(http, self._api, self._token)
            self.outcomes = reporter.counts
            reporting = asyncio.create_task(reporter.run())
            try:
                await self._let_in(http, reporter, conversations)
                await self._see_out(wait=conversations is not None)
            finally:
                reporter.close()
                await reporting
                self.outcomes_lost = reporter.lost

    async def stop(self) -> None:
        """Let nobody in any more; open conversations end after their current sentence."""
        self._stop.set()

    async def _let_in(
        self, http: aiohttp.ClientSession, reporter: Reporter, most: int | None
    ) -> None:
        """Open loop: arrivals keep to their own clock, so a slow service meets a queue, as in life."""
        draw = random.Random(f"{self._seed}/arrivals")
        due = time.monotonic()
        while not self._stop.is_set() and (most is None or self.conversations < most):
            due += draw.expovariate(self.rate)
            if (pause := due - time.monotonic()) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), pause)
            if self._stop.is_set():
                return
            self.conversations += 1
            task = asyncio.create_task(self._visit(self.conversations, http, reporter))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def _see_out(self, wait: bool) -> None:
        waiting = asyncio.create_task(self._stop.wait())
        while self._open and wait and not self._stop.is_set():
            await asyncio.wait([*self._open, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not self._open:
            return
        _, late = await asyncio.wait(self._open, timeout=FAREWELL)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _visit(self, number: int, http: aiohttp.ClientSession, reporter: Reporter) -> None:
        draw = random.Random(f"{self._seed}/{number}")
        script = self._script(draw)
        line = self._line(number, script, draw, http)
        visit = Visit(script, line, mood(draw), draw, self._pace, self._note, self._stop.is_set)
        for kind, value in await visit.play():
            self.orders += kind == "order_completed"
            reporter.add(line.user, line.agent, kind, value)

    def _script(self, draw: random.Random) -> Script:
        return draw.choice(self._scripts if draw.random() < self._guest_share else STAFF)

    def _line(
        self, number: int, script: Script, draw: random.Random, http: aiohttp.ClientSession
    ) -> Line:
        user = (
            self._people.guest(draw)
            if script.agent == "guest"
            else self._people.worker(script.agent, draw)
        )
        venue, table = f"venue-{draw.choices((1, 2, 3), (6, 3, 1))[0]}", str(draw.randrange(1, 13))
        point = draw.random()
        dialect = (
            CHAT
            if point >= self._openai_share
            else OPENAI
            if point >= self._openai_share / 2
            else STREAM
        )
        named = dialect == CHAT and draw.random() < OWN_SESSION
        session = f"visit-{self._seed}-{number}-{draw.getrandbits(32):08x}" if named else ""
        return Line(http, self._url, script.agent, user, venue, table, dialect, session)

    def _note(self, line: Line, reply: Reply) -> None:
        self.requests += 1
        self.limited += reply.limited
        if reply.failed:
            self.failed_for_users += 1
            self.recent_failures.append(
                f"{line.agent} {line.dialect} {reply.status} {reply.broken}"
            )
