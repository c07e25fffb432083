"""The generated world: what users, services and faults do, slot by slot.

Slots are drawn for whole blocks from random numbers that depend on seed, block and epoch only, so
that they are the same however often somebody looks. Sums per statistics bucket are drawn for the
interval between two looks at the gates; those times follow from the plan alone.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from molt.apps.simulate.conditions import Conditions
from molt.apps.simulate.curves import Curve, curve_of
from molt.apps.simulate.drawing import cut, joined, placed, with_user
from molt.apps.simulate.latencies import Latencies, latencies_of
from molt.apps.simulate.money import money_of
from molt.apps.simulate.outcomes import add_outcomes, swing_at
from molt.apps.simulate.population import Group, Population
from molt.apps.simulate.processes import Process, Processes, processes_of
from molt.apps.simulate.scenario import Effect, Scenario
from molt.apps.simulate.stream import ArmSlots, Floats, Interval, Ints, Regime, Span
from molt.apps.simulate.timeline import Timeline
from molt.core.assignment import CANDIDATE, CONTROL, STATISTICS_BUCKETS, Arm
from molt.core.evidence import (
    COST,
    COST_CAPPED,
    ERRORS,
    PRICED,
    REQUESTS,
    over,
)
from molt.core.playbook import CRITICAL_ERROR, LatencyGate, LatencyTrigger, Playbook

DAY: Final = 86_400.0
UNCAPPED: Final = 1e12
BLOCK: Final = 360
"""Slots that are drawn at once."""


class World:
    """One seed of a scenario. `enter` says how traffic is split from now on."""

    def __init__(
        self, scenario: Scenario, playbook: Playbook, seed: int, data: Path, start: float
    ) -> None:
        """Raises `OperatorError` for what the plan does not have, or data that are not there."""
        self.scenario = scenario
        self.seconds = max(1, round(playbook.timing.slot.total_seconds()))
        self.processes: Processes = processes_of(playbook, scenario)
        self.timeline = Timeline(start, scenario.timed())
        self.conditions = Conditions(scenario, self.timeline)
        self._seed = seed
        self._curve: Curve = curve_of(scenario.arrivals, data)
        self._latency: dict[Arm, Latencies] = {
            CANDIDATE: latencies_of(scenario.candidate.latency, data),
            CONTROL: latencies_of(scenario.control.latency, data),
        }
        self.money = money_of(scenario.cost, data)
        self._tiers = playbook.tiers()
        self._timed_kinds = sorted(playbook.timed_outcomes())
        self._trigger_cuts = [
            t.above.total_seconds() * 1000
            for t in playbook.triggers
            if isinstance(t, LatencyTrigger)
        ]
        self._gate_cuts = {
            gate.below.total_seconds() * 1000
            for _, step in playbook.ladder()
            for gate in step.gates
            if isinstance(gate, LatencyGate)
        }
        self._plain_cuts = {
            cut_ms.total_seconds() * 1000
            for cut_ms in (playbook.slos.latency_p50, playbook.slos.latency_p95)
        } | set(self._trigger_cuts)
        self.population = Population(
            scenario.users,
            self.processes,
            self._rng(0),
            days=scenario.days,
            requests_per_day=scenario.arrivals.requests_per_day,
        )
        self._entered = np.full(scenario.users.count, np.inf)
        self.load = 0.0
        self.regime = Regime(0, 0, 0)
        self._groups: dict[Arm, dict[int, Group]] = {}
        self._fresh_until: float | None = None
        self._blocks: dict[int, Span] = {}

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *key])

    # --- how traffic is split

    def enter(self, regime: Regime, at: float) -> None:
        """From `at` on traffic is split like this."""
        self.regime = regime
        self.timeline.reached(regime.share / 100, at)
        inside = self.population.bucket < regime.share
        self._entered[inside] = np.minimum(self._entered[inside], at)
        self._entered[~inside] = np.inf
        self._blocks.clear()
        self.refresh(at)

    def refresh(self, at: float) -> None:
        """Weigh users anew: somebody came in, or an effect began or ended."""
        regime, who = self.regime, self.population.bucket
        pooled = len(self._tiers)
        factors = self._factors(at)
        if regime.mode == "shadow":
            tiers = np.searchsorted(np.array(self._tiers), who, "right")
            control = {t: self.population.group(tiers == t) for t in range(pooled + 1)}
            candidate = {0: self.population.group(who < regime.mirror)}
        else:
            control = {pooled: self.population.group(who >= regime.share)}
            candidate = {0: self.population.group(who < regime.share, factors)}
        self._groups = {CONTROL: control, CANDIDATE: candidate}
        self._fresh_until = self._next_change(at)

    def _factors(self, at: float) -> dict[str, Floats]:
        """Per process, by how much each user's inclination is changed on the candidate."""
        factors: dict[str, Floats] = {}
        for effect in self.scenario.effects:
            if effect.metric not in self.processes.moved or not self.timeline.now(effect, at):
                continue
            process, _ = self.processes.moved[effect.metric]
            changed = np.full(len(self._entered), self._changed(effect, process))
            if effect.tenure is not None:
                fresh = at - self._entered < effect.tenure.total_seconds()
                changed = np.where(fresh, changed, 1.0)
            factors[process.metric] = factors.get(process.metric, 1.0) * changed
        return factors

    def _changed(self, effect: Effect, process: Process) -> float:
        """The factor on a process's inclination that an effect on one of its metrics means."""
        base = process.rate.base
        other = self.processes.moved[effect.metric][1]
        shown = 1 - base if other else base
        wanted = shown * effect.size if effect.size is not None else effect.to or 0.0
        if process.kind == "choice":
            wanted = min(1.0, wanted)
        return ((1 - wanted) if other else wanted) / base if base else 1.0

    def next_change(self, after: float) -> float | None:
        """When something begins, ends, or users have been in for an effect's tenure."""
        if self._fresh_until is not None and self._fresh_until <= after:
            return self._next_change(after)
        return self._fresh_until

    def _next_change(self, after: float) -> float | None:
        found = [self.timeline.next_change(after)]
        for effect in self.scenario.effects:
            if effect.tenure is not None:
                ends = self._entered + effect.tenure.total_seconds()
                later = ends[np.isfinite(ends) & (ends > after)]
                found.append(float(later.min()) if len(later) else None)
        return min((t for t in found if t is not None), default=None)

    # --- slots

    def span(self, first: int, end: int) -> Span:
        """Slots `first` up to `end` (numbers since 1970) of the present regime."""
        blocks = range(first // BLOCK, (end - 1) // BLOCK + 1)
        for k in [k for k in self._blocks if k < blocks.start]:
            del self._blocks[k]
        for k in blocks:
            if k not in self._blocks:
                self._blocks[k] = self._draw(k)
        whole = joined([self._blocks[k] for k in blocks])
        return cut(whole, first, end)

    def _draw(self, k: int) -> Span:
        rng = self._rng(1, k, self.regime.epoch)
        times = (np.arange(k * BLOCK, (k + 1) * BLOCK) + 0.5) * self.seconds
        load = self._load(times)
        candidate = self._draw_arm(rng, CANDIDATE, times, load)
        return Span(k * BLOCK, self.seconds, candidate, self._draw_arm(rng, CONTROL, times, load))

    def _load(self, times: Floats) -> Floats:
        """Requests expected in each slot, of everybody."""
        return self._curve(times) * (self.scenario.arrivals.requests_per_day * self.seconds / DAY)

    def _activity(self, arm: Arm) -> Floats:
        """Each statistics bucket's part of all requests, on this arm."""
        groups = self._groups[arm].values()
        return np.sum([g.activity for g in groups], axis=0)

    def _draw_arm(
        self, rng: np.random.Generator, arm: Arm, times: Floats, load: Floats
    ) -> ArmSlots:
        weights = self._activity(arm)
        part = float(weights.sum())
        seen = self.conditions.seen(arm, times)
        requests = rng.poisson(load * part * seen)
        errors = rng.binomial(requests, self.conditions.error_rates(arm, times))
        slots = ArmSlots(requests, errors, placed(rng, errors, weights))
        for kind, rates in self._timed_rates(arm, times, load * part).items():
            slots.timed[kind] = rng.poisson(rates)
        if arm == CONTROL:
            return slots
        factors = self.conditions.slowness(arm, times)
        for cut_ms in self._trigger_cuts:
            shares = self._shares_over(arm, cut_ms, factors)
            slow = slots.slow[cut_ms] = rng.binomial(requests, shares)
            slots.slow_at[cut_ms] = placed(rng, slow, weights)
        for fault in self.conditions.faults("retrying_user") if part else ():
            rate = self.timeline.active(fault, times) * seen * fault.requests_per_minute
            slots = with_user(slots, rng.poisson(rate * self.seconds / 60), int(weights.argmax()))
        return slots

    def _timed_rates(self, arm: Arm, times: Floats, load: Floats) -> dict[str, Floats]:
        """Expected outcomes per slot, of the kinds that some rule looks at the times of."""
        scenario, rates = self.scenario, dict[str, Floats]()
        live = arm == CONTROL or self.regime.mode == "live"
        for kind in self._timed_kinds:
            complaint = kind != CRITICAL_ERROR
            name = "complaints" if complaint else "critical_errors"
            per_day = scenario.critical_errors_per_day * self.seconds / DAY
            base = load * scenario.complaints_per_1000 / 1000 if complaint else load * 0 + per_day
            if not live or (arm == CONTROL and not complaint):
                base = base * 0
            rates[kind] = self.conditions.affected(name, base, times) if arm == CANDIDATE else base
        return rates

    def _shares_over(self, arm: Arm, cut_ms: float, factors: Floats) -> Floats:
        each, which = np.unique(factors, return_inverse=True)
        return np.array([self._latency[arm].share_over(cut_ms, f) for f in each])[which]

    def violations(self, span: Span) -> list[int]:
        """The slots in which the candidate makes a forbidden call: each fault's first."""
        found: list[int] = []
        for fault in self.conditions.faults("violation"):
            begins = self.timeline.begins(fault)
            place = -1 if begins is None else int(begins // self.seconds) - span.first
            if 0 <= place < len(span):
                found.append(place)
        return found

    # --- intervals

    def interval(self, span: Span) -> Interval:
        """The sums, outcomes and newcomers of the slots in `span`, which one regime covers."""
        start, end = span.first * self.seconds, (span.first + len(span)) * self.seconds
        rng = self._rng(2, span.first, self.regime.epoch)
        times = (np.arange(span.first, span.first + len(span)) + 0.5) * self.seconds
        load = self._load(times)
        middle = float(times[len(times) // 2])
        if self._fresh_until is not None and times[0] >= self._fresh_until:
            self.refresh(float(times[0]))
        self.load += float(load.sum())
        done = Interval(
            start=datetime.fromtimestamp(start, UTC),
            end=datetime.fromtimestamp(end, UTC),
            regime=self.regime,
            span=span,
            sums={CANDIDATE: {}, CONTROL: {}},
            latency={},
            seen=self._newcomers(rng, middle),
        )
        for arm in (CANDIDATE, CONTROL):
            self._fill(done, rng, arm, load * self.conditions.seen(arm, times), middle)
        return done

    def _fill(
        self, done: Interval, rng: np.random.Generator, arm: Arm, load: Floats, at: float
    ) -> None:
        slots = done.span.candidate if arm == CANDIDATE else done.span.control
        expected = float(load.sum())
        for tier, group in self._groups[arm].items():
            columns: dict[str, Floats] = {}
            if done.regime.mode == "live" or arm == CONTROL:
                add_outcomes(self.processes, columns, rng, group, expected, at)
            done.sums[arm][tier] = columns
        self._requests(done, rng, arm, slots, at)
        if arm == CANDIDATE and done.regime.mode == "live":
            done.failed_orders = self._failed_orders(slots, expected, at)

    def _requests(
        self, done: Interval, rng: np.random.Generator, arm: Arm, slots: ArmSlots, at: float
    ) -> None:
        """What gateways count themselves, spread over tiers and statistics buckets."""
        groups = self._groups[arm]
        weights = np.concatenate([g.activity for g in groups.values()])
        errors = np.bincount(slots.error_at[1], minlength=STATISTICS_BUCKETS)
        clean = int(slots.requests.sum() - slots.errors.sum())
        part = weights.sum()
        asked = rng.multinomial(clean, weights / part) if part and clean else weights * 0
        asked = asked.astype(np.int64).reshape(len(groups), -1)
        asked[-1] += errors  # an error's tier is read by nothing
        factor = float(self.conditions.slowness(arm, np.array([at]))[0])
        done.latency[arm] = self._latency[arm].histogram(rng, int(slots.requests.sum()), factor)
        for (tier, columns), requests in zip(done.sums[arm].items(), asked, strict=True):
            last = tier == list(groups)[-1]
            columns[REQUESTS] = requests.astype(np.float64)
            columns[ERRORS] = (errors if last else errors * 0).astype(np.float64)
            for cut_ms in self._counted_cuts(done.regime):
                share = self._latency[arm].share_over(cut_ms, factor)
                columns[over(cut_ms)] = rng.binomial(requests, share).astype(np.float64)
            if arm == CANDIDATE:
                self._costs(done, columns, rng, requests, at)

    def _counted_cuts(self, regime: Regime) -> list[float]:
        """The latencies that some gate counts slower requests of."""
        medians = {c for c in regime.cuts if c not in self._plain_cuts}
        return sorted(self._gate_cuts | medians)

    def _costs(
        self,
        done: Interval,
        columns: dict[str, Floats],
        rng: np.random.Generator,
        requests: Ints,
        at: float,
    ) -> None:
        regime = done.regime
        cost = self.money.drawn(rng, requests, self.conditions.figure("cost", 1.0, at))
        cap = UNCAPPED if regime.cost_cap is None else regime.cost_cap
        capped = np.minimum(cost, requests * cap)
        for fault in self.conditions.faults("cost_tail"):
            if self.timeline.now(fault, at):
                more, less = self.money.tail(rng, requests, fault.share, fault.times, cap)
                cost, capped = cost + more, capped + less
        columns[COST], columns[COST_CAPPED] = cost, capped
        columns[PRICED] = requests.astype(np.float64)
        done.spent += float(cost.sum())

    def _newcomers(self, rng: np.random.Generator, at: float) -> dict[str, int]:
        """New subjects per arm; in shadow nobody compares them, but they are known afterwards."""
        buckets = self.population.newcomers(self.load)
        if self.regime.mode == "shadow":
            return {CANDIDATE: 0, CONTROL: 0}
        mine = int((buckets < self.regime.share).sum())
        for fault in self.conditions.faults("sample_ratio"):
            if self.timeline.now(fault, at):
                mine -= int(rng.binomial(mine, fault.share))
        others = int((buckets >= self.regime.share).sum())
        return {CANDIDATE: mine, CONTROL: others}

    def _failed_orders(self, slots: ArmSlots, load: float, at: float) -> float:
        """Orders that control would have had, in expectation: of lost choices, and of requests
        that failed more often than control's."""
        process = self.processes.primary
        group = self._groups[CANDIDATE].get(0)
        if process is None or group is None:
            return 0.0
        swing, tries = swing_at(process.rate, at), process.rate.per_request
        usual = float(group.activity.sum()) * min(1.0, process.rate.base * swing)
        lost = load * tries * max(0.0, usual - float(group.inclined[process.metric].sum()) * swing)
        requests, errors = float(slots.requests.sum()), float(slots.errors.sum())
        more = max(0.0, errors - requests * self.scenario.control.errors)
        broken = more * tries * process.rate.base
        lost = lost if self._harmed(process, at) else 0.0
        return lost + (broken if self.conditions.broken(at) else 0.0)

    def _harmed(self, process: Process, at: float) -> bool:
        return process.metric in self._factors(at)
