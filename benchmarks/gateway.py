"""What Molt's gateway costs and adds, against nginx and against nothing, in one run.

Rounds are interleaved, for machines drift. The server under test has one core to itself, upstream
and load share another. CPU is what the server's threads were scheduled for, per request; latency is
from handing a request to the socket to the last byte of its answer.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from stand.contestants import STAND, Contestant, find_nginx, nginx, script
from stand.whole import whole_gateway

SERVER_CORE, LOAD_CORE = 0, 1
PACED = 500
CONNECTIONS = 32


@dataclass(frozen=True)
class Measured:
    """One contestant under one load; times in microseconds, `cpu` per request."""

    name: str
    load: str
    per_second: float
    cpu: float
    p50: float
    p99: float
    failures: int


def measure(contestant: Contestant, load: str, seconds: float) -> Measured:
    """Run one load against one contestant."""
    rate = [str(PACED)] if load == "paced" else []
    command = [sys.executable, str(STAND / "load.py"), str(contestant.port), str(seconds)]
    before = contestant.cpu_seconds()
    done = subprocess.run(
        ["taskset", "-c", str(LOAD_CORE), *command, str(CONNECTIONS), *rate],
        check=True,
        stdout=subprocess.PIPE,
    )
    used = contestant.cpu_seconds() - before
    result = json.loads(done.stdout)
    count = max(1, result["requests"])
    return Measured(
        contestant.name,
        load,
        count / result["seconds"],
        used * 1e6 / count,
        result["p50"],
        result["p99"],
        result["failures"],
    )


@contextmanager
def contestants(only: set[str]) -> Iterator[list[Contestant]]:
    """All that can run here, upstream included."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="molt-bench-")))
        upstream, _ = stack.enter_context(script("upstream.py", core=LOAD_CORE))
        running = [Contestant("direct", upstream, None)]
        if find_nginx() is None:
            print("nginx is not installed: skipped (on Debian: apt install nginx)", file=sys.stderr)
        else:
            for buffered in (False, True):
                conf = directory / f"nginx{buffered:d}"
                running.append(
                    stack.enter_context(nginx(conf, upstream, SERVER_CORE, buffered=buffered))
                )
        port, pid = stack.enter_context(script("bare.py", str(upstream), core=SERVER_CORE))
        running.append(Contestant("bare proxy", port, pid))
        running.append(
            stack.enter_context(whole_gateway(directory / "molt", upstream, SERVER_CORE, LOAD_CORE))
        )
        yield [c for c in running if not only or c.name in only]


def summary(rounds: list[Measured]) -> list[dict[str, float | str | None]]:
    """Medians over rounds; added latency against `direct` and CPU against nginx, per load."""
    rows = []
    for load in ("paced", "saturated"):
        mine = [m for m in rounds if m.load == load]
        middles = {
            name: {
                key: median(asdict(m)[key] for m in mine if m.name == name)
                for key in ("per_second", "cpu", "p50", "p99", "failures")
            }
            for name in dict.fromkeys(m.name for m in mine)
        }
        direct, yardstick = middles.get("direct"), middles.get("nginx")
        for name, values in middles.items():
            row = {"load": load, "name": name, **values}
            row["added_p50"] = values["p50"] - direct["p50"] if direct else None
            row["added_p99"] = values["p99"] - direct["p99"] if direct else None
            compared = yardstick and name not in {"direct", "nginx"}
            row["cpu_to_nginx"] = values["cpu"] / yardstick["cpu"] if compared else None
            rows.append(row)
    return rows


def cell(number: float | str | None, *, digits: bool) -> str:
    """A figure of the table; nothing where `--only` left out what it is compared with."""
    return "" if number is None else f"{number:.1f}" if digits else f"{number:.0f}"


def show(rows: list[dict[str, float | str | None]], arguments: argparse.Namespace) -> None:
    """The table, with the load stated."""
    print(
        f"{arguments.rounds} interleaved rounds of {arguments.seconds:g} s a load; paced is {PACED} "
        f"requests/s, saturated is {CONNECTIONS} connections without think time; medians."
    )
    line = "{:<10} {:<20} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6}"
    units = ("load", "server", "req/s", "CPU us", "p50 us", "p99 us", "+p50", "+p99", "x nginx")
    print(line.format(*units, "failed"))
    for row in rows:
        numbers = [row[k] for k in ("per_second", "cpu", "p50", "p99", "added_p50", "added_p99")]
        cells = [cell(n, digits=i == 1) for i, n in enumerate(numbers)]
        ratio = "" if row["cpu_to_nginx"] is None else f"{row['cpu_to_nginx']:.2f}"
        print(line.format(row["load"], row["name"], *cells, ratio, f"{row['failures']:.0f}"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="per load and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", default=[], help="a server's name; repeatable")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are needed: one for the server under test, one for the rest")
    rounds: list[Measured] = []
    with contestants(set(arguments.only)) as running:
        for contestant in running:
            measure(contestant, "saturated", 0.5)  # warm up
        for _ in range(arguments.rounds):
            for load in ("paced", "saturated"):
                rounds += [measure(c, load, arguments.seconds) for c in running]
    rows = summary(rounds)
    if arguments.json:
        print(json.dumps({"paced_per_second": PACED, "connections": CONNECTIONS, "rows": rows}))
    else:
        show(rows, arguments)


if __name__ == "__main__":
    main()
