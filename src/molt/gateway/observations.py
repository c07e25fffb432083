"""What one finished exchange says about an arm.

An **error** is an answer with 4xx or 5xx, or none. Not errors, and counted apart: refusals of our
own limiter (`limited`), and requests that ended because the client went away or because a rollback
took them back (`aborted`). When the candidate failed and control answered in its place, the
candidate gets the error with the time until it failed, under `fallbacks`; control's answer is
nobody's observation, so that comparisons of the arms only see what each was assigned. A client that
leaves after a stream's last event has had its answer. Latency is
the whole time from the request's head to the last byte of the answer.
"""

from typing import Final, Literal, NamedTuple

import msgspec

from molt.core.assignment import CANDIDATE
from molt.gateway.routes import Decided, Route
from molt.ports import Prices
from molt.wire.exchange import Exchange

Kind = Literal["request", "limited", "aborted", "mirror_dropped"]

_NOT_THE_ARMS_DOING: Final = frozenset(
    {"client_aborted", "client_timeout", "bad_request", "cancelled"}
)
_CLASSES: Final = {status: str(status // 100) for status in range(100, 600)}
_NO_ANSWER: Final = "0"


class Observation(msgspec.Struct, eq=False, gc=False):
    """One request as evidence. `status` is a class ("2".."5", "0" for no whole answer)."""

    kind: Kind
    error: bool = False
    fell_back: bool = False
    status: str = _NO_ANSWER
    latency_ms: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None
    tool_calls: int = 0
    forbidden: tuple[str, ...] = ()


_LIMITED: Final = Observation("limited")
_ABORTED: Final = Observation("aborted")
_DROPPED: Final = Observation("mirror_dropped")


class Pricing(NamedTuple):
    """What a use costs. `candidate_model` is what the candidate runs on where it does not say."""

    prices: Prices
    candidate_model: str | None = None


def observe(exchange: Exchange, decided: Decided, route: Route, pricing: Pricing) -> Observation:
    """What the exchange says about the arm that it was decided for."""
    outcome = exchange.outcome
    if exchange.fell_back:
        return _failed_over(exchange)
    if outcome == "ok" or (outcome == "client_aborted" and decided.said_all):
        return _answered(exchange, decided, route, pricing)
    if outcome == "refused":
        return _LIMITED
    if outcome == "mirror_dropped":
        return _DROPPED
    if outcome in _NOT_THE_ARMS_DOING:
        return _ABORTED
    return Observation(
        "request", error=True, latency_ms=1000.0 * (exchange.finished - exchange.started)
    )


def _failed_over(exchange: Exchange) -> Observation:
    if exchange.failure == "cancelled":
        return Observation("aborted", fell_back=True)
    return Observation(
        "request",
        error=True,
        fell_back=True,
        status=str(exchange.failure_status // 100),
        latency_ms=1000.0 * (exchange.failed_at - exchange.started),
    )


def _answered(exchange: Exchange, decided: Decided, route: Route, pricing: Pricing) -> Observation:
    status = exchange.status
    observation = Observation(
        "request",
        status >= 400,
        status=_CLASSES.get(status) or str(status // 100),
        latency_ms=1000.0 * (exchange.finished - exchange.started),
    )
    usage = exchange.usage
    if usage is not None:
        model = usage.model
        if model is None and decided.arm == CANDIDATE:
            model = pricing.candidate_model
        _add_usage(observation, model, usage.input_tokens, usage.output_tokens, pricing.prices)
        if usage.tools:
            observation.tool_calls = len(usage.tools)
            if decided.arm == CANDIDATE:
                observation.forbidden = route.forbidden(usage.tools)
    return observation


def _add_usage(
    observation: Observation,
    model: str | None,
    tokens_in: int | None,
    tokens_out: int | None,
    prices: Prices,
) -> None:
    """Count tokens; the cost is known only when both counts and the price are."""
    observation.tokens_in = tokens_in or 0
    observation.tokens_out = tokens_out or 0
    if tokens_in is not None and tokens_out is not None:
        observation.cost = prices.cost(model, tokens_in, tokens_out)
