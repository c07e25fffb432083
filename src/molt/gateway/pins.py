"""Conversations stay on the arm where they began.

A conversation is known by its session id. Where the client sends none, by its subject: all requests
of one subject without a session are one conversation, until it is idle for too long.

Some dialects do both. In agent-chat the first turn carries no session id; its answer brings one,
which the client sends from then on. Such an id is learnt from the answer (`name`). Where the answer
could not be read, a session that is seen for the first time takes over its subject's turn without a
session. Either way it is one conversation, on one arm, counted once; and after that, another turn
of this subject without a session begins the next conversation.

Pins live in one gateway process. Where several share a port, a conversation is pinned in each one
that it has come to; the hash keeps the arm the same in all of them unless the share changes.
"""

from typing import Final

from molt.core.assignment import Arm
from molt.gateway.generations import Generations

MOST: Final = 100_000


class Conversation:
    """A running conversation; `arm` is None until its first request is decided.

    `named` tells that its session id is known, so that it is no longer found by its subject.
    The recorder keeps here what it would else look up for each request: `hashes` of those who
    `asked` last (subject and session), and the `noted` subject, which counts as seen.
    """

    __slots__ = ("arm", "asked", "hashes", "last", "named", "noted")

    def __init__(self, now: float, arm: Arm | None = None) -> None:
        self.arm: Arm | None = arm
        self.last = now
        self.named = False
        self.asked: tuple[str | None, str | None] | None = None
        self.hashes: dict[str, str] = {}
        self.noted: str | None = None


class Pins:
    """The running conversations of one rollout, in bounded memory."""

    def __init__(self, idle_seconds: float, most: int = MOST) -> None:
        self._known: Generations[tuple[str, str, bool], Conversation] = Generations(
            idle_seconds, most
        )

    def __len__(self) -> int:
        return len(self._known)

    def idle_after(self, seconds: float) -> None:
        """Forget conversations that are idle for longer than `seconds`, from now on."""
        self._known.span = seconds

    def find(
        self, agent: str, session: str | None, subject: str | None, now: float
    ) -> tuple[Conversation, bool]:
        """The conversation of this request, and whether it begins with it.

        A request with neither session nor subject is a conversation of its own, which is found
        again only if its answer names a session.
        """
        if session is not None:
            found = self._alive((agent, session, True), now)
            return (found, False) if found else self._unknown_session(agent, session, subject, now)
        if subject is None:
            return Conversation(now), True
        found = self._alive((agent, subject, False), now)
        if found and not found.named:
            return found, False
        return self._begin((agent, subject, False), now), True

    def name(self, agent: str, session: str, conversation: Conversation, now: float) -> None:
        """Learn from an answer which session id `conversation` goes on with."""
        if not conversation.named:
            conversation.named = True
            self._known.put((agent, session, True), conversation, now)

    def sweep(self) -> None:
        """Free forgotten memory, a little at a time."""
        self._known.sweep()

    def _alive(self, key: tuple[str, str, bool], now: float) -> Conversation | None:
        found = self._known.get(key, now)
        if found is None or now - found.last > self._known.span:
            return None
        found.last = now
        return found

    def _begin(self, key: tuple[str, str, bool], now: float) -> Conversation:
        conversation = Conversation(now)
        self._known.put(key, conversation, now)
        return conversation

    def _unknown_session(
        self, agent: str, session: str, subject: str | None, now: float
    ) -> tuple[Conversation, bool]:
        first = self._alive((agent, subject, False), now) if subject is not None else None
        if first and not first.named:
            self.name(agent, session, first, now)
            return first, False
        new = self._begin((agent, session, True), now)
        new.named = True
        if first:
            new.arm = first.arm
        return new, True
