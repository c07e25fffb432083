"""What `molt plan` foresees of a plan, as plain values; the retrospective holds it against the course."""

from datetime import datetime

import msgspec


class GateTime(msgspec.Struct, frozen=True):
    """Hours from the start of a step until a gate passed for good; None where it mostly did not."""

    gate: str
    median: float | None
    ninety: float | None


class StepPlan(msgspec.Struct, frozen=True):
    """One step: who will be seen, what can be proven, how long its gates take.

    `smallest_harm` is relative, per metric, with 80% power by the end of the step's planned
    length; `margin` is what the gate asks for. `reached` is the share of healthy runs that got here.
    """

    phase: str
    share: float
    planned_hours: float
    users: float
    users_a_day: float
    requests: float
    margin: float | None
    smallest_harm: dict[str, float]
    gates: list[GateTime]
    reached: float


class Prediction(msgspec.Struct, frozen=True):
    """A whole plan as it is foreseen; what `molt plan --save` keeps.

    `sent_back_by` counts what sent healthy runs back, by trigger or gate.
    """

    playbook: str
    playbook_hash: str
    made_at: datetime
    traffic: float
    users: int
    seeds: int
    steps: list[StepPlan]
    promoted: float
    sent_back: float
    sent_back_interval: list[float]
    duration_days: list[float | None]
    spent: list[float]
    bad_stopped: float
    bad_hours: list[float | None]
    bad_failed_orders: list[float]
    bad_spent: list[float]
    advice: list[str]
    sent_back_by: dict[str, int] = {}
