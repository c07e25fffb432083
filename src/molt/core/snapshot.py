"""Rollouts and the operator's bounds -> the flags snapshot that gateways act on."""

from collections.abc import Collection, Iterable
from datetime import datetime

from molt.core.flags import FULL, Bounds, Comparing, Flags, RolloutFlags, bound
from molt.core.playbook import LatencyGate, LatencyTrigger, Playbook
from molt.core.rollout import WATCHED, Phase, Rollout

MAX_COST_REQUESTS = 20.0
"""One request weighs at most this many projected requests when no cost trigger says otherwise."""


def derive(rollout: Rollout, playbook: Playbook, bounds: Bounds) -> RolloutFlags:
    """How requests of this rollout are decided now. Shadow unless it is past shadow; bounded."""
    shadow = rollout.phase is Phase.SHADOW or bounds.shadow_mode is True
    flags = RolloutFlags(
        rollout=rollout.id,
        epoch=rollout.epoch,
        agents=rollout.agents,
        enabled=rollout.phase in WATCHED,
        shadow=shadow,
        share=0 if shadow else round(rollout.share * FULL / 100),
        mirror=_mirrored(playbook) if shadow else 0,
        salt=rollout.salt,
        statistics_salt=rollout.statistics_salt,
        tiers=playbook.tiers(),
        cuts=latency_cuts(rollout, playbook),
        disabled_agents=tuple(a for a in rollout.agents if not playbook.agents[a].enabled),
        limits=playbook.limits.limits(),
        tools={
            name: agent.tools.policy()
            for name, agent in playbook.agents.items()
            if agent.tools is not None and name in rollout.agents
        },
        pin_idle_seconds=playbook.timing.conversation_idle.total_seconds(),
        slot_seconds=playbook.timing.slot.total_seconds(),
        cancel_in_flight=playbook.cancel_in_flight,
        cost_cap=_cost_cap(rollout, playbook),
        comparing=_comparing(playbook) if shadow else None,
    )
    return bound(flags, bounds)


def _comparing(playbook: Playbook) -> Comparing | None:
    plan = playbook.comparison
    if not plan.enabled or not plan.sample:
        return None
    return Comparing(
        sample=round(plan.sample * FULL / 100),
        twice=round(plan.twice * FULL / 100),
        twice_methods=tuple(method.upper() for method in plan.twice_methods),
        max_body=plan.max_body,
    )


def _mirrored(playbook: Playbook) -> int:
    """Buckets whose requests are copied in shadow; all of them in a plan that foresees no shadow."""
    return next((round(p.mirror * FULL / 100) for p in playbook.phases if p.name == "shadow"), FULL)


def latency_cuts(rollout: Rollout, playbook: Playbook) -> tuple[float, ...]:
    """The latencies in milliseconds that some rule counts slower requests of, rising."""
    cuts = {playbook.slos.latency_p50, playbook.slos.latency_p95}
    cuts |= {t.above for t in playbook.triggers if isinstance(t, LatencyTrigger)}
    for _, step in playbook.ladder():
        cuts |= {g.below for g in step.gates if isinstance(g, LatencyGate)}
    millis = {cut.total_seconds() * 1000 for cut in cuts}
    if rollout.control_p50_ms is not None:
        millis.add(rollout.control_p50_ms)
    return tuple(sorted(millis))


def _cost_cap(rollout: Rollout, playbook: Playbook) -> float | None:
    if rollout.projected_cost is None:
        return None
    caps = [t.request_cap for t in playbook.triggers if t.kind == "cost"]
    return rollout.projected_cost * min(caps, default=MAX_COST_REQUESTS)


_OFF = Bounds(enabled=False)


def snapshot(
    version: int,
    now: datetime,
    rollouts: Iterable[tuple[Rollout, Playbook]],
    bounds: Bounds,
    *,
    limiter_epoch: int,
    ttl_seconds: float,
    disabled: Collection[str] = (),
) -> Flags:
    """The whole snapshot. Rolled-back rollouts stay in it, disabled, and so do those `disabled`."""
    return Flags(
        version=version,
        made_at=now,
        rollouts=tuple(
            derive(r, p, bounds.within(_OFF) if r.id in disabled else bounds)
            for r, p in rollouts
            if r.phase not in (Phase.NEW, Phase.ABORTED)
        ),
        limiter_epoch=limiter_epoch,
        ttl_seconds=ttl_seconds,
    )
