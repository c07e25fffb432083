"""The whole plan: its phases and steps in order, and what goes with them."""

import hashlib
from datetime import timedelta
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from molt.core.evidence import GATEWAY_COLUMNS
from molt.core.flags import FULL
from molt.core.playbook.agents import Agent
from molt.core.playbook.base import Plan
from molt.core.playbook.comparison import Comparison
from molt.core.playbook.figures import Cost, LimitsPlan, Slos, Timing
from molt.core.playbook.gates import AnyGate, NoDegradationGate, StableGate, UnchangedGate
from molt.core.playbook.metrics import CRITICAL_ERROR, Metric
from molt.core.playbook.triggers import AnyTrigger
from molt.core.quantities import Duration, Share

PhaseName = Literal["shadow", "canary", "progressive"]


class Step(Plan):
    """A traffic share with its minimum hold, its planned length and the gates that end it."""

    share: Share = Field(description="Percent of subjects on the candidate.")
    hold: Duration = Field(description="Nobody leaves the step earlier, whoever asks.")
    planned: Duration | None = Field(
        default=None, description="The automatic advance never runs ahead of this; default: `hold`."
    )
    max_hold: Duration = Field(
        default=timedelta(days=7),
        description="After this, a gate that still waits becomes a question.",
    )
    gates: tuple[AnyGate, ...] = ()

    @property
    def pace(self) -> timedelta:
        """The planned length, at least the hold."""
        return max(self.hold, self.planned or self.hold)

    @property
    def buckets(self) -> int:
        """The share in buckets."""
        return round(self.share * FULL / 100)


class PhasePlan(Plan):
    """One phase and its steps, in order."""

    name: PhaseName
    mirror: Share = Field(
        default=100,
        description="In shadow: percent of subjects whose requests also go to the agent.",
    )
    steps: tuple[Step, ...] = Field(min_length=1)


ProcedureStep = Literal[
    "disable", "clear_rate_limits", "notify_on_call", "preserve_logs", "document_timeline"
]


class Playbook(Plan):
    """A whole plan."""

    molt: Literal[1] = Field(description="Version of this format.")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    title: str = ""
    agents: dict[str, Agent] = Field(min_length=1, description="Agent types that it covers.")
    phases: tuple[PhasePlan, ...] = Field(min_length=1)
    triggers: tuple[AnyTrigger, ...] = Field(
        min_length=1, description="Active in every phase, at once."
    )
    metrics: dict[str, Metric] = Field(default={})
    limits: LimitsPlan = LimitsPlan()
    slos: Slos = Slos()
    cost: Cost = Cost()
    timing: Timing = Timing()
    comparison: Comparison = Comparison()
    procedure: tuple[ProcedureStep, ...] = Field(
        default=(
            "disable",
            "clear_rate_limits",
            "notify_on_call",
            "preserve_logs",
            "document_timeline",
        ),
        description="What a rollback does, in order; each step is idempotent and verified.",
    )
    cancel_in_flight: bool = Field(
        default=False,
        description="A rollback also cuts answers that the candidate is still sending.",
    )
    checklist: tuple[str, ...] = Field(
        default=(), description="Checked before a rollout starts, each by a check that runs."
    )
    after: tuple[str, ...] = Field(default=(), description="Tasks once the rollout is complete.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        order = [phase.name for phase in self.phases]
        if order != [name for name in ("shadow", "canary", "progressive") if name in order]:
            raise ValueError(
                "phases: expected each of shadow, canary, progressive at most once, in this order"
            )
        shares = [step.share for _, step in self.ladder()]
        if any(b <= a for a, b in pairwise(shares)):
            raise ValueError(f"phases: expected shares that rise with every step, got {shares}")
        for phase in self.phases:
            if (phase.name == "shadow") != (phase.steps[0].share == 0):
                raise ValueError(f"phases: {phase.name}: shadow has share 0, and no other phase")
        self._check_agreement()
        for name in self._named_metrics():
            if name not in self.metrics:
                raise ValueError(f"gates: metric {name!r} is not declared under `metrics`")
        for trigger in self.triggers:
            if trigger.kind == "cost" and trigger.action == "halve":
                raise ValueError("triggers: cost: halving does not lower the cost of a request")
        return self

    def _check_agreement(self) -> None:
        for phase, step in self.ladder():
            if any(gate.kind == "shadow_agreement" for gate in step.gates):
                if phase.name != "shadow":
                    raise ValueError("gates: shadow_agreement: pairs are compared in shadow only")
                if not self.comparison.enabled:
                    raise ValueError("gates: shadow_agreement needs comparison.enabled")

    def _named_metrics(self) -> list[str]:
        names: list[str] = []
        for _, step in self.ladder():
            for gate in step.gates:
                if isinstance(gate, NoDegradationGate):
                    names.extend(gate.metrics)
                elif isinstance(gate, StableGate | UnchangedGate):
                    names.append(gate.metric)
        return names

    def ladder(self) -> list[tuple[PhasePlan, Step]]:
        """All steps in order, each with its phase."""
        return [(phase, step) for phase in self.phases for step in phase.steps]

    def phase(self, name: str) -> PhasePlan:
        """The phase of that name; raises KeyError."""
        for phase in self.phases:
            if phase.name == name:
                return phase
        raise KeyError(name)

    def tiers(self) -> tuple[int, ...]:
        """The shares above zero in buckets, rising."""
        return tuple(step.buckets for _, step in self.ladder() if step.share > 0)

    def outcome_kinds(self) -> frozenset[str]:
        """The outcome kinds that some metric or rule of the plan counts."""
        named = {kind for m in self.metrics.values() for kind in (m.of, *m.per)}
        return frozenset(named | self.timed_outcomes().keys()) - GATEWAY_COLUMNS

    def valued_outcomes(self) -> frozenset[str]:
        """The outcome kinds whose values some metric sums."""
        return frozenset(m.of for m in self.metrics.values() if m.value)

    def timed_outcomes(self) -> dict[str, timedelta]:
        """The outcome kinds whose times some rule looks at, each with how far back it looks."""
        spans = [(t.outcome, t.within) for t in self.triggers if t.kind == "complaints"]
        for _, step in self.ladder():
            spans += [(CRITICAL_ERROR, g.for_) for g in step.gates if g.kind == "no_critical_error"]
        longest: dict[str, timedelta] = {}
        for kind, span in spans:
            longest[kind] = max(span, longest.get(kind, span))
        return longest

    def as_data(self) -> dict[str, Any]:
        """The plan as plain JSON data, readable back into the same plan."""
        return self.model_dump(mode="json", by_alias=True)

    def canonical(self) -> str:
        """One text for one plan: the JSON that `hash` is made from."""
        return self.model_dump_json(by_alias=True)

    def with_money(self, own: Cost) -> "Playbook":
        """Itself with what the operator says of money over its own."""
        said = {k: v for k, v in own.model_dump().items() if v is not None}
        return self.model_copy(update={"cost": self.cost.model_copy(update=said)})

    def hash(self) -> str:
        """SHA-256 of the canonical text, hex; decisions name the plan by it."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()
