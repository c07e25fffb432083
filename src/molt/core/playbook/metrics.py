"""Business figures, made of outcomes."""

from typing import Final, Literal

from pydantic import Field

from molt.core.playbook.base import Plan
from molt.core.quantities import Margin

REQUESTS_UNIT: Final = "requests"
CONVERSATIONS_UNIT: Final = "conversations"

CRITICAL_ERROR: Final = "critical_error"
"""The outcome kind by which your systems report a critical error."""


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
