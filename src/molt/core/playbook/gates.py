"""What must hold before a step is left."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from molt.core.playbook.base import Plan
from molt.core.quantities import Duration, Fraction, Margin

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
