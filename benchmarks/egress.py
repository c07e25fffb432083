"""What the egress costs: a model call as JSON and as a stream of 200 chunks, and without it.

Rounds are interleaved, for machines drift. The egress has one core to itself; provider and load share
the other. CPU is what the egress's threads were scheduled for, per call; latency is from handing a
request to the socket to the last byte of its answer. Each call does everything: the run's token
verified, the tool policy, tokens reserved, clamped and settled, usage read, priced, put on record.
"""

import argparse
import json
import os
import secrets
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from molt.egress.settings import ModelService, Price
from stand.contestants import STAND, Contestant, script
from stand.whole_egress import LOAD_CORE, measured, whole_egress

CONNECTIONS = 8


def measure(contestant: Contestant, kind: str, seconds: float, key: str) -> dict[str, float]:
    """One load against one contestant."""
    load = [str(STAND / "model_load.py"), str(contestant.port), str(seconds), str(CONNECTIONS)]
    return measured(contestant, [*load, kind, key])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="per load and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are needed: one for the egress, one for the rest")
    key = secrets.token_hex(32)
    rounds: dict[tuple[str, str], list[dict[str, float]]] = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="molt-bench-")))
        upstream, _ = stack.enter_context(script("provider.py", core=LOAD_CORE))
        running = [
            Contestant("direct", upstream, None),
            stack.enter_context(
                whole_egress(
                    directory,
                    key,
                    models=(
                        ModelService("bench", f"http://127.0.0.1:{upstream}/v1", key="sk-bench"),
                    ),
                    prices={"gpt-4o-mini": Price(0.15, 0.6)},
                )
            ),
        ]
        for contestant in running:
            measure(contestant, "json", 0.5, key)  # warm up
        for _ in range(arguments.rounds):
            for kind in ("json", "stream"):
                for one in running:
                    figures = measure(one, kind, arguments.seconds, key)
                    rounds.setdefault((kind, one.name), []).append(figures)
    names = ("per_second", "cpu", "p50", "p99", "failures")
    rows = [
        {"kind": kind, "name": name, **{k: median(r[k] for r in found) for k in names}}
        for (kind, name), found in rounds.items()
    ]
    if arguments.json:
        print(json.dumps({"connections": CONNECTIONS, "rows": rows}))
        return
    print(
        f"{arguments.rounds} interleaved rounds of {arguments.seconds:g} s a load, {CONNECTIONS} "
        "connections without think time; medians."
    )
    line = "{:<8} {:<8} {:>9} {:>9} {:>9} {:>9} {:>7}"
    print(line.format("call", "through", "calls/s", "CPU us", "p50 us", "p99 us", "failed"))
    for row in rows:
        cells = [f"{row[name]:.0f}" for name in names]
        print(line.format(row["kind"], row["name"], *cells))


if __name__ == "__main__":
    main()
