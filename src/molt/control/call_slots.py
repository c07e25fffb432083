"""Calls of tools and models in the form of slots, so that charts of requests can draw them too."""

from collections.abc import Iterable, Sequence

from molt.control.analytics import Choice
from molt.core.evidence import LIVE, Call, Slot, SlotKey, Tally
from molt.core.rollout import Stay
from molt.core.stats import latency


class CallSlot(Slot):
    """One call: a slot with one request; `name` is the tool or model."""

    name: str = ""


def about_calls(choice: Choice) -> bool:
    """Whether the choice is about calls, not requests."""
    return bool(choice.tool or choice.model or choice.by in ("tool", "model"))


def call_slots(
    calls: Iterable[Call], choice: Choice, stays: Sequence[Stay], slot_seconds: int
) -> list[Slot]:
    """The calls that the choice is about, each as a slot of its own.

    With a tool and a model chosen, calls of either. What was never sent on (denied, only would have
    been executed) has no status, and is no error.
    """
    slots = (
        _slot(call, _epoch(call, stays), slot_seconds) for call in calls if _wanted(call, choice)
    )
    return [
        slot
        for slot in slots
        if choice.agent in (None, slot.key.agent)
        and choice.arm in (None, slot.key.arm)
        and choice.epoch in (None, slot.key.epoch)
    ]


def _wanted(call: Call, choice: Choice) -> bool:
    if not choice.start <= call.at < choice.end:
        return False
    if choice.tool or choice.model:
        return call.name == (choice.tool if call.kind == "tool" else choice.model)
    return call.kind == choice.by


def _epoch(call: Call, stays: Sequence[Stay]) -> int:
    return next((stay.epoch for stay in reversed(stays) if stay.at <= call.at), 0)


def _slot(call: Call, epoch: int, slot_seconds: int) -> Slot:
    start = int(call.at.timestamp()) // slot_seconds * slot_seconds
    mode = call.mode or LIVE
    return CallSlot(
        SlotKey(call.rollout or "", epoch, call.agent or "", "candidate", mode, start),
        requests=1,
        errors=Tally(int(call.status >= 400)),
        statuses={str(call.status // 100): 1} if call.status else {},
        latency=latency.binned([call.latency_ms]),
        tokens_in=call.tokens_in or 0,
        tokens_out=call.tokens_out or 0,
        cost=call.cost or 0.0,
        priced=int(call.cost is not None),
        tool_calls=int(call.kind == "tool"),
        violations=int(call.disposition == "denied"),
        name=call.name,
    )
