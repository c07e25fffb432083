"""Conversations that are remembered until they are idle for too long.

A conversation is found by its session id. OpenAI clients have none: theirs is found by its
transcript so far. Two conversations with the same transcript are interchangeable - their carts hold
the same - so each takes one of them.
"""

import asyncio
import itertools
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from molt.apps.demo.bar.dialects import Ask
from molt.apps.demo.bar.dialogue import Memory

Transcript = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Session:
    """One conversation; `history` is what a real model remembers of it. Its turns take turns: hold
    `turn` while one is worked on, since the next may arrive before its answer (in shadow it does,
    where the agent is slower than the guest)."""

    id: str
    memory: Memory
    seen: float
    agent: str = ""
    user: str = ""
    history: list[Any] = field(default_factory=list[Any])
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Sessions:
    """All conversations of one service; `clock` gives monotonic seconds, `ttl` is in seconds."""

    def __init__(self, clock: Callable[[], float], ttl: float = 1800.0, most: int = 50_000) -> None:
        self._clock = clock
        self._ttl = ttl
        self._most = most
        self._by_id: OrderedDict[str, Session] = OrderedDict()
        self._by_transcript: OrderedDict[bytes, list[str]] = OrderedDict()
        self._issued: dict[tuple[str, str], str] = {}
        self._numbers = itertools.count()
        self._prefix = secrets.token_hex(5)

    def find(self, ask: Ask, adopt: bool = False) -> Session:
        """The conversation that `ask` goes on with, or a new one.

        With `adopt`, an unknown session id goes on with the same user's newest conversation: in
        shadow the id was issued by the other service, whose first answer the user followed.
        """
        now = self._clock()
        self._expire(now)
        session = self._known(ask, adopt)
        if session is None:
            number = ask.session_id or f"s-{self._prefix}-{next(self._numbers)}"
            session = Session(number, Memory(cart_id=number), now, ask.agent, ask.user)
            self._by_id[number] = session
        if not ask.session_id and ask.user:
            self._issued[ask.agent, ask.user] = session.id
        session.seen = now
        self._by_id.move_to_end(session.id)
        session.memory.venue = ask.venue or session.memory.venue
        session.memory.table = ask.table or session.memory.table
        session.memory.user = ask.user or session.memory.user
        return session

    def remember(self, session: Session, ask: Ask, answer: str) -> None:
        """Make `session` findable by what has been said, answer included."""
        if ask.transcript is None:
            return
        key = _key((*ask.transcript, ("user", ask.text), ("assistant", answer)), ask)
        self._by_transcript.setdefault(key, []).append(session.id)
        while len(self._by_transcript) > self._most:
            self._by_transcript.popitem(last=False)

    def __len__(self) -> int:
        return len(self._by_id)

    def _known(self, ask: Ask, adopt: bool) -> Session | None:
        if ask.session_id:
            session = self._by_id.get(ask.session_id) or self._adopted(ask, adopt)
            if session is not None:
                self._by_id[ask.session_id] = session
            return session if session is None or session.agent == ask.agent else None
        if not ask.transcript:
            return None
        ids = self._by_transcript.get(_key(ask.transcript, ask))
        return self._by_id.get(ids.pop()) if ids else self._adopted(ask, adopt)

    def _adopted(self, ask: Ask, adopt: bool) -> Session | None:
        return (
            self._by_id.get(self._issued.get((ask.agent, ask.user), ""))
            if adopt and ask.user
            else None
        )

    def _expire(self, now: float) -> None:
        while self._by_id:
            oldest_id, oldest = next(iter(self._by_id.items()))
            if now - oldest.seen <= self._ttl and len(self._by_id) <= self._most:
                return
            del self._by_id[oldest_id]
            if self._issued.get((oldest.agent, oldest.user)) == oldest_id:
                del self._issued[oldest.agent, oldest.user]


def _key(transcript: Transcript, ask: Ask) -> bytes:
    said = "\x1e".join(f"{role}\x1f{text}" for role, text in transcript)
    return blake2b(f"{ask.agent}\x1d{ask.user}\x1d{said}".encode(), digest_size=16).digest()
