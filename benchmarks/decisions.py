"""The decision benchmark: how often rules are wrong and how soon they are right, Molt's and others'.

Runs of one seed are kept in a file, so that an interrupted benchmark goes on where it was; a change
of the deciding code begins anew.
"""

import argparse
import hashlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import numpy as np
from benchmarks.reach import Found, Run, reached
from benchmarks.rules import climbs, costs, one_decision, slots, steady

from molt.adapters.playbooks import load_playbook
from molt.apps.simulate.run import run as simulate
from molt.apps.simulate.shipped import ORDER, load_scenario
from molt.core.stats.wilson import wilson

ROOT: Final = Path(__file__).parent.parent
KEPT: Final = ROOT / "build" / "bench-decisions.jsonl"

Key = tuple[str, str, int]


def _weeks(**world: Any) -> Callable[[int], Run]:
    return lambda seed: dict(slots.false_alarms(slots.World(**world), seed))


def _found(**world: Any) -> Callable[[int], Run]:
    return lambda seed: dict(slots.minutes_to_find(slots.World(**world), seed))


def _slow_weeks(**world: Any) -> Callable[[int], Run]:
    return lambda seed: dict(slots.false_alarms(slots.World(**world), seed, minutes=10))


def _climb(world: climbs.World) -> Callable[[int], Run]:
    return lambda seed: {"Molt": climbs.molt(world, seed)._asdict()}


def _peers(world: climbs.World) -> Callable[[int], Run]:
    return lambda seed: {
        name: course._asdict() for name, course in climbs.others(world, seed).items()
    }


RATES: Final = (0.6, 6, 20, 60, 600)
WEEKS: Final[dict[str, Callable[[int], Run]]] = {
    **{f"1% errors, {r:g}/min": _weeks(per_minute=r) for r in RATES},
    **{f"2% errors, {r:g}/min": _weeks(per_minute=r, background=0.02) for r in RATES},
    **{f"4% errors, {r:g}/min": _weeks(per_minute=r, background=0.04) for r in RATES},
    **{
        f"1% errors, 30 s outage a day, {r:g}/min": _weeks(per_minute=r, outage=True) for r in RATES
    },
    **{
        f"2% errors, 30 s outage a day, {r:g}/min": _weeks(
            per_minute=r, background=0.02, outage=True
        )
        for r in RATES
    },
    "2% errors, each retried twice, 60/min": _weeks(per_minute=60, background=0.01, retries=2),
    **{
        f"4% slower than 5 s (D 10 min), {r:g}/min": _slow_weeks(per_minute=r, background=0.04)
        for r in (6, 60, 600)
    },
}
FINDS: Final[dict[str, Callable[[int], Run]]] = {
    "20% errors, 6/min": _found(per_minute=6, onset=0.2),
    "dead agent, 0.6/min": _found(per_minute=0.6, onset=1.0),
    "10% errors, 6/min": _found(per_minute=6, onset=0.1),
    "10% errors, 60/min": _found(per_minute=60, onset=0.1),
    "8% errors, 600/min": _found(per_minute=600, onset=0.08),
}
ROLLOUTS: Final = {
    "healthy, 50,000 users": climbs.World(50_000, attempts=2.0),
    "healthy, 5,000 users": climbs.World(5_000),
    "10% weekend dip, 50,000 users": climbs.World(50_000, attempts=2.0, weekend=0.9),
    "10% weekend dip, 5,000 users": climbs.World(5_000, weekend=0.9),
    "at the harm margin, 50,000 users": climbs.World(50_000, attempts=2.0, at_margin=True),
    "-5% on one metric, 5,000 users": climbs.World(5_000, lift=-0.05),
    **{
        f"-{harm}% on one metric, 50,000 users": climbs.World(
            50_000, attempts=2.0, lift=-harm / 100
        )
        for harm in (5, 10, 20)
    },
    **{
        f"-{harm}% on the only metric, 50,000 users": climbs.World(
            50_000, attempts=2.0, lift=-harm / 100, metrics=1
        )
        for harm in (5, 10, 20)
    },
    "-5% on all five, 50,000 users": climbs.World(
        50_000, attempts=2.0, lift=-0.05, every_metric=True
    ),
    "-10% on all five, 50,000 users": climbs.World(
        50_000, attempts=2.0, lift=-0.10, every_metric=True
    ),
    "-20% on all five, 50,000 users": climbs.World(
        50_000, attempts=2.0, lift=-0.20, every_metric=True
    ),
}
CLIMBS: Final = {name: _climb(world) for name, world in ROLLOUTS.items()}
PEERS: Final = {name: _peers(world) for name, world in ROLLOUTS.items()}
COSTS: Final[dict[str, Callable[[int], Run]]] = {
    name: (lambda seed, world=world: dict(costs.day(world, seed)))
    for name, world in costs.WORLDS.items()
}
STEADY: Final[dict[str, Callable[[int], Run]]] = {
    name: (lambda seed, world=world: {"Molt": steady.fate(world, seed)._asdict()})
    for name, world in steady.WORLDS.items()
}


def _scenario(name: str) -> Callable[[int], Run]:
    def run(seed: int) -> Run:
        _, scenario = load_scenario(name)
        course = simulate(scenario, load_playbook(scenario.playbook), seed, name=name)
        return {
            "verdict": course.verdict,
            "hours": course.hours,
            "after_onset": course.hours_after_onset,
            "lost": course.failed_orders,
        }

    return run


SCENARIOS: Final = {name: _scenario(name) for name in ORDER}
GROUPS: Final = {
    "weeks": WEEKS,
    "finds": FINDS,
    "steady": STEADY,
    "costs": COSTS,
    "climbs": CLIMBS,
    "peers": PEERS,
    "scenarios": SCENARIOS,
}


# --- running


def _code(group: str) -> str:
    """A fingerprint of the code that a group's runs come from: what decides and what generates."""
    code = ["src/molt/core/stats", "src/molt/core/triggers.py", "benchmarks/rules"]
    if group == "scenarios":
        code = ["src/molt/core", "src/molt/control", "src/molt/apps/simulate", "src/molt/playbooks"]
    digest = hashlib.sha256()
    for path in (ROOT / name for name in code):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix in {".py", ".yaml"}:
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _one(group: str, world: str, seed: int) -> Run:
    return GROUPS[group][world](seed)


def _kept(code: dict[str, str]) -> dict[Key, Run]:
    if not KEPT.exists():
        return {}
    rows = map(json.loads, KEPT.read_text(encoding="utf-8").splitlines())
    return {
        (r["group"], r["world"], r["seed"]): r["run"]
        for r in rows
        if r["code"] == code.get(r["group"])
    }


def run_all(groups: Sequence[str], seeds: Sequence[int], jobs: int) -> Found:
    """Every run of these groups and seeds, those that are kept included.

    All worlds get a seed before any gets the next: interrupted, they have as many.
    """
    code = {group: _code(group) for group in groups}
    kept = _kept(code)
    wanted = [(g, w, s) for s in seeds for g in groups for w in GROUPS[g]]
    todo = [key for key in wanted if key not in kept]
    KEPT.parent.mkdir(exist_ok=True)
    with KEPT.open("a", encoding="utf-8") as file:
        try:
            for done, (key, run) in enumerate(_runs(todo, jobs), start=1):
                kept[key] = run
                group, world, seed = key
                row = {
                    "code": code[group],
                    "group": group,
                    "world": world,
                    "seed": seed,
                    "run": run,
                }
                file.write(json.dumps(row) + "\n")
                file.flush()
                _progress(done, len(todo), f"{group}, seed {seed}")
        except KeyboardInterrupt:
            print("\ninterrupted; what is done is kept", file=sys.stderr)
    return kept_of(kept, wanted)


def kept_of(kept: dict[Key, Run], wanted: Sequence[Key]) -> Found:
    """Those of the wanted runs that are there, by group and world."""
    found: Found = {}
    for g, w, s in wanted:
        if (g, w, s) in kept:
            found.setdefault(g, {}).setdefault(w, []).append(kept[g, w, s])
    return found


def _runs(todo: Sequence[Key], jobs: int) -> Iterator[tuple[Key, Run]]:
    """The runs as they get done."""
    if jobs == 1:
        yield from ((key, _one(*key)) for key in todo)
        return
    pool = ProcessPoolExecutor(jobs)
    try:
        pending = {pool.submit(_one, *key): key for key in todo}
        for future in as_completed(pending):
            yield pending[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _progress(done: int, total: int, at: str) -> None:
    """A line that moves on a terminal; one for each hundred runs in a file."""
    text = f"{done:,} of {total:,} runs ({at})"
    if sys.stderr.isatty():
        print(f"\r{text:<50}", end="" if done < total else "\n", file=sys.stderr)
    elif done % 100 == 0 or done == total:
        print(text, file=sys.stderr)


# --- tables


def _share(hits: int, n: int) -> str:
    low, high = wilson(hits, n)
    return f"{100 * hits / n:.1f}% ({100 * low:.1f}-{100 * high:.1f})"


def _middle(values: Sequence[float], q: float) -> str:
    found = sorted(values)[min(len(values) - 1, math.ceil(q * len(values)) - 1)]
    return f"{found:.0f}" if found < math.inf else "never"


def tables(found: Found) -> Iterator[str]:
    """The tables as Markdown lines; first the figures to reach."""
    yield from reached(found)
    if weeks := found.get("weeks"):
        yield from _table("Rolled back within a week, although the rate is below 5%", weeks, _hits)
    if finds := found.get("finds"):
        title = "Minutes from the onset to the rollback: median, nine of ten (0: before it)"
        yield from _table(title, finds, _minutes)
    if runs := _together(found):
        yield from _climbed(runs)
    if runs := found.get("scenarios"):
        yield from _scenarios(runs)
    if runs := found.get("steady"):
        yield from _steady(runs)
    if runs := found.get("costs"):
        yield from _table("Cost: paused within the day", runs, _hits)


def _together(found: Found) -> dict[str, list[Run]]:
    """Climbs by Molt and by the peers, as many of each as there are."""
    mine, theirs = found.get("climbs", {}), found.get("peers", {})
    if not mine or not theirs:
        return mine or theirs
    return {
        world: [{**a, **b} for a, b in zip_longest(runs, theirs[world], fillvalue=Run())]
        for world, runs in mine.items()
        if world in theirs
    }


VERDICTS: Final = ("promoted", "rolled_back", "inconclusive")


def _scenarios(runs: dict[str, list[Run]]) -> Iterator[str]:
    yield "### The shipped scenarios: WF-11 as it is, by the production controller"
    yield ""
    columns = "promoted | rolled back | undecided | hours to it, median | after the onset"
    yield f"| scenario | {columns} | orders lost before it, mean | seeds |"
    yield "|" + " --- |" * 8
    for name, rows in runs.items():
        shares = [_share(sum(r["verdict"] == v for r in rows), len(rows)) for v in VERDICTS]
        hours = [
            _middle([math.inf if r[what] is None else r[what] for r in rows], 0.5)
            for what in ("hours", "after_onset")
        ]
        cells = [*shares, *hours, _lost(rows), str(len(rows))]
        yield f"| `{name}` | {' | '.join(cells)} |"
    yield ""


def _climbed(runs: dict[str, list[Run]]) -> Iterator[str]:
    for title, cell in (
        ("Rolled back", _verdict("rolled_back")),
        ("Promoted to 100%", _verdict("promoted")),
        ("Hours to the rollback, median", _hours),
        ("Hours to the promotion, median (planned: 408)", _promoted_at),
        ("Orders lost before the decision, mean (first metric)", _lost),
    ):
        yield from _table(title, runs, cell)


def _steady(runs: dict[str, list[Run]]) -> Iterator[str]:
    yield "### What should stay the same: within a week, looked at hourly"
    yield ""
    yield "| world | passed | hours to it, median | failed | hours to it, median | seeds |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for world, rows in runs.items():
        cells: list[str] = []
        for what in ("passed", "failed"):
            hours = [float(row["Molt"][what]) for row in rows]
            cells += [_share(sum(h < math.inf for h in hours), len(rows)), _middle(hours, 0.5)]
        yield f"| {world} | {' | '.join(cells)} | {len(rows)} |"
    yield ""


def _table(
    title: str, runs: dict[str, list[Run]], cell: Callable[[list[Any]], str]
) -> Iterator[str]:
    rules = list(next(iter(runs.values()))[0])
    yield f"### {title}"
    yield ""
    yield f"| world | {' | '.join(rules)} | seeds |"
    yield f"| --- |{' --- |' * (len(rules) + 1)}"
    for world, rows in runs.items():
        each = [[row[rule] for row in rows if rule in row] for rule in rules]
        sizes = sorted({len(values) for values in each}, reverse=True)
        seeds = " / ".join(map(str, sizes))
        yield f"| {world} | {' | '.join(map(cell, each))} | {seeds} |"
    yield ""


def _hits(values: list[Any]) -> str:
    return _share(sum(values), len(values))


def _minutes(values: list[Any]) -> str:
    return f"{_middle(values, 0.5)}, {_middle(values, 0.9)}"


def _verdict(wanted: str) -> Callable[[list[Any]], str]:
    return lambda values: _share(sum(v["verdict"] == wanted for v in values), len(values))


def _hours(values: list[Any]) -> str:
    hours = [v["hours"] if v["verdict"] == "rolled_back" else math.inf for v in values]
    return _middle(hours, 0.5)


def _promoted_at(values: list[Any]) -> str:
    hours = [v["hours"] for v in values if v["verdict"] == "promoted"]
    return _middle(hours, 0.5) if hours else "-"


def _lost(values: list[Any]) -> str:
    return f"{np.mean([v['lost'] for v in values]):,.0f}"


def main() -> None:
    """Run what is missing and print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="*", choices=list(GROUPS), default=list(GROUPS))
    given = parser.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    found = run_all(given.only, seeds, given.jobs)
    print(f"seeds {seeds.start} to {seeds.stop - 1}\n")
    print("\n".join(tables(found)))
    look = one_decision.scene()
    print("one decision, 10 metrics x 12 strata, CPU:")
    for changed in (0, 1, one_decision.METRICS):
        took = one_decision.milliseconds(look, changed)
        print(f"  {took:.2f} ms after new evidence about {changed} of the metrics")


if __name__ == "__main__":
    main()
