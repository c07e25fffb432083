"""The ledger never overspends, whatever the order of calls."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from molt.core.flags import Limits
from molt.egress.ledger import Ledger, Reservation

RUNS = st.sampled_from(["a", "b"])
EXPIRES = 100.0


class AnyInterleaving(RuleBasedStateMachine):
    """Calls of two runs reserve and settle in any order, while the operator lowers the limits."""

    tokens = Bundle("tokens")
    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.limits = Limits()
        self.highest = Limits()
        self.used: dict[tuple[str, str], int] = {}
        self.held: dict[tuple[str, str], int] = {}

    def _add(self, into: dict[tuple[str, str], int], kind: str, run: str, amount: int) -> None:
        into[kind, run] = into.get((kind, run), 0) + amount

    @rule(tokens=st.integers(0, 500), calls=st.integers(0, 4))
    def set_limits(self, tokens: int, calls: int) -> None:
        self.limits = Limits(tokens, calls)

    @rule(target=tokens, run=RUNS, wanted=st.integers(-5, 10_000), least=st.integers(0, 50))
    def reserve_tokens(self, run: str, wanted: int, least: int):
        left = self.ledger.tokens_left(run, self.limits)
        got = self.ledger.reserve_tokens(run, EXPIRES, self.limits, wanted, least)
        assert (got is None) == (left < max(1, least))
        if got is None:
            return multiple()
        assert 1 <= got.amount <= left
        self._add(self.held, "tokens", run, got.amount)
        assert self._total("tokens", run) <= self.limits.max_tokens_per_request
        return (run, got)

    @rule(target=calls, run=RUNS)
    def reserve_call(self, run: str):
        got = self.ledger.reserve_call(run, EXPIRES, self.limits)
        if got is None:
            assert self._total("calls", run) >= self.limits.max_tool_calls_per_request
            return multiple()
        self._add(self.held, "calls", run, 1)
        assert self._total("calls", run) <= self.limits.max_tool_calls_per_request
        return (run, got)

    @rule(held=consumes(tokens), share=st.floats(0, 1))
    def settle_tokens(self, held: tuple[str, Reservation], share: float) -> None:
        self._settle("tokens", held, int(held[1].amount * share))

    @rule(held=consumes(calls), executed=st.booleans())
    def settle_call(self, held: tuple[str, Reservation], executed: bool) -> None:
        self._settle("calls", held, int(executed))

    def _settle(self, kind: str, held: tuple[str, Reservation], used: int) -> None:
        run, reservation = held
        reservation.settle(used)
        reservation.settle(used)  # a second time says nothing
        self._add(self.held, kind, run, -reservation.amount)
        self._add(self.used, kind, run, used)

    @rule(now=st.floats(0, EXPIRES, exclude_max=True))
    def sweep_before_the_token_expires(self, now: float) -> None:
        self.ledger.sweep(now)

    @rule()
    def sweep_when_it_has_expired(self) -> None:
        """Accounts that hold something stay; the others belong to runs that nobody can name."""
        self.ledger.sweep(EXPIRES)
        for run in ("a", "b"):
            if not (self.held.get(("tokens", run)) or self.held.get(("calls", run))):
                self.used.pop(("tokens", run), None)
                self.used.pop(("calls", run), None)

    def _total(self, kind: str, run: str) -> int:
        return self.used.get((kind, run), 0) + self.held.get((kind, run), 0)

    @invariant()
    def what_is_left_is_what_was_neither_used_nor_held(self) -> None:
        for run in ("a", "b"):
            left = self.limits.max_tokens_per_request - self._total("tokens", run)
            assert self.ledger.tokens_left(run, self.limits) == max(0, left)


AnyInterleaving.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestAnyInterleaving = AnyInterleaving.TestCase


def test_a_use_above_what_was_held_is_booked_in_full_and_leaves_nothing():
    ledger, limits = Ledger(), Limits(max_tokens_per_request=100)
    held = ledger.reserve_tokens("run", EXPIRES, limits, 60)
    assert held is not None
    held.settle(150)
    assert ledger.tokens_left("run", limits) == 0
    assert ledger.reserve_tokens("run", EXPIRES, limits, 1) is None


def test_an_account_lives_as_long_as_its_token():
    ledger = Ledger()
    held = ledger.reserve_call("run", EXPIRES, Limits())
    assert held is not None
    ledger.sweep(EXPIRES)
    assert len(ledger) == 1
    held.settle(1)
    ledger.sweep(EXPIRES)
    assert len(ledger) == 0


def test_a_ledger_that_follows_a_lost_one_gives_nothing_to_runs_of_before():
    ledger, limits = Ledger(since=1_000.5), Limits()
    before, after = 1_000 + 3_600, 1_001 + 3_600  # when their tokens end
    assert ledger.reserve_tokens("old", before, limits, 1) is None
    assert ledger.reserve_call("old", before, limits) is None
    assert ledger.lost(before)
    assert ledger.reserve_tokens("new", after, limits, 1) is not None
    assert ledger.reserve_call("new", after, limits) is not None
