"""How often the candidate's answers in shadow are acceptable: counts of pairs, and the gate on them.

Pairs are counted in bucket sums, by the set of kinds of their differences. What is acceptable follows
from those columns and from what people said of kinds, so replay and restarts count the same.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from molt.core.assignment import CANDIDATE, STATISTICS_BUCKETS
from molt.core.book import Book, Floats
from molt.core.compare import Noise, family, reasons
from molt.core.events import Ruling
from molt.core.evidence import SHADOW, BucketSums, SumsKey
from molt.core.pairs import ACTED, DROPPED, PAIRS, TWIN, TWINNED, TWINS, Tally
from molt.core.playbook import ShadowAgreementGate
from molt.core.quantities import show_fraction
from molt.core.scene import Scene
from molt.core.stats import bernoulli

MOST_COLUMNS: Final = 300
"""Sets of kinds counted apart in one epoch; beyond that, families stand for tools, then for all."""
MOST_FIELDS: Final = 200
"""Fields whose noise is measured in one epoch."""


class Counts(NamedTuple):
    """Compared pairs: `n` and unacceptable `bad` per statistics bucket, and pairs by set of kinds."""

    n: Floats
    bad: Floats
    by_kinds: dict[frozenset[str], int]
    dropped: int


def counts(
    book: Book,
    epochs: Iterable[int],
    blocking: Collection[str],
    ruled: Mapping[str, bool],
) -> Counts:
    """What was counted in `epochs`, judged by what people say now."""
    n, bad = np.zeros(STATISTICS_BUCKETS), np.zeros(STATISTICS_BUCKETS)
    by_kinds: dict[frozenset[str], int] = defaultdict(int)
    dropped = 0
    for epoch in epochs:
        for column in book.columns(epoch, CANDIDATE, SHADOW):
            if column.startswith(PAIRS):
                amounts, kinds = book.sums(epoch, CANDIDATE, SHADOW, [column]), kinds_of(column)
                n += amounts
                if reasons(kinds, blocking, ruled):
                    bad += amounts
                by_kinds[kinds] += round(float(amounts.sum()))
            elif column == DROPPED:
                dropped += round(float(book.sums(epoch, CANDIDATE, SHADOW, [column]).sum()))
    return Counts(n, bad, {k: c for k, c in by_kinds.items() if c}, dropped)


def column_of(kinds: Collection[str], known: Collection[str]) -> str:
    """The column that counts pairs with these kinds; `known` are those that exist already."""
    column = PAIRS + "+".join(sorted(k.replace("+", "%2B") for k in kinds))
    if column in known or sum(1 for c in known if c.startswith(PAIRS)) < MOST_COLUMNS:
        return column
    return PAIRS + "+".join(sorted({family(k) for k in kinds}))


def kinds_of(column: str) -> frozenset[str]:
    """The kinds that a column counts."""
    names = column.removeprefix(PAIRS)
    return frozenset(n.replace("%2B", "+") for n in names.split("+")) if names else frozenset()


def place_of(rollout: str, epoch: int, agent: str) -> SumsKey:
    """Where pairs are counted."""
    return SumsKey(rollout, epoch, 0, agent, CANDIDATE, SHADOW)


def noise(book: Book, epoch: int) -> Noise:
    """How much control differs from itself, as far as requests went to it twice."""

    def total(column: str) -> float:
        return float(book.sums(epoch, CANDIDATE, SHADOW, [column]).sum())

    columns = book.columns(epoch, CANDIDATE, SHADOW)
    return Noise(
        pairs=round(total(TWINS)),
        control={c.removeprefix(TWIN): total(c) for c in columns if c.startswith(TWIN)},
        candidate={c.removeprefix(TWINNED): total(c) for c in columns if c.startswith(TWINNED)},
    )


def count_twins(
    sums: BucketSums, bucket: int, control: Iterable[str], candidate: Iterable[str]
) -> None:
    """Count one pair whose request went to control twice: the fields that differ, either way."""
    sums.add(TWINS, bucket)
    for prefix, names in ((TWIN, control), (TWINNED, candidate)):
        for name in sorted(names)[:MOST_FIELDS]:
            sums.add(prefix + name, bucket)


def count_actions(sums: BucketSums, bucket: int, acted: Tally | None, times: float = 1.0) -> None:
    """Count the actions of one pair, or take them back."""
    for name in Tally.__struct_fields__ if acted else ():
        if amount := getattr(acted, name):
            sums.add(ACTED + name, bucket, times * amount)


def acted(book: Book, epochs: Iterable[int]) -> Tally:
    """The actions of all pairs compared in `epochs`."""
    wanted = list(epochs)

    def total(name: str) -> int:
        columns = [ACTED + name]
        return round(sum(float(book.sums(e, CANDIDATE, SHADOW, columns).sum()) for e in wanted))

    return Tally(*map(total, Tally.__struct_fields__))


def rule(scene: Scene, gate: ShadowAgreementGate) -> list[Ruling]:
    """Engine C on the share of unacceptable pairs in the present epoch."""
    name, plan = "shadow_agreement", scene.playbook.comparison
    seen = counts(scene.book, [scene.rollout.epoch], plan.blocking, scene.rollout.differences)
    total, bad = float(seen.n.sum()), float(seen.bad.sum())
    if not total:
        return [Ruling(name, "wait", "no pair has been compared yet")]
    limit = round(1 - gate.above, 9)
    deff = bernoulli.design_effect(seen.n, seen.bad)
    low, high = bernoulli.interval(bad, total, deff=deff)
    numbers: dict[str, Any] = {
        "pairs": int(total),
        "acceptable": int(total - bad),
        "rate": (total - bad) / total,
        "low": 1 - high,
        "high": 1 - low,
        "limit": gate.above,
        "design_effect": round(deff, 3),
        "log_e_above": bernoulli.log_e_below(bad, total, limit, deff),
        "log_e_below": bernoulli.log_e_above(bad, total, limit, deff),
        "worst": worst_kinds(seen, plan.blocking, scene.rollout.differences),
    }
    shown = (
        f"acceptable: {int(total - bad)} of {int(total)} pairs, limit {show_fraction(gate.above)}"
    )
    if numbers["log_e_below"] >= -math.log(gate.alpha_fail):
        return [Ruling(name, "fail", f"{shown}; proven below it", numbers)]
    if numbers["log_e_above"] >= -math.log(gate.alpha_pass):
        return [Ruling(name, "pass", f"{shown}; proven above it", numbers)]
    least = show_fraction(round(1 - high, 4))
    return [Ruling(name, "wait", f"{shown}; not proven yet (at least {least})", numbers)]


def worst_kinds(
    seen: Counts, blocking: Collection[str], ruled: Mapping[str, bool]
) -> dict[str, int]:
    """The kinds that make pairs unacceptable, the most frequent first, with how many pairs each."""
    found: dict[str, int] = defaultdict(int)
    for kinds, pairs in seen.by_kinds.items():
        for kind in reasons(kinds, blocking, ruled):
            found[kind] += pairs
    return dict(sorted(found.items(), key=lambda row: (-row[1], row[0]))[:5])
