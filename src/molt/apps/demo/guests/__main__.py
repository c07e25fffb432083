"""Guests from the command line: `python -m molt.apps.demo.guests --url GATEWAY --rate R`."""

import argparse
import asyncio
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from molt.apps.demo.guests.traffic import Guests


def main(argv: Sequence[str] | None = None) -> None:
    """Let guests in until SIGTERM, SIGINT or the given end; prints one JSON line of counts at the end."""
    options = _parser().parse_args(argv)
    print(json.dumps(uvloop.run(_run(options))), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m molt.apps.demo.guests", description=__doc__)
    parser.add_argument(
        "--url", required=True, help="where the guests talk: Molt's gateway, or a service"
    )
    parser.add_argument(
        "--api", help="Molt's control API, for outcomes; without it they are only counted"
    )
    parser.add_argument("--token", default="", help="token of the control API")
    parser.add_argument("--dialogues", type=Path, help="JSON Lines of dialogues, .gz or not")
    parser.add_argument("--rate", type=float, default=20.0, help="conversations a second")
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument(
        "--pace", type=float, default=1.0, help="mean seconds to think between sentences"
    )
    parser.add_argument("--seconds", type=float, help="stop letting guests in after this time")
    parser.add_argument("--conversations", type=int, help="stop after this many")
    return parser


async def _run(options: argparse.Namespace) -> dict[str, Any]:
    guests = Guests(
        url=options.url, api=options.api, token=options.token, dialogues=options.dialogues, rate=options.rate,
        users=options.users, seed=options.seed, pace=options.pace,
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    if options.seconds is not None:
        loop.call_later(options.seconds, ending.set)
    visiting = asyncio.create_task(guests.run(options.conversations))
    closing = asyncio.create_task(ending.wait())
    await asyncio.wait({visiting, closing}, return_when=asyncio.FIRST_COMPLETED)
    closing.cancel()
    await guests.stop()
    await visiting
    return {
        "conversations": guests.conversations,
        "requests": guests.requests,
        "failed_for_users": guests.failed_for_users,
        "limited": guests.limited,
        "orders": guests.orders,
        "outcomes": dict(guests.outcomes),
        "outcomes_lost": guests.outcomes_lost,
        "recent_failures": list(guests.recent_failures),
    }


if __name__ == "__main__":
    main()
