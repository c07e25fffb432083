"""Faults that can be switched on while the agent runs, to see what a rollout does about them."""

import random

import msgspec

KINDS = ("errors", "slow", "down", "forbidden-tool", "cost", "complaints")


class FaultOrder(msgspec.Struct):
    """The body of POST /_fault; `kind` null mends everything.

    `share` is the part of requests that fail (errors), `seconds` the added delay (slow), `factor`
    what token counts are multiplied with (cost).
    """

    kind: str | None = None
    share: float = 0.6
    seconds: float = 6.0
    factor: int = 10


class Faults:
    """The fault that is switched on now, if any."""

    def __init__(self, seed: int = 7) -> None:
        self._order = FaultOrder()
        self._random = random.Random(seed)

    def switch(self, body: bytes) -> FaultOrder:
        """Take a new order; raises `msgspec.DecodeError` for a bad body and ValueError for an unknown kind."""
        order = msgspec.json.decode(body, type=FaultOrder)
        if order.kind is not None and order.kind not in KINDS:
            raise ValueError(f"unknown fault {order.kind!r}; known are {', '.join(KINDS)} and null")
        self._order = order
        return order

    def strikes(self) -> bool:
        """True when this request is to fail before anything was done."""
        return self._order.kind == "errors" and self._random.random() < self._order.share

    @property
    def delay(self) -> float:
        """Seconds to add to this request."""
        return self._order.seconds if self._order.kind == "slow" else 0.0

    @property
    def factor(self) -> int:
        """What token counts are multiplied with."""
        return self._order.factor if self._order.kind == "cost" else 1

    @property
    def oversteps(self) -> bool:
        """True when the guest agent calls a tool that is not its own."""
        return self._order.kind == "forbidden-tool"

    @property
    def rude(self) -> bool:
        """True when answers are useless."""
        return self._order.kind == "complaints"
