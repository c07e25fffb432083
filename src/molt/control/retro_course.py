"""The course of a rollout: each step as it was planned, as it went, and as it had been foreseen."""

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from molt.control.desk import Desk
from molt.control.retro_text import Row, moment, signed, span, table, usd
from molt.core.assignment import CANDIDATE, CONTROL, Arm
from molt.core.events import Aborted, Completed, RolledBack, RolloutStarted
from molt.core.evidence import LIVE, SHADOW, Mode
from molt.core.gate_times import hours_to_pass
from molt.core.playbook import PhasePlan, Step
from molt.core.prediction import Prediction, StepPlan
from molt.core.rollout import ACTIVE, Stay

BY_THEMSELVES = ("hold", "approval")
"""Gates that wait for time or for a person, not for evidence."""


SHORT = timedelta(hours=2)
"""A plan of less has its times to the second."""


class Leg(NamedTuple):
    """One step of the plan: when it was due and for how long, and when the rollout was in it."""

    phase: PhasePlan
    step: Step
    due: datetime
    spans: Sequence[tuple[datetime, datetime]]
    epochs: Sequence[int]

    @property
    def name(self) -> str:
        """Such as `canary 5%`."""
        return f"{self.phase.name} {self.step.share:g}%"

    @property
    def spent(self) -> timedelta:
        """How long the rollout was in it, all visits together."""
        return sum((end - begin for begin, end in self.spans), timedelta())

    @property
    def mode(self) -> Mode:
        """How the candidate is seen in it."""
        return LIVE if self.step.share else SHADOW


def legs(desk: Desk, now: datetime) -> list[Leg]:
    """Every step of the plan, in its order."""
    stays, due = desk.rollout.stays, desk.rollout.started_at or now
    ends = [e.at for e in desk.events() if isinstance(e, Completed | RolledBack | Aborted)]
    found: list[Leg] = []
    for phase in desk.playbook.phases:
        for index, step in enumerate(phase.steps):
            spans = [*_spans(stays, phase.name, index, [*ends, now])]
            epochs = [s.epoch for s in stays if (s.phase, s.step) == (phase.name, index)]
            found.append(Leg(phase, step, due, spans, epochs))
            due += step.pace
    return found


def _spans(
    stays: Sequence[Stay], phase: str, step: int, ends: Sequence[datetime]
) -> Iterator[tuple[datetime, datetime]]:
    """Each visit, until the next step, or until the climb ended."""
    for number, stay in enumerate(stays):
        if (stay.phase, stay.step) == (phase, step):
            following = [s.at for s in stays[number + 1 : number + 2]]
            yield stay.at, min(at for at in (*following, *ends) if at >= stay.at)


def ended(desk: Desk, now: datetime) -> datetime:
    """When the rollout was complete, rolled back or ended; now, while it goes on."""
    if desk.rollout.phase in ACTIVE:
        return now
    ends = (Completed, RolledBack, Aborted)
    return next((e.at for e in reversed(desk.events()) if isinstance(e, ends)), now)


def course(desk: Desk, now: datetime) -> list[str]:
    """When each step should have begun, when it did, and how long it took."""
    rows: list[Row] = []
    found = legs(desk, now)
    short = sum((leg.step.pace for leg in found), timedelta()) < SHORT
    for leg in found:
        more, pace = leg.spent - leg.step.pace, leg.step.pace
        against = "as planned" if abs(more) < pace / 10 else signed(more)
        if more < timedelta(0) and leg.spans and leg.spans[-1][1] == now:
            against = "not over yet"
        seen = _seen(desk, leg)
        rows.append(
            (
                leg.name,
                moment(leg.due, short),
                moment(leg.spans[0][0], short) if leg.spans else "not reached",
                span(pace),
                span(leg.spent) if leg.spans else "",
                against if leg.spans else "",
                f"{seen:,}" if leg.spans else "",
            )
        )
    head = (
        "step",
        "planned begin",
        "real begin",
        "planned time",
        "time in step",
        "difference",
        "requests to the agent",
    )
    return table(head, rows, "The plan has no steps.")


def _seen(desk: Desk, leg: Leg) -> int:
    return desk.book.counts(leg.epochs, CANDIDATE, leg.mode).requests


# --- what `molt plan` had foreseen


def foreseen(desk: Desk, now: datetime, prediction: Prediction | None) -> list[str]:
    """The prediction beside what happened; how to get one where there is none."""
    p = prediction or _kept(desk)
    if p is None:
        return [
            "No prediction was given. `molt plan --save FILE` makes one before a rollout, "
            "`molt start --plan FILE` keeps it with the rollout; `molt retro --plan FILE` holds any "
            "against what happened."
        ]
    made = "before the rollout began"
    if desk.rollout.started_at and p.made_at > desk.rollout.started_at:
        made = "**after** the rollout began"
    lines = [
        f"Foreseen on {moment(p.made_at)}, {made}, with {p.traffic:,.0f} requests a day of "
        f"{p.users:,} users, from {p.seeds} simulated runs of a healthy agent and of a bad one.",
        "",
    ]
    if p.playbook_hash != desk.rollout.playbook_hash:
        lines += [
            f"**It was made for another plan**: `{p.playbook}`, hash `{p.playbook_hash[:12]}`; "
            "what follows compares it all the same.",
            "",
        ]
    steps = {(s.phase, s.share): s for s in p.steps}
    rows = [
        _step_row(desk, leg, steps.get((leg.phase.name, leg.step.share))) for leg in legs(desk, now)
    ]
    head = ("step", "requests foreseen", "requests seen", "slowest gate foreseen", "it took")
    return [
        *lines,
        *table(("what", "foreseen", "what happened", ""), _whole(desk, now, p), ""),
        "",
        *table(head, rows, ""),
    ]


def _kept(desk: Desk) -> Prediction | None:
    """What the rollout was started with."""
    return next((e.prediction for e in desk.events() if isinstance(e, RolloutStarted)), None)


def _whole(desk: Desk, now: datetime, p: Prediction) -> list[Row]:
    rollout, began = desk.rollout, desk.rollout.started_at or now
    done = next((e.at for e in reversed(desk.events()) if isinstance(e, Completed)), None)
    days = (ended(desk, now) - began) / timedelta(days=1)
    low, high = p.sent_back_interval
    back, end = len(rollout.rollbacks), "yes" if done else str(rollout.phase).replace("_", " ")
    spent = _spent(desk, LIVE) + _spent(desk, SHADOW)
    seen = _requests(desk, CONTROL) + _requests(desk, CANDIDATE)
    daily = seen / max(days, 1e-9)
    return [
        ("the end was reached", f"in {p.promoted:.0%} of runs", end, ""),
        ("sent back", f"in {p.sent_back:.0%} of runs ({low:.0%} to {high:.0%})", _times(back), ""),
        (
            "time to the end",
            _range(p.duration_days, _days),
            _days(days) if done else f"not there after {_days(days)}",
            _within(days, p.duration_days) if done else "",
        ),
        ("cost of the agent", _range(p.spent, usd), usd(spent), _within(spent, p.spent)),
        ("requests a day", f"{p.traffic:,.0f}", f"{daily:,.0f}", f"{daily / p.traffic:.2f}x"),
    ]


def _spent(desk: Desk, mode: Mode) -> float:
    return desk.book.counts(range(desk.rollout.epoch + 1), CANDIDATE, mode).spent.total


def _requests(desk: Desk, arm: Arm) -> int:
    return desk.book.counts(range(desk.rollout.epoch + 1), arm, LIVE).requests


def _times(number: int) -> str:
    return {0: "no", 1: "once"}.get(number, f"{number} times")


def _days(days: float) -> str:
    return span(timedelta(days=days))


def _range(three: Sequence[float | None], form: Callable[[float], str]) -> str:
    if len(three) != 3:
        return "not foreseen"
    low, middle, high = ("never" if v is None else form(v) for v in three)
    return f"{middle} ({low} to {high})"


def _within(value: float, three: Sequence[float | None]) -> str:
    """Where a figure lies against 10% to 90% of the simulated runs."""
    if len(three) != 3:
        return ""
    low, high = three[0], three[2]
    if low is not None and value < low:
        return "below what was foreseen"
    if high is not None and value > high:
        return "**above what was foreseen**"
    return "as foreseen"


def _step_row(desk: Desk, leg: Leg, step: StepPlan | None) -> Row:
    seen = f"{_seen(desk, leg):,}" if leg.spans else "not reached"
    if step is None:
        return (leg.name, "not in the prediction", seen, "", "")
    gates = [g for g in step.gates if g.gate not in BY_THEMSELVES]
    slow = max(gates, key=lambda g: math.inf if g.median is None else g.median, default=None)
    if slow is None:
        return (leg.name, f"{step.requests:,.0f}", seen, "", "")
    took = hours_to_pass(desk.events(), leg.phase.name, leg.step.share).get(slow.gate, math.inf)
    there = desk.rollout.phase in ACTIVE and desk.rollout.epoch in leg.epochs
    real = "not yet" if there else "did not pass"
    if math.isfinite(took):
        real = span(timedelta(hours=took))
    slowest = f"{named(slow.gate, desk)}: {_hours(slow.median)}, in 9 of 10 runs {_hours(slow.ninety, 'within ')}"
    return (leg.name, f"{step.requests:,.0f}", seen, slowest, real if leg.spans else "")


def _hours(hours: float | None, within: str = "") -> str:
    return "not at all" if hours is None else within + span(timedelta(hours=hours))


COMPARED: Final = {"no_degradation": "not worse", "stable": "stable", "unchanged": "unchanged"}


def named(name: str, desk: Desk) -> str:
    """A ruling's name as people say it: `Order completion rate: not worse`."""
    kind, _, metric = name.partition(":")
    words = COMPARED.get(kind, kind.replace("_", " "))
    if not metric:
        return words
    plan = desk.playbook.metrics.get(metric)
    return f"{(plan and plan.title) or metric.replace('_', ' ')}: {words}"
