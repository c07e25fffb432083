"""One guest's visit, from the first sentence to what came of it."""

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from molt.apps.demo.bar.voice import NOTHING_ORDERED, RUDE
from molt.apps.demo.guests.people import Mood
from molt.apps.demo.guests.scripts import Script
from molt.apps.demo.guests.talk import Line, Reply

ORDERED = re.compile(r"\bO-\d+\b[^.]*\bplaced\b")
INSIST = "Yes, please place my order."
STAFF = "Could somebody from the staff come to my table?"

Outcome = tuple[str, float | None]
"""Kind, and value where the kind has one."""


@dataclass(slots=True)
class Seen:
    """What a guest has seen so far."""

    cart: bool = False
    ordered: bool = False
    failures: int = 0
    insults: int = 0
    waits: list[float] = field(default_factory=list[float])

    def take(self, reply: Reply) -> None:
        """Learn from one reply."""
        self.failures += reply.failed
        self.insults += RUDE in reply.text
        self.ordered |= bool(ORDERED.search(reply.text))
        for call in reply.calls:
            result = call["result"] if isinstance(call["result"], dict) else {}
            if call["dry_run"] or "error" in result:
                continue
            self.cart |= call["tool"] == "add_to_cart"
            self.ordered |= call["tool"] == "place_order" and "order_id" in result
            if call["tool"] == "call_staff":
                self.waits.append(float(result.get("response_seconds", 0.0)))


@dataclass(slots=True)
class Visit:
    """Plays one script. `note` hears every reply, `pace` is the mean time to think in seconds."""

    script: Script
    line: Line
    mood: Mood
    draw: random.Random
    pace: float
    note: Callable[[Line, Reply], None]
    stopping: Callable[[], bool]

    async def play(self) -> list[Outcome]:
        """Talk until the script ends or patience does; the outcomes, empty for a visit cut short."""
        seen = Seen()
        sentences = list(self.script.lines)
        restarted = False
        while sentences:
            if self.stopping():
                return []
            reply = await self.line.say(sentences.pop(0))
            self.note(self.line, reply)
            seen.take(reply)
            if reply.limited or reply.failed or RUDE in reply.text:
                break
            if NOTHING_ORDERED in reply.text and self.script.buys and not restarted:
                restarted, sentences = True, list(self.script.lines)
            if seen.cart and not seen.ordered and self.mood.leaves:
                break
            if (
                not sentences
                and self.script.buys
                and seen.cart
                and not seen.ordered
                and INSIST not in self._said()
            ):
                sentences.append(INSIST)
            if sentences:
                await self._think()
        else:
            await self._ask_for_staff(seen)
        return outcomes(self.script, self.mood, seen)

    async def _ask_for_staff(self, seen: Seen) -> None:
        if self.script.agent != "guest" or not self.mood.calls_staff or self.stopping():
            return
        await self._think()
        reply = await self.line.say(STAFF)
        self.note(self.line, reply)
        seen.take(reply)

    def _said(self) -> set[str]:
        return {message["content"] for message in self.line.said}

    async def _think(self) -> None:
        await asyncio.sleep(self.draw.expovariate(1.0) * self.pace)


def outcomes(script: Script, mood: Mood, seen: Seen) -> list[Outcome]:
    """What the bar's analytics would report about a visit.

    Who came to buy counts as having started a cart even if nothing was understood: not to be
    served is the loss that the completion rate is about.
    """
    if script.agent != "guest":
        return []
    found: list[Outcome] = []
    if script.buys or seen.cart:
        found += [
            ("cart_started", None),
            ("order_completed" if seen.ordered else "cart_abandoned", None),
        ]
    bad = bool(seen.failures or seen.insults)
    served = seen.ordered or not script.buys
    if mood.tells < 0.5:
        chance = 0.2 if bad else 0.85 if served else 0.6
        found.append(("satisfied" if mood.pleased < chance else "dissatisfied", None))
    if mood.complains < (0.5 if seen.insults else 0.1 if seen.failures else 0.0004):
        found.append(("complaint", None))
    if mood.writes_ticket < (0.05 if bad else 0.004):
        found.append(("support_ticket", None))
    return found + [("staff_response", seconds) for seconds in seen.waits]
