"""What an A/B report holds, as plain values."""

import msgspec


class Effect(msgspec.Struct, frozen=True):
    """Candidate against control. `low` and `high` bound the difference at every look, at 95%.

    The `relative` ones are shares of control's figure; None where they cannot be told. `n` is what
    the figure is divided by: attempts, conversations, requests.
    """

    candidate: float
    control: float
    difference: float
    low: float | None
    high: float | None
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    candidate_n: float
    control_n: float


class Novelty(msgspec.Struct, frozen=True):
    """The effect among users who have had the candidate for a while. `blocks`: a point estimate
    beyond the margin, which keeps the rollout where it is."""

    effect: Effect | None
    at_least: float
    blocks: bool


class MetricReport(msgspec.Struct, frozen=True):
    """One metric. `verdict` is `none` where no gate of the plan looks at it.

    `variance_reduction` is what the shadow period's data took off the variance (CUPED), 0 to 1.
    `more_hours` is how long it takes to a verdict if all stays as it is; None when it cannot be told.
    """

    name: str
    title: str
    kind: str
    better: str
    margin: float | None
    effect: Effect | None
    verdict: str
    reason: str
    variance_reduction: float
    novelty: Novelty
    agents: dict[str, Effect]
    more_hours: float | None
    sentence: str = ""


class SampleRatio(msgspec.Struct, frozen=True):
    """New subjects by step against the plan's split. `mismatch`: no comparison can be trusted."""

    steps: list[dict[str, float]]
    bayes_factor: float
    mismatch: bool


class Report(msgspec.Struct, frozen=True):
    """Everything the two arms can be compared by. `subjects` were seen in all, and some
    `candidate_subjects` of them have had the candidate by the present share."""

    rollout: str
    phase: str
    share: float
    hours: float
    subjects: int
    candidate_subjects: int
    metrics: list[MetricReport]
    sample_ratio: SampleRatio
    headline: str = ""
