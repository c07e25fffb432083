"""How much evidence a gate still lacks: a forecast that points the right way and never decides."""

from datetime import timedelta

import pytest
from tests.core.gate_world import GATES, HEALTHY, only, world
from tests.core.traffic import Load
from tests.core.world import HOUR

from molt.control.forecast import missing
from molt.core import gates
from molt.core.events import Ruling


def test_a_thin_error_rate_is_on_its_way_and_comes_closer_with_traffic() -> None:
    w = world(GATES["error_rate"]).serve(HOUR, Load(60), HEALTHY)
    early = missing(w.scene, only(w, "error_rate"))
    w.serve(HOUR, Load(60), HEALTHY)
    later = missing(w.scene, only(w, "error_rate"))
    assert early is not None
    assert later is not None
    assert 0 < early["progress"] < later["progress"] < 1
    assert 0 < later["units"] < early["units"]
    assert later["seconds"] < early["seconds"]


def test_the_forecast_is_about_what_it_takes() -> None:
    w = world(GATES["error_rate"]).serve(2 * HOUR, Load(60), HEALTHY)
    told = missing(w.scene, only(w, "error_rate"))
    assert told is not None
    waited = timedelta(0)
    while only(w, "error_rate").verdict == "wait":
        w.serve(HOUR, Load(60), HEALTHY)
        waited += HOUR
    assert told["seconds"] == pytest.approx(waited.total_seconds(), rel=0.6)


def test_what_is_worse_than_its_limit_is_not_on_its_way() -> None:
    w = world(GATES["error_rate"]).serve(HOUR, Load(40), HEALTHY)
    worse = Ruling("error_rate", "wait", "", {"requests": 40, "log_e_below": -2.0})
    assert missing(w.scene, worse) == {"progress": 0.0, "seconds": None, "units": None}


@pytest.mark.parametrize("numbers", [{"requests": 0, "log_e_below": 0.0}, {"log_e_below": 99.0}])
def test_no_evidence_and_enough_of_it_are_not_called_a_bad_sign(numbers: dict[str, float]) -> None:
    """The first has seen nothing yet; the second waits for sight, not for evidence."""
    w = world(GATES["error_rate"]).serve(HOUR, Load(40), HEALTHY)
    assert missing(w.scene, Ruling("error_rate", "wait", "", numbers)) is None


def test_waiting_for_time_says_how_much_of_it_is_left() -> None:
    w = world(GATES["no_rollback"])
    ruling = only(w, "hold")
    told = missing(w.scene, ruling)
    assert told is not None
    assert told["seconds"] == pytest.approx(
        ruling.numbers["hold_s"] - ruling.numbers["held_s"], abs=1
    )


@pytest.mark.parametrize("kind", sorted(GATES))
def test_without_any_evidence_nothing_is_promised(kind: str) -> None:
    w = world(GATES[kind])
    for ruling in gates.rule_all(w.scene):
        told = missing(w.scene, ruling)
        timed = ruling.name in ("hold", "no_rollback", "no_critical_error")
        assert told is None or timed or told["seconds"] is None


def test_a_passed_gate_and_a_persons_approval_lack_no_evidence() -> None:
    w = world(GATES["error_rate"], GATES["approval"]).serve(6 * HOUR, Load(300), HEALTHY)
    assert only(w, "error_rate").verdict == "pass"
    assert missing(w.scene, only(w, "error_rate")) is None
    assert missing(w.scene, only(w, "approval")) is None
