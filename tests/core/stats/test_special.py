"""The typed doors to scipy, and the root finder under all intervals."""

import math

import numpy as np
import pytest

from molt.core.stats import special


def test_a_root_is_found_of_rising_and_of_falling_functions():
    assert special.root(lambda x: x * x - 2, 0, 2) == pytest.approx(math.sqrt(2), rel=1e-15)
    assert special.root(lambda x: 2 - x * x, 0, 2) == pytest.approx(math.sqrt(2), rel=1e-15)


def test_without_a_crossing_the_nearer_end_is_the_answer():
    assert special.root(lambda x: x + 1, 0, 2) == pytest.approx(0, abs=1e-12)
    assert special.root(lambda x: x - 5, 0, 2) == pytest.approx(2)
    assert special.root(lambda x: 5 - x, 0, 2) == pytest.approx(2)


def test_the_functions_agree_with_their_definitions():
    assert special.ndtri(0.975) == pytest.approx(1.959963984540054)
    assert special.log_ndtr(0.0) == pytest.approx(-math.log(2))
    assert special.erfcx(1.0) == pytest.approx(math.e * math.erfc(1.0))
    assert special.betaln(2, 3) == pytest.approx(math.log(1 / 12))
    assert special.betainc(1, 1, 0.3) + special.betaincc(1, 1, 0.3) == pytest.approx(1)
    assert special.gammainc(1, 2.0) == pytest.approx(1 - math.exp(-2))
    assert special.ndtr_array(np.array([0.0]))[0] == 0.5
