"""What a use of a model costs: the operator's own table first, unknown is never zero."""

import asyncio

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given
from hypothesis import strategies as st

from molt.adapters.clocks import VirtualClock
from molt.adapters.prices import REMEMBERED_SECONDS, Price, Prices

LISTED = ["gpt-4o-mini", "gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro"]
PRICES = Prices({})


@given(
    model=st.sampled_from(LISTED),
    tokens_in=st.integers(0, 1_000_000),
    tokens_out=st.integers(0, 100_000),
)
def test_a_listed_model_costs_what_the_price_list_says(
    model: str, tokens_in: int, tokens_out: int
) -> None:
    listed = calc_price(Usage(input_tokens=tokens_in, output_tokens=tokens_out), model)
    assert PRICES.cost(model, tokens_in, tokens_out) == pytest.approx(float(listed.total_price))


def test_the_operators_table_beats_the_list_and_its_first_match_counts() -> None:
    table = {"gpt-4o-mini*": Price(1.0, 2.0), "gpt-*": Price(7.0, 7.0)}
    prices = Prices(table)
    assert prices.cost("GPT-4o-mini-2024", 1_000_000, 500_000) == pytest.approx(2.0)
    assert prices.cost("gpt-house", 1_000_000, 0) == pytest.approx(7.0)


def test_a_price_of_zero_that_the_operator_wrote_is_a_price() -> None:
    assert Prices({"local-*": Price(0.0, 0.0)}).cost("local-llama", 10, 10) == 0.0


@pytest.mark.parametrize(
    "model", [None, "", "no-such-model", "a/b/c", "nobody:gpt-4o", "whisper-1"]
)
def test_an_unknown_price_is_unknown_and_not_zero(model: str | None) -> None:
    assert PRICES.cost(model, 10, 10) is None


def test_a_name_with_its_provider_in_front_is_found() -> None:
    expected = PRICES.cost("gpt-4o", 1000, 1000)
    assert expected
    assert PRICES.cost("openai/gpt-4o", 1000, 1000) == expected
    assert PRICES.cost("openai:gpt-4o", 1000, 1000) == expected


def test_the_list_is_asked_once_an_hour_for_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted(usage: Usage, name: str, **options: object) -> object:
        asked.append(name)
        return calc_price(usage, name)

    monkeypatch.setattr("molt.adapters.prices.calc_price", counted)
    clock = VirtualClock()
    prices = Prices({}, clock)
    for _ in range(3):
        prices.cost("gpt-4o", 1, 1)
    assert asked == ["gpt-4o"]
    asyncio.run(clock.advance(REMEMBERED_SECONDS + 1))
    prices.cost("gpt-4o", 1, 1)
    assert asked == ["gpt-4o", "gpt-4o"]


def test_made_up_names_do_not_fill_the_memory() -> None:
    prices = Prices({"known": Price(1, 1)})
    for number in range(1500):
        prices.cost(f"zz-{number}", 1, 1)
    assert len(prices._known) <= 1000
