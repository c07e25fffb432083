"""Money, service levels, safety limits and times of a plan."""

from datetime import timedelta

from pydantic import Field

from molt.core.flags import Limits
from molt.core.playbook.base import Plan
from molt.core.quantities import Duration, Fraction


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
        description="Hard cap of what the candidate may cost in 24 h, live and in shadow, by its answers "
        "or by what the egress counted, whichever is more.",
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
