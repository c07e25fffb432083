"""Durations and percentages, as people write them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.core.quantities import (
    parse_duration,
    parse_fraction,
    parse_margin,
    show_duration,
    show_fraction,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("48h", 172_800), ("7d", 604_800)],
)
def test_a_duration_has_a_unit(text: str, seconds: float):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", [5, 0.5, "5", "", "h", "5 minutes", "-5m", "5m!", "1e3s"])
def test_a_duration_without_a_clear_unit_is_refused(text: object):
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["500ms", "90s", "5m", "48h", "7d", "14d"])
def test_a_duration_is_shown_as_it_is_usually_written(text: str):
    length = parse_duration(text)
    assert isinstance(length, timedelta)
    assert show_duration(length) == text


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3650)))
def test_a_duration_shown_reads_back_exactly(length: timedelta):
    assert parse_duration(show_duration(length)) == length


@pytest.mark.parametrize(
    ("text", "value"), [("5%", 0.05), ("0.5%", 0.005), ("100%", 1), (0.25, 0.25)]
)
def test_a_percentage_is_a_share_of_the_whole(text: object, value: float):
    assert parse_fraction(text) == pytest.approx(value)


@pytest.mark.parametrize("text", [5, 1, "5", 5.0, "five%", "%", "nan%", "-1%", "500%", None, True])
def test_a_number_that_could_be_misread_is_refused(text: object):
    with pytest.raises(ValueError, match="expected a percentage"):
        parse_fraction(text)


def test_a_margin_may_be_more_than_the_whole():
    assert parse_margin("400%") == 4


@pytest.mark.parametrize("text", [4, 4.0, "-1%", "nan%", "inf%", "4"])
def test_a_margin_is_still_a_percentage(text: object):
    with pytest.raises(ValueError, match="expected a percentage"):
        parse_margin(text)


@given(st.integers(0, 10_000))
def test_a_percentage_shown_reads_back(basis_points: int):
    value = basis_points / 10_000
    assert parse_fraction(show_fraction(value)) == pytest.approx(value, abs=1e-12)
