"""Must it come back? One function per kind of trigger; `fail` means that it fires.

Triggers look across gates, holds and approvals, in every phase, at live and shadow observations.
"""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from molt.core.assignment import CANDIDATE, CONTROL, STATISTICS_BUCKETS, Arm
from molt.core.book import Floats
from molt.core.events import Ruling
from molt.core.evidence import COST_CAPPED, LIVE, PRICED, REQUESTS, SHADOW, Violation, over
from molt.core.playbook import (
    Action,
    ComplaintsTrigger,
    CostTrigger,
    ErrorRateTrigger,
    LatencyTrigger,
    Trigger,
    ViolationTrigger,
)
from molt.core.quantities import show_duration, show_fraction
from molt.core.scene import Scene
from molt.core.stats import cost, exposure, sustained

HEALTHY_PART: Final = 0.4
"""What counts as healthy is at most this part of a limit: 2% for the limit of 5%."""

LONGEST: Final = 2 ** (sustained.DOUBLINGS - 1)


class TriggerRuling(NamedTuple):
    """A trigger's ruling, what it does when it fires, what an incident should hold beside, and
    since when its condition is true, where that is known."""

    ruling: Ruling
    action: Action
    detail: dict[str, Any] = {}  # noqa: RUF012 - a default that nobody changes
    since: datetime | None = None


def rule_all(scene: Scene) -> list[TriggerRuling]:
    """A ruling for every trigger of the plan, in its order."""
    rulings: list[TriggerRuling] = []
    for trigger in scene.playbook.triggers:
        ruling = TriggerRuling(_RULES[type(trigger)](scene, trigger), trigger.action)
        if trigger.kind == "violation" and (first := _first_violation(scene)):
            detail = msgspec.to_builtins(first)
            ruling = ruling._replace(detail=detail, since=first.at)
        rulings.append(ruling)
    return rulings


def _first_violation(scene: Scene) -> Violation | None:
    """The earliest violation since the last resume whose details are known."""
    since = scene.rollout.window_since
    return next((v for v in scene.book.violations if since is None or v.at >= since), None)


def _sustained(
    scene: Scene,
    name: str,
    trigger: ErrorRateTrigger | LatencyTrigger,
    *,
    cut: str | None,
    limit: float,
    healthy: float,
    what: str,
) -> Ruling:
    """Engine D on the candidate's slots since the last halving or resume."""
    book, step = scene.book, scene.book.slot_seconds
    duration = max(1, round(trigger.for_.total_seconds() / step))
    length = trigger.for_ * LONGEST
    since = scene.rollout.window_since
    if since is not None:
        length = min(length, max(scene.now - since + timedelta(seconds=step), trigger.for_))
    series = book.series(scene.window_epochs, scene.now, length, cut)
    windows = sustained.look(
        series.requests,
        series.events,
        series.buckets,
        duration=duration,
        limit=limit,
        healthy=min(healthy, HEALTHY_PART * limit),
    )
    span = show_duration(trigger.for_)
    if not windows or sustained.blind(series.requests, duration=duration):
        return Ruling(name, "wait", f"no candidate request within {span}")
    literal = sustained.literal(series.requests, series.events, duration=duration, limit=limit)
    shown = sustained.fired(windows) or windows[0]
    numbers: dict[str, Any] = {
        "rate": shown.rate,
        "limit": limit,
        "requests": shown.requests,
        "events": shown.events,
        "distinct_subjects_at_least": shown.distinct,
        "chance_if_healthy": shown.chance,
        "chance_at_limit": shown.chance_at_limit,
        "window_s": shown.slots * step,
        "met": list(shown.met),
        "literal": literal,
        "rule": trigger.rule,
    }
    text = (
        f"{what} {show_fraction(round(shown.rate, 4))} of {shown.requests} requests in "
        f"{show_duration(timedelta(seconds=shown.slots * step))}, limit {show_fraction(limit)}"
    )
    fires = literal if trigger.rule == "literal" else shown.fires
    if fires and since is not None and scene.now - since < trigger.for_:
        # What a halving or a resume should mend gets as long as the plan says before it counts.
        return Ruling(name, "wait", f"{text}; not watched for {span} yet", numbers)
    return Ruling(name, "fail" if fires else "pass", text, numbers)


def _error_rate(scene: Scene, t: ErrorRateTrigger) -> Ruling:
    return _sustained(
        scene, "error_rate", t, cut=None, limit=t.above, healthy=t.healthy, what="errors"
    )


def _latency(scene: Scene, t: LatencyTrigger) -> Ruling:
    cut = over(t.above.total_seconds() * 1000)
    what = f"slower than {show_duration(t.above)}:"
    return _sustained(scene, "latency", t, cut=cut, limit=t.rate, healthy=t.rate, what=what)


def _violation(scene: Scene, _: ViolationTrigger) -> Ruling:
    """The first one, live or in shadow, since the last resume."""
    modes = (LIVE, SHADOW)
    counts = [scene.book.counts(scene.window_epochs, CANDIDATE, mode) for mode in modes]
    found, requests = sum(c.violations for c in counts), sum(c.requests for c in counts)
    numbers = {"violations": found, "requests": requests}
    if found:
        first = _first_violation(scene)
        what = f": {first.agent} called {first.tool} ({first.source})" if first else ""
        return Ruling("violation", "fail", f"{found} security violation(s){what}", numbers)
    return Ruling("violation", "pass", f"none in {requests} requests", numbers)


def _over_epochs(scene: Scene, arm: Arm, column: str, epochs: range) -> Floats:
    """Sums over `epochs`, live and in shadow. Those that are over hardly change, and are kept."""
    before, total = epochs[:-1], np.zeros(STATISTICS_BUCKETS)
    if before:
        key = ("over epochs", arm, column)
        total += scene.book.derived(
            key, before, [column], lambda: _over_epochs(scene, arm, column, before)
        )
    for epoch in epochs[-1:]:
        for mode in (LIVE, SHADOW):
            total += scene.book.sums(epoch, arm, mode, [column])
    return total


def _cost(scene: Scene, t: CostTrigger) -> Ruling:
    """The hard cap; the plain reading over some hours; and engine B on the log ratio, which is sooner
    where costs are even."""
    cap = scene.playbook.cost.spend_cap_per_day
    spent = scene.book.spent_since(scene.now - timedelta(days=1)).total
    if cap is not None and spent >= cap:
        text = f"${spent:.2f} spent in 24 h, the cap is ${cap:.2f}"
        return Ruling("cost", "fail", text, {"spent": spent, "cap": cap})
    projected = scene.rollout.projected_cost
    if projected is None:
        return Ruling("cost", "wait", "no projected cost yet", {"spent": spent})
    if plain := _overspent(scene, t, projected):
        return plain
    # Alpha is shared by two views: all that counts, and the present step alone, so that what was
    # cheap for weeks does not hide what is expensive now.
    views = [scene.window_epochs, range(scene.rollout.epoch, scene.rollout.epoch + 1)]
    found = [f for f in (_overrun(scene, t, projected, view) for view in views) if f]
    if not found:
        text = f"cost is known of too few requests, {t.min_requests} are needed"
        return Ruling("cost", "wait", text, {"spent": spent})
    worst = max(found, key=lambda f: f.log_e)
    numbers = {**worst._asdict(), "projected": projected, "limit": t.above, "spent": spent}
    text = (
        f"cost is {worst.ratio:.2f}x projected over {worst.requests:.0f} requests, "
        f"limit {t.above:g}x"
    )
    fires = worst.log_e >= math.log(len(views) / t.alpha)
    return Ruling("cost", "fail" if fires else "pass", text, numbers)


RECENTLY: Final = (
    (timedelta(hours=1), 500),
    (timedelta(hours=6), 300),
    (timedelta(hours=24), 100),
)
"""Spans that spending is looked at over, each with the priced requests that it must hold."""


def _overspent(scene: Scene, t: CostTrigger, projected: float) -> Ruling | None:
    """The plain reading of "more than X times projected", over spans with enough requests.

    A heavy tail hides a lasting overrun from the evidence for days; the money is spent all the same.
    """
    for span, enough in RECENTLY:
        since = scene.now - span
        if scene.rollout.window_since is not None:
            since = max(since, scene.rollout.window_since)
        spent = scene.book.spent_since(since)
        n, usd = spent.known_of, (spent.each or 0.0) * spent.known_of
        if n >= enough and usd > t.above * projected * n:
            ratio = usd / (projected * n)
            numbers = {"ratio": ratio, "requests": n, "projected": projected, "spent": usd}
            text = (
                f"${usd:.2f} spent in {show_duration(span)} on {n} requests, {ratio:.2f}x "
                f"projected, limit {t.above:g}x"
            )
            return Ruling("cost", "fail", text, numbers | {"limit": t.above})
    return None


def _overrun(scene: Scene, t: CostTrigger, projected: float, epochs: range) -> cost.Overrun | None:
    def made() -> cost.Overrun | None:
        n = _over_epochs(scene, CANDIDATE, PRICED, epochs)
        y = _over_epochs(scene, CANDIDATE, COST_CAPPED, epochs)
        return cost.overrun(
            n, y, projected, t.above, tau=t.tau, alpha=t.alpha, min_requests=t.min_requests
        )

    key = ("overrun", projected, t.above, t.tau, t.alpha, t.min_requests, len(epochs))
    return scene.book.derived(key, epochs, [PRICED, COST_CAPPED], made)


def _complaints(scene: Scene, t: ComplaintsTrigger) -> Ruling:
    """The literal count within the window, and the rate against control, either of which fires.

    While Molt is blind only the count does.
    """
    since = scene.now - t.within
    if scene.rollout.window_since is not None:
        since = max(since, scene.rollout.window_since)
    count = scene.book.outcomes_since(t.outcome, since, CANDIDATE)
    rows = _complained(scene, t.outcome)
    mine, theirs = sum(r.candidate_events for r in rows), sum(r.control_events for r in rows)
    log_e = scene.book.derived(
        ("complained more", t.outcome, t.ratio),
        scene.window_epochs,
        [t.outcome, REQUESTS],
        lambda: exposure.log_e_ratio_above(rows, t.ratio),
    )
    numbers = {
        "count": count,
        "limit": t.above,
        "candidate": int(mine),
        "control": int(theirs),
        "candidate_requests": sum(r.candidate for r in rows),
        "control_requests": sum(r.control for r in rows),
        "log_e_more_than_control": log_e,
    }
    text = f"{count} complaints in {show_duration(t.within)}, limit {t.above}"
    if count > t.above:
        return Ruling("complaints", "fail", text, numbers)
    if log_e >= -math.log(t.alpha):
        pair = f"({int(mine)} against {int(theirs)})"
        if blind := scene.blind():  # they are divided by requests that nobody counts now
            return Ruling("complaints", "wait", f"{text}; {pair} not judged: {blind}", numbers)
        more = f"{text}; proven more frequent than control's {pair}"
        return Ruling("complaints", "fail", more, numbers)
    return Ruling("complaints", "pass", text, numbers)


def _complained(scene: Scene, kind: str) -> list[exposure.Exposure]:
    """Complaints and live requests of each epoch; complaints in shadow are control's."""

    def made(epoch: int) -> exposure.Exposure:
        (mine, asked), (theirs, others) = (
            [float(scene.book.sums(epoch, arm, LIVE, [c]).sum()) for c in (kind, REQUESTS)]
            for arm in (CANDIDATE, CONTROL)
        )
        return exposure.Exposure(mine, asked, theirs, others)

    key = ("complained", kind)
    return scene.book.derived_each(key, scene.window_epochs, [kind, REQUESTS], made)


_RULES: Final[dict[type[Trigger], Callable[[Scene, Any], Ruling]]] = {
    ErrorRateTrigger: _error_rate,
    LatencyTrigger: _latency,
    ViolationTrigger: _violation,
    CostTrigger: _cost,
    ComplaintsTrigger: _complaints,
}
