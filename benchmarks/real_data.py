"""What the rules do on recorded data: experiments of two shops, faults of a third, and labelled series.

    python -m benchmarks.real_data [--data ../shared/data]

Prints tables in Markdown. Where a data set is absent its part is left out, and said so.
"""

import argparse
import csv
import gzip
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from benchmarks.rules import peers
from benchmarks.rules.slots import RULES, Stream

from molt.core.stats import evalue
from molt.core.stats.ratio import difference
from molt.core.stats.strata import Stratum

DATA: Final = Path("../shared/data")
Floats = peers.Floats
FAIL: Final = math.log(20)


def rows_of(path: Path) -> list[dict[str, str]]:
    """A gzipped CSV file as dicts."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """A Markdown table with its title."""
    yield f"### {title}"
    yield ""
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    yield from (f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)
    yield ""


# --- experiments of a shop (asos_ab): daily totals, four metrics


class Snapshots(NamedTuple):
    """One comparison: totals per arm at each snapshot: users, sum, sum of squares."""

    control: Floats
    treatment: Floats


def asos(data: Path) -> list[Snapshots]:
    """Every experiment, variant and metric with at least five snapshots."""
    series: dict[tuple[str, str, str], list[dict[str, str]]] = defaultdict(list)
    for row in rows_of(data / "asos_ab" / "experiments.csv.gz"):
        series[row["experiment_id"], row["variant_id"], row["metric_id"]].append(row)
    found: list[Snapshots] = []
    for rows in series.values():
        rows.sort(key=lambda row: float(row["time_since_start"]))
        rows = [
            r
            for r in rows
            if all(r[f"{k}_{arm}"] for k in ("count", "mean", "variance") for arm in "ct")
        ]
        rows = [r for r in rows if float(r["count_c"]) > 0 and float(r["count_t"]) > 0]
        if len(rows) >= 5:
            found.append(Snapshots(_totals(rows, "c"), _totals(rows, "t")))
    return found


def _totals(rows: list[dict[str, str]], arm: str) -> Floats:
    n, mean, var = (
        np.array([float(row[f"{name}_{arm}"]) for row in rows])
        for name in ("count", "mean", "variance")
    )
    return np.stack([n, n * mean, n * (var + mean * mean)], axis=1)


class Measured(NamedTuple):
    """A difference at each snapshot: estimate, variance, and control's mean."""

    estimate: Floats
    variance: Floats
    control: Floats


def recorded(s: Snapshots) -> Measured:
    """As it was measured."""
    (n_c, sum_c, sq_c), (n_t, sum_t, sq_t) = s.control.T, s.treatment.T
    mean_c, mean_t = sum_c / n_c, sum_t / n_t
    variance = (sq_c / n_c - mean_c**2) / n_c + (sq_t / n_t - mean_t**2) / n_t
    return Measured(mean_t - mean_c, variance, mean_c)


def null(path: Measured, rng: np.random.Generator) -> Measured:
    """No difference at all, with the recorded looks and information: noise drawn anew.

    The totals do not tell users apart, so users cannot be split at random a second time.
    """
    information = np.maximum.accumulate(1 / np.maximum(path.variance, 1e-300))
    steps = np.diff(information, prepend=0.0)
    score = np.cumsum(rng.normal(0, 1, len(steps)) * np.sqrt(steps))
    return Measured(score / information, 1 / information, path.control)


def first_calls(path: Measured) -> dict[str, float]:
    """When each rule first calls a difference, as a share of the experiment; infinity: never."""
    calls = {"Molt": math.inf, "peeked z-test": math.inf, "one look at the end": math.inf}
    size = len(path.estimate)
    for i, (d, var, control) in enumerate(zip(*path, strict=True), start=1):
        if not var > 0 or control == 0:
            continue
        tau = 0.1 * abs(control)
        if max(evalue.log_e(d, var, tau), evalue.log_e(-d, var, tau)) >= math.log(2 / 0.05):
            calls["Molt"] = min(calls["Molt"], i / size)
        if abs(d) > 1.96 * math.sqrt(var):
            calls["peeked z-test"] = min(calls["peeked z-test"], i / size)
            calls["one look at the end"] = 1.0 if i == size else math.inf
    return calls


def asos_tables(data: Path, repeats: int = 5) -> Iterator[str]:
    """The experiments as they were, and without any difference."""
    paths = [recorded(s) for s in asos(data)]
    rng = np.random.default_rng(1)
    alike = [first_calls(null(path, rng)) for path in paths for _ in range(repeats)]
    real = [first_calls(path) for path in paths]
    rows = []
    for name in real[0]:
        false = sum(c[name] < math.inf for c in alike)
        hits = [c[name] for c in real if c[name] < math.inf]
        confirmed = sum(c[name] < math.inf and c["one look at the end"] < math.inf for c in real)
        when = f"{100 * float(np.median(hits)):.0f}%" if hits else "-"
        rows.append(
            (
                name,
                f"{100 * false / len(alike):.1f}% of {len(alike):,}",
                f"{len(hits)} of {len(real)}",
                when,
                f"{confirmed} of {len(hits)}",
            )
        )
    columns = (
        "rule (both directions, 5%)",
        "false calls without a difference",
        "calls, as recorded",
        "median time of the call",
        "still significant at the end",
    )
    yield from table("asos_ab: experiments of a web shop, a look at every snapshot", columns, rows)


# --- two recommendation policies at the same time (open_bandit)


class Impressions(NamedTuple):
    """In order of time: which policy, whether clicked, and a statistics bucket by user segment."""

    policy: np.ndarray
    click: Floats
    bucket: np.ndarray


def bandit(data: Path) -> Impressions:
    """The campaign that is shared."""
    rows = rows_of(data / "open_bandit" / "men.csv.gz")
    segments = {s: i % 256 for i, s in enumerate(sorted({r["user_segment"] for r in rows}))}
    return Impressions(
        np.array([r["policy"] for r in rows]),
        np.array([float(r["click"]) for r in rows]),
        np.array([segments[r["user_segment"]] for r in rows]),
    )


def watched(
    mine: np.ndarray, click: Floats, bucket: np.ndarray, every: int = 250
) -> dict[str, bool]:
    """Which rules call the candidate (where `mine`) worse at some look."""
    called = {"Molt": False, "peeked z-test": False}
    for end in range(every, len(click) + 1, every):
        sums = [
            np.bincount(bucket[:end][arm], weights, 256)
            for arm in (mine[:end], ~mine[:end])
            for weights in (np.ones(int(arm.sum())), click[:end][arm])
        ]
        d = difference([Stratum(*sums)], binary=True)
        if d is None or d.control == 0:
            continue
        look = peers.Look(*(float(s.sum()) for s in sums), d.variance, np.zeros((0, 2)))
        called["peeked z-test"] |= peers.peeked_z(look) == "fail"
        called["Molt"] |= evalue.log_e(-d.estimate, d.variance, 0.1 * d.control) >= FAIL
    return called


def bandit_tables(data: Path, repeats: int = 100) -> Iterator[str]:
    """A/A of one policy split by segment, and the two policies against each other."""
    seen = bandit(data)
    alone = seen.policy == "random"
    click, bucket = seen.click[alone], seen.bucket[alone]
    null = []
    for seed in range(repeats):
        inside = np.random.default_rng(seed).random(256) < 0.5
        null.append(watched(inside[bucket], click, bucket))
    better = seen.policy == "bts"
    rates = [float(seen.click[arm].mean()) for arm in (better, ~better)]
    real = watched(better, seen.click, seen.bucket)
    reverse = watched(~better, seen.click, seen.bucket)
    rows = [
        (
            name,
            f"{100 * sum(c[name] for c in null) / repeats:.0f}% of {repeats}",
            "worse" if real[name] else "not worse",
            "worse" if reverse[name] else "not proven worse",
        )
        for name in real
    ]
    title = (
        f"open_bandit: clicks {100 * rates[0]:.2f}% (bts) and {100 * rates[1]:.2f}% (random), "
        "a look at every 250 impressions"
    )
    columns = ("rule", "false calls, A/A by segment", "bts against random", "random against bts")
    yield from table(title, columns, rows)


# --- faults of a shop (petshop)


PER_ROW: Final = 30
"""Ten-second slots in five minutes."""


def petshop_rows(data: Path, name: str) -> list[dict[str, float]]:
    """The front end's figures at five-minute steps."""
    rows = []
    for row in rows_of(data / "petshop" / f"{name}.csv.gz"):
        kept = {k.removeprefix("PetSite|"): v for k, v in row.items() if k.startswith("PetSite|")}
        figures = {k: float(v) if v else math.nan for k, v in kept.items()}
        rows.append(figures | {"at": float(row["unix_timestamp"]), "issue": row.get("issue", "")})  # type: ignore[dict-item]
    return rows


def slower(row: dict[str, float], limit: float) -> float:
    """The share of requests slower than `limit` seconds, between the quantiles that are given."""
    known = [(0.5, row["latency|p50"]), (0.1, row["latency|p90"]), (0.05, row["latency|p95"])]
    known += [(0.01, row["latency|p99"])]
    known = [(share, value) for share, value in known if not math.isnan(value)]
    if not known or limit <= known[0][1]:
        return 0.5 if known else 0.0
    if limit >= known[-1][1]:
        return 0.005
    values, shares = [v for _, v in known], [s for s, _ in known]
    return float(np.interp(limit, values, shares))


def spread(rows: Sequence[dict[str, float]], shares: Sequence[float], seed: int = 1) -> Stream:
    """Rows of five minutes as slots: requests spread evenly, events drawn at the row's share."""
    rng = np.random.default_rng(seed)
    n = np.concatenate(
        [
            rng.multinomial(
                int(row["requests|Sum"] or 0) if not math.isnan(row["requests|Sum"]) else 0,
                np.full(PER_ROW, 1 / PER_ROW),
            )
            for row in rows
        ]
    )
    x = rng.binomial(n, np.repeat(np.clip(shares, 0, 1), PER_ROW))
    bits = [sum({1 << int(b) for b in rng.integers(0, 256, k)}) for k in x.tolist()]
    return Stream(n, x, bits)


TIMES: Final = (1.25, 2.0)
"""Limits of p95, in its usual values."""


def petshop_tables(data: Path) -> Iterator[str]:
    """Errors above 1% and p95 above its usual value times `TIMES`, for five minutes."""
    issues = json.loads((data / "petshop" / "issues.json").read_text())
    delays: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in RULES}
    false = dict.fromkeys(RULES, 0)
    hours = 0.0
    for traffic in sorted({i["traffic"] for i in issues}):
        known = (data / "petshop" / f"{traffic}_noissue.csv.gz").exists()
        calm = petshop_rows(data, f"{traffic if known else 'high_traffic'}_noissue")
        rest, recorded_issues = calm[len(calm) // 2 :], petshop_rows(data, f"{traffic}_issues")
        for kind, level, share in _triggers(calm[: len(calm) // 2]):
            if known:
                hours += len(rest) / 12
                for name, found in _applied(spread(rest, [share(r) for r in rest]), level):
                    false[name] += found < math.inf
            for issue in issues:
                if issue["traffic"] != traffic or issue["target"]["metric"] != kind.split()[0]:
                    continue
                rows = [r for r in recorded_issues if r["issue"] == issue["issue"]]
                # A calm hour goes before it, as a rollout would have seen one.
                series = [*calm[-12:], *rows]
                into = (issue["target"]["timestamp"] - rows[0]["at"]) / 10
                onset = 12 * PER_ROW + round(into)
                for name, found in _applied(spread(series, [share(r) for r in series]), level):
                    delays[name][kind].append((found + 1 - onset) / 6)
    kinds = list(next(iter(delays.values())))
    rows = [(name, *(_hits(delays[name][kind]) for kind in kinds), false[name]) for name in RULES]
    columns = ("rule", *kinds, f"false alarms ({2 * len(kinds)} triggers, {hours:.0f} quiet hours)")
    title = "petshop: injected faults, D = 5 min, 25 minutes recorded of each: found, median delay"
    yield from table(title, columns, rows)


def _triggers(calm: Sequence[dict[str, float]]) -> list[tuple[str, float, Any]]:
    """What is watched, the limit of its share, and the share of a row."""
    usual = float(np.nanmedian([r["latency|p95"] for r in calm]))
    slow = [
        (f"latency p95 above {times:g}x usual", 0.05, lambda r, t=times: slower(r, t * usual))
        for times in TIMES
    ]
    return [("availability below 99%", 0.01, _errors), *slow]


def _applied(s: Stream, level: float) -> list[tuple[str, float]]:
    return [(name, rule(s, level, 5)) for name, rule in RULES.items()]


def _errors(row: dict[str, float]) -> float:
    up = row["availability|Average"]
    return 0.0 if math.isnan(up) else 1 - up / 100


def _hits(delays: Sequence[float]) -> str:
    # A row stands for the five minutes that begin with it, so that a hit may come a row early.
    hits = [d for d in delays if -5 <= d < math.inf]
    early = sum(d < -5 for d in delays)
    when = f", {float(np.median(hits)):.0f} min" if hits else ""
    return f"{len(hits)} of {len(delays)}{when}" + (f" ({early} too early)" if early else "")


# --- labelled series (nab)


ASKED: Final = 60
"""Requests that a sample of a series stands for: what lies outside counts as if all were slow."""


def nab_series(
    data: Path,
) -> dict[str, tuple[list[datetime], Floats, list[tuple[datetime, datetime]]]]:
    """Times, values and labelled windows of each series."""
    labels = json.loads((data / "nab" / "labels.json").read_text())
    found = {}
    for path in sorted((data / "nab").glob("*.csv.gz")):
        rows = rows_of(path)
        at = [datetime.fromisoformat(r["timestamp"]) for r in rows]
        value = np.array([float(r["value"]) for r in rows])
        name = path.name.removesuffix(".gz")
        windows = labels.get(name, {}).get("label_windows", [])
        spans = [(datetime.fromisoformat(a), datetime.fromisoformat(b)) for a, b in windows]
        found[name] = (at, value, spans)
    return found


def outside(value: Floats) -> np.ndarray:
    """Samples more than six robust deviations from the median of the first 15% of the series."""
    first = value[: max(20, round(0.15 * len(value)))]
    middle = float(np.median(first))
    scale = 1.4826 * float(np.median(np.abs(first - middle))) or float(first.std()) or 1.0
    return np.abs(value - middle) > 6 * scale


def alarms(mask: np.ndarray, rule: str) -> list[int]:
    """The samples at which a rule fires anew: after an alarm it must have been quiet for a day's
    worth of samples (288) or the excess be over."""
    fired, last = list[int](), -(10**9)
    for end in np.flatnonzero(mask).tolist():
        if end - last < 288:
            continue
        recent = mask[max(0, end - 63) : end + 1]
        slots = 10 * len(recent)
        n = np.full(slots, ASKED // 10)
        x = n * np.repeat(recent, 10)
        bits = [(1 << 6) - 1 << (6 * (i % 40)) if k else 0 for i, k in enumerate(x.tolist())]
        s = Stream(n, x, bits)
        hit = mask[end] if rule == "one sample" else _fires_now(s)
        if hit:
            fired.append(end)
            last = end
    return fired


def _fires_now(s: Stream) -> bool:
    from molt.core.stats import sustained

    windows = sustained.look(s.n, s.x, s.buckets, duration=30, limit=0.05, healthy=0.02)
    return sustained.fired(windows) is not None


def nab_tables(data: Path) -> Iterator[str]:
    """Hits within labelled windows and alarms outside of them."""
    rows = []
    series = nab_series(data)
    for rule in ("Molt, D = 3 samples", "one sample"):
        hits = labelled = false = 0
        weeks, delays = 0.0, list[float]()
        for at, value, spans in series.values():
            fired = [at[i] for i in alarms(outside(value), rule)]
            weeks += (at[-1] - at[0]) / timedelta(days=7)
            labelled += len(spans)
            for start, end in spans:
                inside = [t for t in fired if start <= t <= end]
                hits += bool(inside)
                delays += [(inside[0] - start) / (end - start)] if inside else []
            false += sum(not any(a <= t <= b for a, b in spans) for t in fired)
        when = f"{100 * float(np.median(delays)):.0f}% of the window" if delays else "-"
        rows.append((rule, f"{hits} of {labelled}", when, f"{false / weeks:.2f}"))
    columns = ("rule", "windows with an alarm", "median place in it", "alarms outside, a week")
    title = f"nab: {len(series)} labelled series of any kind, samples beyond 6 robust deviations"
    yield from table(title, columns, rows)


PARTS: Final[dict[str, Any]] = {
    "asos_ab": asos_tables,
    "open_bandit": bandit_tables,
    "petshop": petshop_tables,
    "nab": nab_tables,
}


def main() -> None:
    """Print every table whose data is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    given = parser.parse_args()
    for name in given.only:
        if (given.data / name).is_dir():
            print("\n".join(PARTS[name](given.data)))
        else:
            print(f"{name}: not at {given.data / name}; left out\n")


if __name__ == "__main__":
    main()
