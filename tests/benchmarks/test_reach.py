"""The table of figures to reach says what the runs say."""

from benchmarks.reach import reached


def climb(verdict: str, hours: float, lost: float) -> dict[str, object]:
    return {"verdict": verdict, "hours": hours, "lost": lost}


def test_a_measure_is_met_by_the_worst_of_its_worlds_and_peers_stand_beside():
    world = {
        "healthy, 50,000 users": [{"Molt": climb("promoted", 408, 0)}] * 20,
        "healthy, 5,000 users": [{"Molt": climb("promoted", 408, 0)}] * 9
        + [{"Molt": climb("rolled_back", 9, 0)}],
    }
    peers = {name: [{"peeked z-test": climb("rolled_back", 3, 0)}] * 10 for name in world}
    lines = list(reached({"climbs": world, "peers": peers}))
    healthy = next(line for line in lines if line.startswith("| healthy candidate rolled back"))
    assert "| <= 5% | 10% |" in healthy
    assert "| 100% |" in healthy
    assert healthy.endswith("| **no** | 20 / 10 |")
    promoted = next(line for line in lines if line.startswith("| healthy promoted"))
    assert promoted.endswith("| yes | 20 / 10 |")


def test_what_is_lost_until_the_decision_stands_in_its_own_column():
    late = [{"Molt": climb("rolled_back", 61, 250)}, {"Molt": climb("asked", 90, 350)}]
    lines = list(reached({"climbs": {"-5% on one metric, 50,000 users": late}}))
    assert any("| 61 h |" in line and "| 300 | **no** | 2 |" in line for line in lines)
    never = [{"Molt": climb("promoted", 408, 9)}]
    lines = list(reached({"climbs": {"-5% on one metric, 50,000 users": never}}))
    assert any("| never |" in line and "**no**" in line for line in lines)


def test_promotions_without_data_are_counted_from_the_shipped_scenario():
    runs = [{"verdict": "inconclusive"}] * 3
    lines = list(reached({"scenarios": {"no-data": runs}}))
    assert any(line.startswith("| promotions without data | 0 | 0 |") for line in lines)
    assert not list(reached({}))
