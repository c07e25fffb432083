"""A rollout as people and dashboards read it: plain data, made from the desk."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from molt.control.desk import Desk
from molt.control.forecast import missing
from molt.control.operator_flags import OperatorFlags
from molt.core import approvals, gates, tasks, triggers
from molt.core.assignment import CANDIDATE, CONTROL, Arm
from molt.core.events import Ruling
from molt.core.evidence import GATEWAY_COLUMNS, LIVE, SHADOW, Mode
from molt.core.quantities import show_duration
from molt.core.rollout import ACTIVE, WATCHED
from molt.core.scene import Scene
from molt.core.stats import latency


def state(
    desk: Desk,
    now: datetime,
    availability: float | None = None,
    operator: OperatorFlags | None = None,
) -> dict[str, Any]:
    """Where the rollout is, what each gate and trigger says now and why, and what comes next.

    `availability` is the share of the agent's health probes that succeeded, where it is probed;
    `operator` says what the operator's flags keep back, and how they let it go on.
    """
    rollout, scene = desk.rollout, desk.scene(now)
    held = (
        operator.held_back(scene.step.share, rollout.agents)
        if operator and rollout.phase in ACTIVE
        else None
    )
    active = rollout.phase in ACTIVE
    rulings = gates.rule_all(scene) if active else list(rollout.rulings)
    watched = triggers.rule_all(scene) if rollout.phase in WATCHED else []
    return {
        "rollout": rollout.id,
        "playbook": desk.playbook.name,
        "playbook_hash": rollout.playbook_hash,
        "version": rollout.version,
        "phase": str(rollout.phase),
        "plan_phase": rollout.plan_phase,
        "step": rollout.step,
        "traffic_percent": rollout.share,
        "epoch": rollout.epoch,
        "agents": list(rollout.agents),
        "candidate_version": rollout.candidate_version,
        "started_at": rollout.started_at,
        "step_since": rollout.stays[-1].at if rollout.stays else None,
        "held_seconds": round(scene.held.total_seconds(), 1),
        "held_back": held,
        "halt": msgspec.to_builtins(rollout.halt),
        "approved_by": rollout.approved.by if rollout.approved else None,
        "gates": [_ruling(r) | {"missing": missing(scene, r) if active else None} for r in rulings],
        "approval": approval(scene),
        "triggers": [_ruling(t.ruling) | {"action": t.action} for t in watched],
        "next": following(scene) if active else None,
        "alarms": rollout.alarms,
        "anomalies": [msgspec.to_builtins(a) for a in rollout.anomalies],
        "incidents": [incident(i) for i in rollout.incidents],
        "arms": arms(desk),
        "counted": counted(desk),
        "slos": slos(desk, availability),
        "ladder": ladder(desk),
        "data_until": data_until(desk, now),
        "closed": tasks.closed(rollout, desk.playbook),
    }


def data_until(desk: Desk, now: datetime) -> datetime | None:
    """Until when gateways have told what they saw; None before anything came."""
    newest = desk.book.newest
    if newest is None:
        return None
    return min(now, datetime.fromtimestamp(newest + desk.book.slot_seconds, UTC))


def approval(scene: Scene) -> dict[str, Any] | None:
    """The open request for an approval: what it is about, until when, and who may not give it."""
    ask = approvals.asked(scene)
    if ask is None or approvals.approved(scene):
        return None
    return {
        "asked_by": ask.by,
        "asked_at": ask.at,
        "reason": ask.reason,
        "beyond": ask.beyond,
        "digest": ask.digest,
        "expires_at": ask.expires_at,
        "not_by": approvals.askers(scene.rollout, ask),
        "evidence": [_ruling(r) for r in ask.rulings],
    }


def _ruling(ruling: Ruling) -> dict[str, Any]:
    return msgspec.to_builtins(ruling)


def following(scene: Scene) -> dict[str, Any]:
    """The next step, and when it can begin at the earliest by itself."""
    step = scene.next_step()
    since = scene.rollout.hold_since
    return {
        "phase": step[0].name if step else "complete",
        "share": step[0].steps[step[1]].share if step else scene.rollout.share,
        "earliest": since + scene.step.pace if since else None,
        "earliest_by_person": since + scene.step.hold if since else None,
    }


def ladder(desk: Desk) -> list[dict[str, Any]]:
    """Every step of the plan, with when it was entered and left (last time)."""
    rows: list[dict[str, Any]] = []
    stays = desk.rollout.stays
    for phase in desk.playbook.phases:
        for i, step in enumerate(phase.steps):
            places = [n for n, s in enumerate(stays) if (s.phase, s.step) == (phase.name, i)]
            after = stays[places[-1] + 1 :] if places else ()
            rows.append(
                {
                    "phase": phase.name,
                    "step": i,
                    "share": step.share,
                    "hold": show_duration(step.hold),
                    "planned": show_duration(step.pace),
                    "gates": [gate.kind for gate in step.gates],
                    "entered": stays[places[0]].at if places else None,
                    "left": after[0].at if after else None,
                }
            )
    return rows


def incident(i: Any) -> dict[str, Any]:
    """An incident as plain data, with whether it is open."""
    return msgspec.to_builtins(i) | {"open": i.closed_at is None}


def slos(desk: Desk, availability: float | None) -> list[dict[str, Any]]:
    """The candidate's objectives in the present epoch; `met` is null where nothing was measured."""
    plan = desk.playbook.slos
    seen = _arm(desk, CANDIDATE, SHADOW if desk.rollout.phase == "shadow" else LIVE)
    served = None if seen["error_rate"] is None else 1 - _unanswered(desk)
    measured_up = [share for share in (availability, served) if share is not None]
    p50, p95 = (limit.total_seconds() * 1000 for limit in (plan.latency_p50, plan.latency_p95))
    rows = [
        ("availability", plan.availability, min(measured_up, default=None), True),
        ("latency_p50_ms", p50, seen["p50_ms"], False),
        ("latency_p95_ms", p95, seen["p95_ms"], False),
        ("error_rate", plan.error_rate, seen["error_rate"], False),
        ("policy_violations", plan.policy_violations, seen["violations"], False),
        ("cost_per_1000", desk.playbook.cost.budget_per_1000, seen["cost_per_1000"], False),
    ]
    return [
        {"name": name, "objective": goal, "measured": got, "met": _met(goal, got, at_least)}
        for name, goal, got, at_least in rows
    ]


def _met(goal: float | None, got: float | None, at_least: bool) -> bool | None:
    if goal is None or got is None:
        return None
    return got >= goal if at_least else got <= goal


def _unanswered(desk: Desk) -> float:
    """The share of candidate requests that got no answer at all, or a 5xx."""
    return desk.book.unavailable([desk.rollout.epoch], CANDIDATE)


def arms(desk: Desk) -> dict[str, Any]:
    """Both arms in the present epoch: requests, errors, latency, cost, outcomes."""
    shadow = SHADOW if desk.rollout.phase == "shadow" else LIVE
    return {CONTROL: _arm(desk, CONTROL, LIVE), CANDIDATE: _arm(desk, CANDIDATE, shadow)}


def _arm(desk: Desk, arm: Arm, mode: Mode) -> dict[str, Any]:
    epochs = [desk.rollout.epoch]
    counts = desk.book.counts(epochs, arm, mode)
    histogram = desk.book.latency(epochs, arm, mode)
    return {
        "mode": mode,
        "requests": counts.requests,
        "errors": counts.errors,
        "error_rate": counts.errors / counts.requests if counts.requests else None,
        "p50_ms": latency.quantile(histogram, 0.5),
        "p95_ms": latency.quantile(histogram, 0.95),
        "cost": None if counts.spent.each is None else counts.spent.total,
        "cost_per_1000": counts.spent.per_1000,
        "violations": counts.violations,
        "outcomes": outcomes(desk, arm),
    }


def counted(desk: Desk) -> str | None:
    """The outcome kind that the plan's first metric counts: the one figure for a narrow screen."""
    kinds = (m.of for m in desk.playbook.metrics.values())
    return next((kind for kind in kinds if kind not in GATEWAY_COLUMNS), None)


def outcomes(desk: Desk, arm: Arm) -> dict[str, int]:
    """How often each outcome that the plan counts was reported for this arm, over the rollout."""
    epochs = range(desk.rollout.epoch + 1)
    return {
        kind: int(sum(desk.book.sums(e, arm, LIVE, [kind]).sum() for e in epochs))
        for kind in sorted(desk.playbook.outcome_kinds())
    }
