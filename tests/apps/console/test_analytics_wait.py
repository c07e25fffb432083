"""A first look at weeks of evidence: whoever asks is told how far it is, and then has it."""

import asyncio
from datetime import timedelta

from tests.apps.cli.conftest import until
from tests.apps.console.conftest import Browser, Server

PAGE = "/console/analytics?span=28d"


def test_a_long_range_that_takes_long_says_how_far_it_is_and_then_is_there(
    begun: Browser, server: Server
) -> None:
    condensed = server.app.state.condensed
    plain, gate = server.store.slots, asyncio.Event()

    async def slow(rollout: str, since: int = 0, until: int | None = None):
        if since > server.clock.now().timestamp() - timedelta(days=14).total_seconds():
            await gate.wait()
        return await plain(rollout, since, until)

    server.store.slots = slow  # type: ignore[method-assign]
    page = begun.get(PAGE).text
    assert "Adding up the evidence of 28 d: 50%" in page
    assert 'http-equiv="refresh"' in page
    server.call(opened(gate))
    until(lambda: "Adding up" not in begun.get(PAGE).text)
    assert "In this range" in begun.get(PAGE).text
    assert condensed.ready("tiny", 0, int(server.clock.now().timestamp()), 7200) == 1


async def opened(gate: asyncio.Event) -> None:
    gate.set()


def test_an_export_without_a_row_still_says_what_its_columns_are(begun: Browser) -> None:
    for table, first in (("steps", "metric,title"), ("tools", "name,calls"), ("heat", "at_unix")):
        text = begun.get(f"/console/analytics/{table}.csv?span=5m").text
        assert text.startswith(first)
