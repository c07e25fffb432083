"""What takes traffic back, whatever the step."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from molt.core.playbook.base import Plan
from molt.core.quantities import Duration, Fraction

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
