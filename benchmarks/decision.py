"""What one flag decision costs in process: who gets the candidate, in nanoseconds."""

import timeit
from datetime import UTC, datetime

from molt.core.assignment import assign, explain
from molt.core.flags import Flags, RolloutFlags

ROUNDS, CALLS = 5, 200_000


def nanoseconds(call: object) -> float:
    """The best of some rounds, a call."""
    return min(timeit.repeat(call, number=CALLS, repeat=ROUNDS)) / CALLS * 1e9  # type: ignore[arg-type]


def main() -> None:
    """Print both figures."""
    rollout = RolloutFlags(
        rollout="r",
        epoch=1,
        agents=("guest",),
        enabled=True,
        shadow=False,
        share=2500,
        mirror=0,
        salt="salt",
        statistics_salt="other",
        tiers=(100, 2500),
        cuts=(),
    )
    flags = Flags(version=1, made_at=datetime.now(UTC), rollouts=(rollout,))
    print(
        f"assign, one rollout      {nanoseconds(lambda: assign(rollout, 'guest', 'user-1')):6.0f} ns"
    )
    print(
        f"explain, whole snapshot  {nanoseconds(lambda: explain(flags, 'guest', 'user-1')):6.0f} ns"
    )


if __name__ == "__main__":
    main()
