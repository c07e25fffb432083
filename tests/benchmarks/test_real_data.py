"""The rules on recorded data, where it is present."""

import numpy as np
import pytest
from benchmarks.real_data import DATA

from benchmarks import real_data


def needs(name: str) -> pytest.MarkDecorator:
    """Skips where a data set is absent."""
    return pytest.mark.skipif(not (DATA / name).is_dir(), reason=f"no {DATA / name} here")


def cells(lines: list[str], row: str) -> list[str]:
    """The cells of a table's row."""
    line = next(line for line in lines if line.startswith(f"| {row}"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


@needs("asos_ab")
def test_experiments_of_a_shop_give_few_false_calls_and_calls_that_last():
    rng = np.random.default_rng(7)
    paths = [real_data.recorded(s) for s in real_data.asos(DATA)][::3]
    alike = [real_data.first_calls(real_data.null(path, rng)) for path in paths]
    false = {rule: sum(c[rule] <= 1 for c in alike) / len(alike) for rule in alike[0]}
    assert false["Molt"] <= 0.05
    assert false["peeked z-test"] > 0.08
    real = [real_data.first_calls(path) for path in paths]
    called = [c for c in real if c["Molt"] <= 1]
    assert len(called) >= 10
    lasting = sum(c["one look at the end"] <= 1 for c in called) / len(called)
    peeked = [c for c in real if c["peeked z-test"] <= 1]
    assert lasting > sum(c["one look at the end"] <= 1 for c in peeked) / len(peeked)


@needs("open_bandit")
def test_one_policy_split_in_two_is_not_called_worse_than_itself():
    lines = list(real_data.bandit_tables(DATA, repeats=20))
    assert cells(lines, "Molt") == ["0% of 20", "not worse", "not proven worse"]


@needs("petshop")
def test_injected_errors_are_found_without_a_false_alarm():
    lines = list(real_data.petshop_tables(DATA))
    found, *_, false = cells(lines, "Molt")
    assert int(found.split()[0]) >= 8
    assert false == "0"
    assert int(cells(lines, "plain reading")[-1]) > 0


@needs("nab")
def test_labelled_series_give_fewer_alarms_outside_of_their_windows():
    lines = list(real_data.nab_tables(DATA))
    assert float(cells(lines, "Molt")[-1]) < float(cells(lines, "one sample")[-1])
