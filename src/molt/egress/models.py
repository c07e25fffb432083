"""The door to models: who may use one now, which, and for how many tokens.

A run may ask while the flags let it go on, live or shadow. One that was withdrawn may not, from the
moment at which the flags say so: its calls under way are ended too. Without a valid run token
nothing is spent, unless the operator allows it; then each such call has a limit of its own.
"""

import asyncio
import time
from functools import partial

from molt.core.flags import Limits
from molt.egress.app import App
from molt.egress.denials import Denied
from molt.egress.house import House
from molt.egress.http import Request
from molt.egress.ledger import LOST, Reservation
from molt.egress.model_call import Admitted, ModelCall
from molt.egress.providers import Provider, Providers
from molt.egress.runs import Caller
from molt.wire.models import DIALECTS, Asked, BadRequest, Dialect

UNTRUSTED_SECONDS = 600.0


class Models:
    """Opens the doors of all model APIs."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._providers = Providers(house.settings.models)
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def open(self, app: App) -> None:
        """Open them."""
        for dialect in DIALECTS:
            app.at(dialect.path, partial(self._serve, dialect))

    async def _serve(self, dialect: Dialect, request: Request) -> None:
        await ModelCall(self._house, self, dialect, request).run()

    # --- may it?

    def provider(self, dialect: Dialect, asked: Asked) -> Provider:
        """Who answers. Raises `Denied`."""
        found = self._providers.of(dialect, asked.model)
        if found is None:
            raise Denied(
                404,
                "model_not_found",
                f"No provider in Molt's `egress.models` speaks {dialect.name} and has the model "
                f"{asked.model!r}",
            )
        return found

    def check(self, caller: Caller) -> None:
        """Raise `Denied` when the caller may not ask a model now."""
        if self._house.journal.failed:
            raise Denied(503, "audit_failed", "Molt cannot keep its audit log: nothing is called")
        if caller.standing == "withdrawn" and not caller.finishing:
            raise Denied(403, "run_withdrawn", f"This run may not go on: {caller.reason}")
        if caller.run is not None and self._house.ledger.lost(caller.run.expires):
            raise Denied(403, "run_withdrawn", LOST, reason="account_lost")
        if caller.standing == "unknown" and not self._house.settings.models_without_run:
            raise Denied(403, "no_run", f"Models are for runs that Molt began: {caller.reason}")

    def read(self, dialect: Dialect, body: bytes) -> Asked:
        """What is asked for. Raises `Denied`."""
        try:
            return dialect.read(body)
        except BadRequest as error:
            raise Denied(400, "invalid_request_error", str(error)) from None

    # --- how many tokens?

    async def reserve(self, caller: Caller, call: str, dialect: Dialect, asked: Asked) -> Admitted:
        """Hold tokens for the input and the most that may come out. Raises `Denied`.

        While another call of the same run holds what is left, this one waits for it to settle.
        """
        run, expires, limits = _account(caller, call)
        counted = asked.estimate if self._house.settings.tokens_counted == "all" else 0
        wanted = limits.max_tokens_per_request
        if asked.most is not None:
            wanted = counted + asked.most * asked.choices
        least = counted + dialect.least * asked.choices
        ledger = self._house.ledger
        while True:
            held = ledger.reserve_tokens(run, expires, limits, wanted, least)
            if held is not None:
                return Admitted(run, held, (held.amount - counted) // asked.choices, counted > 0)
            if not ledger.holds_tokens(run):
                break
            await self._settlement(run)
        left = ledger.tokens_left(run, limits)
        raise Denied(
            403,
            "token_limit",
            f"This run has {left} of its {limits.max_tokens_per_request} tokens left, and this "
            f"call needs about {least}: MOLTBOT_MAX_TOKENS_PER_REQUEST",
        )

    def settle(self, run: str, held: Reservation, used: int) -> None:
        """Book what was used, and let those go on that waited for it."""
        held.settle(used)
        for future in self._waiting.pop(run, ()):
            if not future.done():
                future.set_result(None)

    async def _settlement(self, run: str) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run, []).append(future)
        await future


def _account(caller: Caller, call: str) -> tuple[str, float, Limits]:
    if caller.run is None:
        return f"call:{call}", time.time() + UNTRUSTED_SECONDS, caller.limits
    return caller.run.id, caller.run.expires, caller.limits
