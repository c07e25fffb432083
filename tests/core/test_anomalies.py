"""What is unlike all before it is told with its numbers; what merely varies is not."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.core.anomalies import (
    FAR,
    outlier,
    shape,
    shift,
    sighting_of_failure,
    sightings_of_calls,
)
from molt.core.pairs import Call, Side


def test_a_slot_ten_times_as_slow_is_an_outlier_with_its_numbers():
    recent = [100.0 + n % 7 for n in range(40)]
    found = outlier(1000.0, recent)
    assert found is not None
    assert (found.value, found.median) == (1000.0, 103.0)
    assert found.deviations > FAR


def test_too_few_slots_say_nothing_and_a_small_step_is_none():
    assert outlier(1000.0, [100.0] * 19) is None
    assert outlier(101.0, [100.0] * 40) is None


@given(st.lists(st.floats(1, 1e6), min_size=20, max_size=60))
def test_the_median_itself_is_never_an_outlier(recent):
    assert outlier(sorted(recent)[len(recent) // 2], recent) is None


def test_slots_that_only_vary_are_hardly_ever_outliers():
    rng = random.Random(5)
    values = [rng.lognormvariate(4.6, 0.25) for _ in range(3000)]
    alarms = sum(
        1 for i in range(90, len(values)) if outlier(values[i], values[i - 90 : i]) is not None
    )
    assert alarms <= 3


def test_a_mix_that_has_shifted_names_the_tool_and_one_that_only_varies_does_not():
    rng = random.Random(7)
    usual = rng.choices(["look", "add", "pay"], (6, 3, 1), k=550)
    assert shift(usual[500:], usual[:500]) is None

    found = shift(["pay"] * 40 + ["look"] * 10, usual[:500])

    assert found is not None
    assert found.tool == "pay"
    assert found.now == 0.8


def test_an_argument_shape_is_names_and_types_not_values():
    one = {"item_id": "latte", "quantity": 1, "options": [], "hot": True}
    other = {"quantity": 2.5, "options": ["oat"], "hot": False, "item_id": "mocha"}
    assert shape(one) == shape(other) == "hot:flag, item_id:text, options:list, quantity:number"
    names = sightings_of_calls("guest", [Call("add", one), Call("add", other)])
    assert {kind for kind, _ in names.values()} == {"tool", "arguments"}
    assert len(names) == 2


@pytest.mark.parametrize(
    ("side", "what"),
    [
        (Side(503), ("error", "HTTP 503")),
        (Side(0, outcome="upstream_timeout"), ("error", "upstream timeout")),
    ],
)
def test_a_failure_is_known_by_its_class(side, what):
    assert list(sighting_of_failure("guest", side).values()) == [what]
    assert sighting_of_failure("guest", Side(200)) == {}
