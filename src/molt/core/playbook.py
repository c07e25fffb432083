"""The plan as frozen values: phases, steps, gates, triggers, limits, SLOs, procedure.

The field descriptions are the reference documentation; it is generated from here.
"""

import hashlib
import re
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from molt.core.arguments import Rule, check_rule
from molt.core.compare import BLOCKING, KINDS, Rules, family
from molt.core.evidence import GATEWAY_COLUMNS
from molt.core.flags import FULL, Limits
from molt.core.policy import Reads, ToolPolicy
from molt.core.quantities import Duration, Fraction, Margin, Share
from molt.core.redaction import DEFAULTS

PhaseName = Literal["shadow", "canary", "progressive"]

REQUESTS_UNIT: Final = "requests"
CONVERSATIONS_UNIT: Final = "conversations"

CRITICAL_ERROR: Final = "critical_error"
"""The outcome kind by which your systems report a critical error."""


class Plan(BaseModel):
    """Base of everything in a playbook: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_timedelta="float")


class Metric(Plan):
    """A business figure, made of outcomes that your systems report."""

    of: str = Field(description="The outcome kind that is counted (or, with `value`, summed).")
    per: tuple[str, ...] = Field(
        min_length=1,
        description="What it is divided by: outcome kinds (their counts are added), or `requests` "
        "or `conversations`, which Molt counts itself.",
    )
    value: bool = Field(default=False, description="Sum the values of `of` instead of counting it.")
    better: Literal["higher", "lower", "same"] = Field(
        description="Which direction is good; `same` for a figure that should not move."
    )
    binary: bool = Field(
        default=False,
        description="Each unit of `per` holds at most one of `of` (a conversion rate).",
    )
    margin: Margin | None = Field(
        default=None,
        description="The relative change that would matter: gates that hold this metric to a margin "
        "never allow more, and the report judges by it where no gate does.",
    )
    title: str = Field(default="", description="How people call it.")

    @property
    def kind(self) -> Literal["conversion", "mean", "count", "ratio"]:
        """A share of attempts, a mean of values, events per exposure, or any other ratio."""
        if self.binary:
            return "conversion"
        if self.value:
            return "mean"
        exposed = set(self.per) <= {REQUESTS_UNIT, CONVERSATIONS_UNIT}
        return (
            "count" if exposed and self.of not in (REQUESTS_UNIT, CONVERSATIONS_UNIT) else "ratio"
        )


class Tools(Plan):
    """The tools one agent may call, as globs; deny beats allow, and what is not listed is forbidden.

    See [Tool policy](policy.md) for how it is enforced.
    """

    allow: tuple[str, ...] = Field(default=(), description="Tools that it may call.")
    deny: tuple[str, ...] = Field(
        default=(), description="Tools that it may not, whatever `allow` says."
    )
    arguments: dict[str, tuple[Rule, ...]] = Field(
        default={},
        description="Rules on arguments by tool glob: limits such as `quantity <= 20`, or a JSON "
        "Schema fragment. A call that breaks one is a violation.",
    )
    read_only: tuple[str, ...] = Field(
        default=(),
        description="Tools that change nothing. Others are writes, unless their server says "
        "`readOnlyHint` (MCP) or their route is `GET` or `HEAD`.",
    )
    writes: tuple[str, ...] = Field(
        default=(), description="Tools that change something, whatever anybody else says."
    )
    reads: Reads = Field(
        default="live",
        description="In shadow, reads are called (`live`), or answered like writes, from what was "
        "recorded, else from their schema (`recorded`).",
    )

    @field_validator("arguments", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        """A single rule may stand without a list."""
        if not isinstance(value, dict):
            return value
        rules = cast("dict[str, object]", value)
        return {
            k: cast("object", [v] if isinstance(v, str | dict) else v) for k, v in rules.items()
        }

    @field_validator("arguments", mode="after")
    @classmethod
    def _applicable(cls, value: dict[str, tuple[Rule, ...]]) -> dict[str, tuple[Rule, ...]]:
        for rules in value.values():
            for rule in rules:
                check_rule(rule)
        return value

    def policy(self) -> ToolPolicy:
        """The same for the decision at run time."""
        return ToolPolicy(
            allow=self.allow,
            deny=self.deny,
            arguments=self.arguments,
            read_only=self.read_only,
            writes=self.writes,
            reads=self.reads,
        )


class Agent(Plan):
    """An agent type that this rollout covers."""

    enabled: bool = Field(default=True, description="Default of `MOLTBOT_<AGENT>_ENABLED`.")
    tools: Tools | None = Field(
        default=None, description="Its tools; left out, nothing is policed."
    )


OnFail = Literal["hold", "roll_back"]


class Gate(Plan):
    """Base of all gates."""

    on_fail: OnFail = Field(
        default="hold",
        description="What a proven failure does: hold the step and ask a person, or roll back.",
    )


class ErrorRateGate(Gate):
    """The candidate's share of answers with 4xx or 5xx in this step is below a limit."""

    kind: Literal["error_rate"]
    below: Fraction
    alpha_pass: float = Field(default=0.05, description="Chance of a false pass at any time.")
    alpha_fail: float = Field(default=0.01, description="Chance of a false fail at any time.")


class LatencyGate(Gate):
    """A latency quantile is below a limit: the share of slower requests is below its complement."""

    kind: Literal["latency"]
    quantile: Fraction
    below: Duration
    alpha_pass: float = 0.05
    alpha_fail: float = 0.01


class LatencyStableGate(Gate):
    """The median is equivalent to control's, frozen when the step began."""

    kind: Literal["latency_stable"]
    within: Margin = Field(default=0.10, description="The slowdown that would matter.")
    alpha: float = 0.05


class NoDegradationGate(Gate):
    """Non-inferiority: each metric is not worse than control's by the step's margin."""

    kind: Literal["no_degradation"]
    metrics: tuple[str, ...] = Field(min_length=1)
    margin: Margin | None = Field(
        default=None,
        description="Fixed relative margin; left out, min(50%, harm_budget / next share).",
    )
    harm_budget: Fraction = Field(
        default=0.02,
        description="Relative harm that reaching the next step may cost all users together.",
    )
    alpha_fail: float = Field(
        default=0.05, description="Chance per rollout of failing a harmless agent."
    )
    alpha_pass: float = Field(default=0.05, description="Chance of passing an agent at the margin.")
    on_fail: OnFail = "roll_back"


class StableGate(Gate):
    """Equivalence: a metric is within a relative margin of control's, both ways (TOST)."""

    kind: Literal["stable"]
    metric: str
    within: Margin = 0.10
    alpha: float = 0.05


class UnchangedGate(Gate):
    """Events per exposure are not more frequent than control's, beyond a tolerated ratio."""

    kind: Literal["unchanged"]
    metric: str
    fail_ratio: float = Field(default=1.25, ge=1, description="A ratio proven above this fails.")
    pass_ratio: float = Field(default=2.0, gt=1, description="A ratio proven below this passes.")
    alpha_pass: float = 0.05
    alpha_fail: float = 0.01


class NoCriticalErrorGate(Gate):
    """No incident was opened and no `critical_error` outcome reported for this long, under traffic."""

    kind: Literal["no_critical_error"]
    for_: Duration = Field(alias="for")

    model_config = ConfigDict(populate_by_name=True)


class NoRollbackGate(Gate):
    """No rollback happened within this time, by the event log."""

    kind: Literal["no_rollback"]
    within: Duration


class NoViolationGate(Gate):
    """No security violation since the rollout was (re)started, and some traffic was seen."""

    kind: Literal["no_violation"]


class CostGate(Gate):
    """Cost per 1,000 requests, at its interval's upper end, is within the budget."""

    kind: Literal["cost_within_budget"]
    alpha: float = 0.05


class ShadowAgreementGate(Gate):
    """The share of mirrored requests that the agent answered acceptably is above a limit.

    Acceptable are pairs without a difference that blocks; see `comparison`. In shadow only.
    """

    kind: Literal["shadow_agreement"]
    above: Fraction
    alpha_pass: float = Field(default=0.05, description="Chance of a false pass at any time.")
    alpha_fail: float = Field(default=0.01, description="Chance of a false fail at any time.")


class ApprovalGate(Gate):
    """A person says yes; taken only when all other gates of the step have passed."""

    kind: Literal["approval"]
    expires: Duration = Field(
        default=timedelta(hours=24),
        description="A request or an approval that has not led anywhere by then counts no more.",
    )


AnyGate = Annotated[
    ErrorRateGate
    | LatencyGate
    | LatencyStableGate
    | NoDegradationGate
    | StableGate
    | UnchangedGate
    | NoCriticalErrorGate
    | NoRollbackGate
    | NoViolationGate
    | CostGate
    | ShadowAgreementGate
    | ApprovalGate,
    Field(discriminator="kind"),
]


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


Action = Literal["roll_back", "halve", "pause", "review"]


class Trigger(Plan):
    """Base of all triggers."""

    action: Action = Field(
        description="`roll_back` to 0%, `halve` the traffic, `pause` the climb, or hold it for "
        "`review` by a person."
    )


class ErrorRateTrigger(Trigger):
    """The error rate stays above a limit."""

    kind: Literal["error_rate"]
    above: Fraction
    for_: Duration = Field(alias="for")
    healthy: Fraction = Field(
        default=0.02,
        description="The rate that must be refuted beside the limit itself (rule `sustained`); at most "
        "two fifths of the limit.",
    )
    rule: Literal["sustained", "literal"] = "sustained"

    model_config = ConfigDict(populate_by_name=True)


class LatencyTrigger(Trigger):
    """A latency quantile stays above a limit."""

    kind: Literal["latency"]
    quantile: Fraction
    above: Duration
    for_: Duration = Field(alias="for")
    rule: Literal["sustained", "literal"] = "sustained"

    model_config = ConfigDict(populate_by_name=True)

    @property
    def rate(self) -> float:
        """The share of slower requests that the quantile allows."""
        return round(1 - self.quantile, 9)


class ViolationTrigger(Trigger):
    """A forbidden tool call or model use: the first one."""

    kind: Literal["violation"]


class CostTrigger(Trigger):
    """Cost runs at a multiple of what was projected, or past the hard cap."""

    kind: Literal["cost"]
    above: float = Field(gt=1, description="Multiple of the projected cost.")
    alpha: float = 0.01
    tau: float = 0.5
    min_requests: int = 30
    request_cap: float = Field(
        default=20, gt=1, description="One request weighs at most this many projected requests."
    )


class ComplaintsTrigger(Trigger):
    """More complaints than this within the window, or proven to be more frequent than control's."""

    kind: Literal["complaints"]
    above: int
    within: Duration
    outcome: str = "complaint"
    ratio: float = Field(default=1.25, description="Tolerated ratio of rates against control.")
    alpha: float = 0.01


AnyTrigger = Annotated[
    ErrorRateTrigger | LatencyTrigger | ViolationTrigger | CostTrigger | ComplaintsTrigger,
    Field(discriminator="kind"),
]


class Cost(Plan):
    """Money, in USD. The operator's config may set these over the playbook's."""

    budget_per_1000: float | None = Field(
        default=None, gt=0, description="Budget for 1,000 requests."
    )
    projected_per_request: float | None = Field(
        default=None, gt=0, description="Expected cost of a request; left out, measured in shadow."
    )
    spend_cap_per_day: float | None = Field(
        default=None,
        gt=0,
        description="Hard cap of what the candidate may cost in 24 h, live and in shadow.",
    )


class Comparison(Plan):
    """How the agent's answers in shadow are compared with control's, and what is kept of them."""

    enabled: bool = Field(
        default=True, description="Off keeps no bodies at all, and compares nothing."
    )
    sample: Share = Field(default=100, description="Percent of mirrored requests compared.")
    max_body: int = Field(
        default=16 * 1024, ge=0, le=1 << 20, description="Bytes kept of a body; longer is marked."
    )
    keep: Duration = Field(default=timedelta(days=7), description="How long a pair is kept.")
    keep_pairs: int = Field(default=2000, gt=0, le=100_000, description="How many at most.")
    settle: Duration = Field(
        default=timedelta(seconds=5),
        description="How long Molt waits for reports of actions before it compares.",
    )
    actions_from: Literal["answers", "reports"] = Field(
        default="answers",
        description="Where control's actions are found: in its answers (and in reports, where there "
        "are some), or only in reports to `POST /api/v1/actions`; then no report means no action.",
    )
    blocking: tuple[str, ...] = Field(
        default=BLOCKING,
        description="Kinds of differences that make a pair unacceptable: families, or one tool's, "
        "such as `call_extra:place_order`.",
    )
    ignore: tuple[str, ...] = Field(
        default=(),
        description="JSON paths that are not compared, such as `$.items[*].id` or `$.meta`; `*` "
        "stands for one field, `**` for any number of them.",
    )
    ignore_calls: tuple[str, ...] = Field(
        default=(),
        description="Globs of tools that are not compared, beside those that the "
        "agent's `tools` call `read_only`: to look is no action.",
    )
    ignore_arguments: tuple[str, ...] = Field(
        default=(), description="Arguments that may differ, such as `cart_id`."
    )
    wording: Fraction = Field(
        default=0.5, description="Least likeness of two texts, whatever the order of words."
    )
    slower: float = Field(default=2.0, ge=1, description="Slower is more than this many times ...")
    slower_by: Duration = Field(
        default=timedelta(milliseconds=500), description="... and by more than this."
    )
    dearer: float = Field(
        default=2.0, ge=1, description="More tokens or cost is more than this many times control's."
    )
    twice: Share = Field(
        default=0,
        description="Percent of compared requests that control gets a second time, to learn how "
        "much it differs from itself: a field counts only above that noise.",
    )
    twice_methods: tuple[str, ...] = Field(
        default=("GET", "HEAD"),
        description="Methods that control may get twice. Add `POST` only where repeating is safe.",
    )
    redact: dict[str, str] = Field(
        default_factory=lambda: dict(DEFAULTS),
        description="Name to regular expression: what matches is kept as `[name]`, in bodies, paths "
        "and arguments. Default: `token`, `email`, `card` (by Luhn's check), `phone`; what you give "
        "replaces it.",
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        unknown = [k for k in self.blocking if family(k) not in KINDS]
        if unknown:
            raise ValueError(f"blocking: {unknown[0]!r}; expected one of {', '.join(KINDS)}")
        for name, pattern in self.redact.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"redact: {name}: not a regular expression: {error}") from None
        return self

    def rules(self, tools: Tools | None = None) -> Rules:
        """The same for the comparison; what `tools` call read-only is no action either."""
        reading = tools.read_only if tools else ()
        return Rules(
            ignore=self.ignore,
            ignore_calls=(*self.ignore_calls, *reading),
            writes=tools.writes if tools else (),
            ignore_arguments=self.ignore_arguments,
            wording=self.wording,
            slower=self.slower,
            slower_ms=self.slower_by.total_seconds() * 1000,
            dearer=self.dearer,
        )


class Slos(Plan):
    """Service-level objectives, watched and reported; triggers and gates decide."""

    availability: Fraction = Field(default=0.995, description="Agent up, by probe and by requests.")
    probe_every: Duration = timedelta(seconds=10)
    latency_p50: Duration = timedelta(seconds=1)
    latency_p95: Duration = timedelta(seconds=3)
    error_rate: Fraction = 0.01
    policy_violations: int = 0


class LimitsPlan(Plan):
    """Safety limits; `MOLTBOT_*` flags can only tighten them."""

    max_tokens_per_request: int = Field(default=4000, gt=0)
    max_tool_calls_per_request: int = Field(default=10, ge=0)
    rate_limit_per_minute: int = Field(default=30, gt=0, description="Requests of one subject.")

    def limits(self) -> Limits:
        """The same for the flags snapshot."""
        return Limits(**self.model_dump())


class Timing(Plan):
    """How evidence is cut and how conversations are kept together."""

    slot: Duration = Field(default=timedelta(seconds=10), description="Length of an evidence slot.")
    conversation_idle: Duration = Field(
        default=timedelta(minutes=30),
        description="A conversation stays on its arm until idle this long.",
    )
    blind_after: Duration = Field(
        default=timedelta(minutes=5),
        description="Traffic is due but none is seen: blind, gates freeze.",
    )
    settled_after: Duration = Field(
        default=timedelta(hours=24),
        description="Users who have had the candidate this long are also compared by themselves: "
        "an effect beyond the margin among them keeps the rollout where it is (novelty).",
    )


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
    metrics: dict[str, Metric] = {}
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
