"""What one seed of a simulation came to."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from molt.core.events import AnyEvent, Recorded, Ruling
from molt.core.rollout import Stay

Verdict = Literal["promoted", "rolled_back", "inconclusive"]


@dataclass(frozen=True)
class Sample:
    """What the gates of a step said at one moment."""

    at: datetime
    share: float
    phase: str
    step: int
    rulings: tuple[Ruling, ...]


@dataclass
class Course:
    """One run: every event, and what it cost.

    `decided_at` is when it was promoted or rolled back, else None; `onset` when the first effect
    or fault met users, else None. `failed_orders` and `spent` (USD) count until `decided_at`.
    """

    scenario: str
    playbook: str
    seed: int
    verdict: Verdict
    started_at: datetime
    ended_at: datetime
    decided_at: datetime | None
    onset: datetime | None
    failed_orders: float
    spent: float
    requests: int
    users: int
    records: list[Recorded]
    stays: tuple[Stay, ...]
    looks: int = 0
    samples: list[Sample] = field(default_factory=list)

    @property
    def events(self) -> list[AnyEvent]:
        """All facts, in order."""
        return [record.event for record in self.records]

    @property
    def hours(self) -> float | None:
        """Hours from the start to the decision; None without one."""
        if self.decided_at is None:
            return None
        return (self.decided_at - self.started_at).total_seconds() / 3600

    @property
    def hours_after_onset(self) -> float | None:
        """Hours from the onset to the decision; None without either, or before the onset."""
        if self.decided_at is None or self.onset is None or self.decided_at < self.onset:
            return None
        return (self.decided_at - self.onset).total_seconds() / 3600

    def as_data(self) -> dict[str, Any]:
        """The run as JSON data, every decision with its numbers."""
        from molt.apps.simulate.decisions import decision_rows

        return {
            "seed": self.seed,
            "verdict": self.verdict,
            "started_at": self.started_at.isoformat(),
            "decided_at": self.decided_at.isoformat() if self.decided_at else None,
            "hours": _rounded(self.hours),
            "hours_after_onset": _rounded(self.hours_after_onset),
            "failed_orders_before_decision": round(self.failed_orders, 2),
            "spent": round(self.spent, 2),
            "requests": self.requests,
            "decisions": decision_rows(self),
        }


def _rounded(hours: float | None) -> float | None:
    return None if hours is None else round(hours, 4)
