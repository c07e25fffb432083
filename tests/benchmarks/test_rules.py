"""The decision benchmark: its generators, its peers' rules, and that it goes on where it was."""

import json
import math

import numpy as np
import pytest
from benchmarks.rules import climbs, costs, peers, slots, steady
from benchmarks.rules.slots import World, stream

from benchmarks import decisions
from molt.core.stats import sustained

HOUR = 60 * peers.MINUTE


def series(*stretches: tuple[int, int, int]) -> tuple[peers.Ints, peers.Ints]:
    """Slots from (how many, requests each, errors each)."""
    n = np.repeat([n for _, n, _ in stretches], [k for k, _, _ in stretches])
    x = np.repeat([x for _, _, x in stretches], [k for k, _, _ in stretches])
    return n, x


def test_peers_fire_as_their_documentation_says():
    n, x = series((60, 10, 0), (60, 10, 1))
    assert peers.argo_threshold(n, x, 0.05, 5) == 89, "at the end of the first bad interval"
    assert peers.prometheus_for(n, x, 0.05, 5) == pytest.approx(60 + 15 + 30, abs=1)
    assert peers.flagger_counter(n, x, 0.05, 5) == 60 + 5 * 6 - 1, "the fifth failed check"
    quiet = series((120, 10, 0))
    assert peers.argo_threshold(*quiet, 0.05, 5) == math.inf
    assert peers.prometheus_for(*quiet, 0.05, 5) == math.inf
    assert peers.flagger_counter(*quiet, 0.05, 5) == math.inf


@pytest.mark.parametrize("rate", [0.04, 0.12])
def test_passing_over_slots_at_which_nothing_can_fire_changes_no_decision(rate: float):
    s = stream(World(30, onset=rate), slots.LEAD + HOUR, seed=3)
    plain = math.inf
    for end in range(1, len(s.n) + 1):
        recent = slice(max(0, end - 30 * 64), end)
        windows = sustained.look(
            s.n[recent], s.x[recent], s.buckets[recent], duration=30, limit=0.05, healthy=0.02
        )
        if sustained.fired(windows):
            plain = float(end - 1)
            break
    assert slots.molt(s, 0.05, 5) == plain


def test_a_climb_ends_in_a_verdict_and_is_the_same_again():
    world = climbs.World(20_000, lift=-0.3, every_metric=True)
    course = climbs.molt(world, 1)
    assert course.verdict == "rolled_back"
    assert course == climbs.molt(world, 1)
    assert course.lost > 0
    assert set(climbs.others(world, 1)) == set(climbs.PEERS)


def test_a_fourfold_cost_is_found_and_the_projected_one_left_alone():
    assert costs.day(costs.World(300, 0.8, 4), 1)["Molt"]
    assert not costs.day(costs.World(300, 0.8, 1), 1)["Molt"]


@pytest.mark.parametrize("what", list(steady.RULES))
def test_what_has_not_changed_passes_and_what_changed_much_fails(what: str):
    same = steady.fate(steady.World(what, 1.0, 0.25), 1)
    worse = steady.fate(steady.World(what, 5.0, 0.25), 1)
    assert (same.passed < math.inf, same.failed) == (True, math.inf)
    assert (worse.passed, worse.failed < math.inf) == (math.inf, True)


def test_an_interrupted_benchmark_goes_on_where_it_was(tmp_path, monkeypatch):
    kept = tmp_path / "build" / "kept.jsonl"
    monkeypatch.setattr(decisions, "KEPT", kept)
    monkeypatch.setattr(decisions, "GROUPS", {"costs": dict(list(decisions.COSTS.items())[:2])})
    decisions.run_all(["costs"], range(2), jobs=1)
    rows = kept.read_text().splitlines()
    assert len(rows) == 4
    changed = json.loads(rows[0])
    changed["run"]["Molt"] = "kept"
    kept.write_text("\n".join([json.dumps(changed), *rows[1:]]) + "\n")
    found = decisions.run_all(["costs"], range(2), jobs=1)
    assert kept.read_text().count("\n") == 4, "nothing was run again"
    runs = [run for world in found["costs"].values() for run in world]
    assert [run["Molt"] for run in runs].count("kept") == 1
    assert "| world |" in "\n".join(
        decisions.tables({"costs": decisions.run_all(["costs"], range(1, 2), 1)["costs"]})
    )
