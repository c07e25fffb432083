"""One account per run: what it has spent of its tokens and tool calls, and what it holds for more.

Reserve before, settle after. At every moment what is spent plus what is held stays within the
limit, whatever the order of calls, as long as each settles for no more than it reserved; one that
used more is booked in full, and nothing is left for the next. Pure: no clock, no I/O.

Accounts live in memory. A run that was under way before this ledger began may have spent all it had,
and so it has nothing left.
"""

from typing import Final, NamedTuple

from molt.core.flags import Limits
from molt.link.tokens import LIFETIME_SECONDS

LOST: Final = (
    "Molt's egress was started anew while this run was under way; what the run has spent is not "
    "known any more, and so it ends here: the next request is a new run"
)


class Budget:
    """One kind of spending of one run."""

    __slots__ = ("held", "spent")

    def __init__(self) -> None:
        self.spent = 0
        self.held = 0

    def left(self, limit: int) -> int:
        """What may still be reserved, never below 0."""
        return max(0, limit - self.spent - self.held)


class Account(NamedTuple):
    """A run's budgets. `expires` is when its token does, unix seconds."""

    tokens: Budget
    calls: Budget
    expires: float

    @property
    def idle(self) -> bool:
        """Whether nothing is held."""
        return not (self.tokens.held or self.calls.held)


class Reservation:
    """A held amount; settle it once with what was really used (0 gives it back)."""

    __slots__ = ("_budget", "amount")

    def __init__(self, budget: Budget, amount: int) -> None:
        self._budget: Budget | None = budget
        self.amount = amount
        budget.held += amount

    def settle(self, used: int) -> None:
        """Book `used`, free the rest. Only the first call counts."""
        budget, self._budget = self._budget, None
        if budget is not None:
            budget.held -= self.amount
            budget.spent += max(0, used)


class Ledger:
    """The accounts of all runs. A run is known by its id; its account lives as long as its token.

    `since`, unix seconds, is when a ledger began that follows a lost one.
    """

    def __init__(self, since: float = float("-inf")) -> None:
        self._accounts: dict[str, Account] = {}
        self._lost_until = since + LIFETIME_SECONDS

    def __len__(self) -> int:
        return len(self._accounts)

    def reserve_call(self, run: str, expires: float, limits: Limits) -> Reservation | None:
        """Hold one tool call; None when the run has none left."""
        if self.lost(expires):
            return None
        budget = self._account(run, expires).calls
        if budget.left(limits.max_tool_calls_per_request) < 1:
            return None
        return Reservation(budget, 1)

    def reserve_tokens(
        self, run: str, expires: float, limits: Limits, wanted: int, least: int = 1
    ) -> Reservation | None:
        """Hold up to `wanted` tokens; None when the run has fewer than `least` left."""
        if self.lost(expires):
            return None
        budget = self._account(run, expires).tokens
        left = budget.left(limits.max_tokens_per_request)
        if left < max(1, least):
            return None
        return Reservation(budget, min(left, max(1, wanted)))

    def lost(self, expires: float) -> bool:
        """Whether a run whose token ends then was under way before this ledger began."""
        return expires <= self._lost_until

    def tokens_left(self, run: str, limits: Limits) -> int:
        """What the run may still reserve."""
        account = self._accounts.get(run)
        limit = limits.max_tokens_per_request
        return account.tokens.left(limit) if account else limit

    def holds_tokens(self, run: str) -> bool:
        """Whether a call of the run has tokens reserved that it may still give back."""
        account = self._accounts.get(run)
        return account is not None and account.tokens.held > 0

    def sweep(self, now: float) -> None:
        """Forget accounts whose token has expired and that hold nothing; `now` is unix seconds."""
        over = [run for run, a in self._accounts.items() if a.expires <= now and a.idle]
        for run in over:
            del self._accounts[run]

    def _account(self, run: str, expires: float) -> Account:
        account = self._accounts.get(run)
        if account is None:
            account = self._accounts[run] = Account(Budget(), Budget(), expires)
        return account
