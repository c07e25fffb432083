"""What an MCP call through Molt costs, against the tool server itself and a fastmcp proxy, in one run.

Rounds are interleaved, for machines drift. The process under test has one core to itself; tool server
and load share the other. CPU is what its threads were scheduled for, per call. Through Molt each call
does everything: the run's token verified, policy, budget, forwarded as bytes, put on record.
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

from molt.egress.settings import ToolService
from stand.contestants import STAND, Contestant, script
from stand.whole_egress import CORE, LOAD_CORE, measured, whole_egress

CONNECTIONS = 4
FIGURES = ("per_second", "cpu", "p50", "p99", "failures")


def measure(contestant: Contestant, seconds: float, key: str) -> dict[str, float]:
    """One load against one contestant."""
    path = "/mcp/bench" if contestant.name == "molt" else "/mcp"
    url = f"http://127.0.0.1:{contestant.port}{path}"
    load = [str(STAND / "tool_load.py"), url, str(seconds), str(CONNECTIONS), key]
    return measured(contestant, load)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="per load and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are needed: one for the process under test, one for the rest")
    key = secrets.token_hex(32)
    rounds: dict[str, list[dict[str, float]]] = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="molt-bench-")))
        upstream, _ = stack.enter_context(script("tool_server.py", core=LOAD_CORE))
        url = f"http://127.0.0.1:{upstream}/mcp"
        proxy, pid = stack.enter_context(script("tool_server.py", url, core=CORE))
        running = [
            Contestant("direct", upstream, None),
            stack.enter_context(whole_egress(directory, key, tools=(ToolService("bench", url),))),
            Contestant("fastmcp proxy", proxy, pid),
        ]
        for contestant in running:
            measure(contestant, 1.0, key)  # warm up
        for _ in range(arguments.rounds):
            for one in running:
                rounds.setdefault(one.name, []).append(measure(one, arguments.seconds, key))
    rows = [
        {"name": name, **{k: median(r[k] for r in found) for k in FIGURES}}
        for name, found in rounds.items()
    ]
    if arguments.json:
        print(json.dumps({"connections": CONNECTIONS, "rows": rows}))
        return
    print(
        f"MCP tools/call: {arguments.rounds} interleaved rounds of {arguments.seconds:g} s, "
        f"{CONNECTIONS} connections without think time; medians."
    )
    line = "{:<14} {:>9} {:>9} {:>9} {:>9} {:>7}"
    print(line.format("through", "calls/s", "CPU us", "p50 us", "p99 us", "failed"))
    for row in rows:
        print(line.format(row["name"], *(f"{row[name]:.0f}" for name in FIGURES)))


if __name__ == "__main__":
    main()
