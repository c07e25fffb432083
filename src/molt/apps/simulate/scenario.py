"""A scenario: the world that a rollout is simulated in, as a YAML file.

The field descriptions are the reference documentation.
"""

import re
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from molt.core.quantities import Duration, Fraction

_CHANGE: Final = re.compile(r"([+-]\d+(?:\.\d+)?)%")
_TIMES: Final = re.compile(r"(\d+(?:\.\d+)?)x")


def parse_change(value: object) -> object:
    """The factor that a change means: 0.9 from `-10%`, 5 from `5x`."""
    if isinstance(value, str):
        text = value.replace(" ", "")
        if found := _CHANGE.fullmatch(text):
            return 1 + float(found[1]) / 100
        if found := _TIMES.fullmatch(text):
            return float(found[1])
    raise ValueError("expected a change with its sign, such as -10% or +20%, or a multiple: 5x")


Change = Annotated[float, BeforeValidator(parse_change), Field(ge=0)]
"""A relative change, kept as the factor that it means."""

Arms = Literal["candidate", "control", "both"]


class Part(BaseModel):
    """Base of everything in a scenario: immutable and finite, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Users(Part):
    """Who asks."""

    count: int = Field(default=50_000, ge=10, le=5_000_000, description="People in all.")
    activity: float = Field(
        default=1.0,
        ge=0,
        le=5,
        description="How unequal they are: coefficient of variation of requests a user.",
    )
    correlation: Fraction = Field(
        default=0.1,
        le=0.99,
        description="How alike the outcomes of one user are (intra-user correlation).",
    )
    new_per_day: Fraction = Field(
        default=0.02, description="Share of users that is replaced by new ones every day."
    )


class Arrivals(Part):
    """When requests come."""

    requests_per_day: float = Field(default=50_000, gt=0)
    daily: Fraction = Field(default=0.6, description="How far the rate swings over a day.")
    peak: int = Field(default=19, ge=0, le=23, description="The busiest hour, UTC.")
    weekend: Change = Field(default=1.0, validate_default=False, description="Rate at weekends.")
    trace: str | None = Field(
        default=None,
        description="Instead of the curve: a recorded trace, rescaled and repeated: "
        "`azure_llm_2023`, `ragpulse`, `servegen`, `mooncake_conversation`, or a CSV file with a "
        "column `offset_s`.",
    )


class Latency(Part):
    """How long answers take."""

    median: Duration = timedelta(milliseconds=800)
    p95: Duration = timedelta(milliseconds=1700)
    recorded: Literal["llmperf_latency", "burstgpt3_first_rows"] | None = Field(
        default=None, description="The shape of recorded latencies, scaled to `median`."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not timedelta(0) < self.median:
            raise ValueError("median: expected more than 0s")
        if self.recorded is None and self.p95 < self.median:
            raise ValueError("p95: expected at least the median; say both")
        return self


class Money(Part):
    """What a candidate's request costs, in USD, and its tokens."""

    per_request: float = Field(default=0.002, ge=0)
    spread: float = Field(default=0.8, gt=0, le=5, description="Coefficient of variation.")
    tokens_in: int = Field(default=900, ge=0)
    tokens_out: int = Field(default=180, ge=0)
    recorded: Literal["burstgpt3_first_rows", "azure_llm_2023"] | None = Field(
        default=None, description="Mean tokens and their spread from recorded requests."
    )


class Arm(Part):
    """One service as it is without effects and faults."""

    errors: Fraction = 0.004
    latency: Latency = Latency()


class Rate(Part):
    """The base of one metric, on both arms."""

    base: float = Field(ge=0, description="A probability, a rate per request, or a mean value.")
    per_request: float = Field(
        default=0.2, gt=0, description="Attempts (or values) for each request."
    )
    spread: float = Field(default=0.8, gt=0, description="Coefficient of variation of a value.")
    weekend: Change = Field(
        default=1.0, validate_default=False, description="The base at weekends, on both arms."
    )
    night: Change = Field(
        default=1.0, validate_default=False, description="The base from 0 to 6 h, on both arms."
    )


class Timed(Part):
    """When something holds: counted from the start, or from when a share was first reached."""

    onset: Duration = Field(default=timedelta(0), description="How long after that it begins.")
    step: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="Counted from the first step of at least this share.",
    )
    lasts: Duration | None = Field(default=None, description="How long; left out, for good.")
    every: Duration | None = Field(default=None, description="Again and again, at this distance.")

    @model_validator(mode="after")
    def _repeats(self) -> Self:
        if self.every is not None and (self.lasts is None or self.lasts >= self.every):
            raise ValueError("every: expected `lasts` beside it, shorter than `every`")
        return self


class Effect(Timed):
    """What the candidate changes in a metric of the plan, or in `error_rate`, `latency`, `cost`,
    `complaints`, `critical_errors`."""

    metric: str
    size: Change | None = Field(default=None, description="Relative: -10%, +20%, 5x.")
    to: Fraction | None = Field(
        default=None, description="Absolute, for `error_rate` or a conversion: 20%."
    )
    tenure: Duration | None = Field(
        default=None, description="Only for users that have been in for less than this (novelty)."
    )

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if (self.size is None) == (self.to is None):
            raise ValueError("size: expected either `size` (relative) or `to` (absolute)")
        if self.tenure is not None and self.metric in BUILT_IN:
            raise ValueError("tenure: expected a metric of the plan; it is about users' outcomes")
        if self.to is not None and self.metric in BUILT_IN and self.metric != "error_rate":
            raise ValueError(f"to: {self.metric} is no rate; expected a relative `size`")
        if self.metric == "latency" and self.size == 0:
            raise ValueError("size: expected latencies above nothing, such as 0.5x or -50%")
        return self


BUILT_IN: Final = ("error_rate", "latency", "cost", "complaints", "critical_errors")


class Fault(Timed):
    """Something that breaks: in the world, or on the way of the evidence."""

    kind: Literal[
        "outage",
        "dead_agent",
        "slow",
        "no_data",
        "duplicated",
        "late",
        "reordered",
        "sample_ratio",
        "retrying_user",
        "cost_tail",
        "violation",
    ]
    arm: Arms = Field(default="candidate", description="`outage`, `slow`, `no_data`: whose.")
    rate: Fraction = Field(default=1.0, description="`outage`: share of requests that fail.")
    factor: float = Field(default=5.0, gt=0, description="`slow`: how many times as long.")
    share: Fraction = Field(
        default=0.2,
        description="`duplicated`: batches sent twice; `sample_ratio`: new candidate users that "
        "are lost; `cost_tail`: requests that cost more.",
    )
    times: float = Field(default=300.0, gt=1, description="`cost_tail`: how many times as much.")
    by: Duration = Field(
        default=timedelta(minutes=2), description="`late`: how late evidence arrives."
    )
    requests_per_minute: float = Field(
        default=20.0, gt=0, description="`retrying_user`: requests of one user, all failing."
    )


class Operators(Part):
    """What people do, and how soon."""

    approve_after: Duration = timedelta(hours=2)
    review_after: Duration = timedelta(hours=4)
    review: Literal["resume", "roll_back", "leave"] = Field(
        default="roll_back", description="The answer to a review that a trigger asked for."
    )
    pause: Literal["resume", "roll_back", "leave"] = Field(
        default="roll_back", description="The answer to a pause that a trigger caused."
    )
    halved: Literal["resume", "roll_back", "leave"] = "resume"
    question: Literal["promote", "resume", "roll_back", "leave"] = Field(
        default="leave", description="The answer to a question about gates that wait or failed."
    )
    question_after: Duration = timedelta(hours=12)


class Looks(Part):
    """How often the controller looks.

    Triggers are looked at at every slot that can make one fire. Gates are looked at when the age
    of the step has grown by `growth`, at most every `longest`, and whenever a hold ends.
    """

    mode: Literal["adaptive", "every_slot"] = "adaptive"
    longest: Duration = timedelta(minutes=30)
    growth: Fraction = 0.05


class Scenario(Part):
    """A whole scenario."""

    title: str = ""
    about: str = ""
    playbook: str = Field(default="wf-11", description="A shipped playbook, or a file.")
    days: float = Field(default=42, gt=0, le=365, description="Undecided after this: inconclusive.")
    after: Duration = Field(
        default=timedelta(0), description="How long to go on watching after a promotion."
    )
    users: Users = Users()
    arrivals: Arrivals = Arrivals()
    control: Arm = Arm()
    candidate: Arm = Arm()
    cost: Money = Money()
    rates: dict[str, Rate] = Field(default={}, description="Metrics of the plan, by name.")
    complaints_per_1000: float = Field(default=0.2, ge=0, description="Requests of either arm.")
    critical_errors_per_day: float = Field(default=0.0, ge=0)
    effects: tuple[Effect, ...] = ()
    faults: tuple[Fault, ...] = ()
    operators: Operators = Operators()
    looks: Looks = Looks()
    gateways: int = Field(default=1, ge=1, le=16, description="Evidence comes in so many parts.")

    def timed(self) -> tuple[Timed, ...]:
        """Everything that begins and ends."""
        return (*self.effects, *self.faults)


DEFAULT_RATES: Final[dict[str, dict[str, Any]]] = {
    "order_completion": {"base": 0.7, "per_request": 0.25},
    "staff_response": {"base": 90.0, "per_request": 0.05, "spread": 0.6},
    "satisfaction": {"base": 0.8, "per_request": 0.15},
    "engagement": {"base": 2.4},
    "support_tickets": {"base": 0.002},
}
"""What WF-11's metrics are like in a bar, where a scenario says nothing."""
