"""Conversations keep their arm; each is counted once, whichever way it is known."""

import pytest

from molt.core.assignment import CANDIDATE, CONTROL
from molt.gateway.pins import Conversation, Pins

IDLE = 1800.0


@pytest.fixture
def pins() -> Pins:
    return Pins(IDLE)


def test_a_session_is_one_conversation_until_it_is_idle(pins: Pins):
    first, begins = pins.find("guest", "s1", "u1", 0.0)
    assert begins
    first.arm = CONTROL
    again, begins = pins.find("guest", "s1", "u1", IDLE)
    assert again is first
    assert not begins
    later, begins = pins.find("guest", "s1", "u1", 2 * IDLE + 1)
    assert begins
    assert later.arm is None


def test_a_conversation_that_goes_on_never_ends(pins: Pins):
    first, _ = pins.find("guest", "s1", "u1", 0.0)
    for turn in range(1, 10):
        again, begins = pins.find("guest", "s1", "u1", turn * 0.9 * IDLE)
        assert again is first
        assert not begins


def test_sessions_of_one_subject_are_conversations_of_their_own(pins: Pins):
    one, _ = pins.find("guest", "s1", "u1", 0.0)
    one.arm = CONTROL
    other, begins = pins.find("guest", "s2", "u1", 1.0)
    assert begins
    assert other.arm is None


def test_agents_do_not_share_conversations(pins: Pins):
    one, _ = pins.find("guest", "s1", "u1", 0.0)
    other, begins = pins.find("admin", "s1", "u1", 0.0)
    assert other is not one
    assert begins


def test_without_sessions_the_subject_is_the_conversation(pins: Pins):
    first, begins = pins.find("guest", None, "u1", 0.0)
    again, begins_again = pins.find("guest", None, "u1", 10.0)
    assert (again, begins, begins_again) == (first, True, False)
    _, begins_later = pins.find("guest", None, "u1", 10.0 + IDLE + 1)
    assert begins_later


def test_a_session_named_by_the_answer_goes_on_with_the_first_turn(pins: Pins):
    first, _ = pins.find("guest", None, "u1", 0.0)
    first.arm = CANDIDATE
    pins.name("guest", "s1", first, 1.0)
    second, begins = pins.find("guest", "s1", "u1", 2.0)
    assert second is first
    assert not begins


def test_a_session_whose_naming_was_missed_takes_over_the_first_turn(pins: Pins):
    first, _ = pins.find("guest", None, "u1", 0.0)
    first.arm = CONTROL
    second, begins = pins.find("guest", "s1", "u1", 2.0)
    assert (second.arm, begins) == (CONTROL, False)


def test_after_a_session_took_over_a_turn_without_one_begins_the_next_conversation(pins: Pins):
    pins.find("guest", None, "u1", 0.0)
    pins.find("guest", "s1", "u1", 1.0)
    following, begins = pins.find("guest", None, "u1", 2.0)
    assert begins
    assert following.arm is None


def test_two_first_turns_before_either_session_are_two_conversations_on_one_arm(pins: Pins):
    first, _ = pins.find("guest", None, "u1", 0.0)
    first.arm = CONTROL
    _, one = pins.find("guest", None, "u1", 0.5)
    _, two = pins.find("guest", "s1", "u1", 1.0)
    last, three = pins.find("guest", "s2", "u1", 1.5)
    assert [one, two, three] == [False, False, True]
    assert last.arm == CONTROL


def test_a_turn_of_nobody_is_found_again_only_by_the_session_its_answer_names(pins: Pins):
    first, begins = pins.find("guest", None, None, 0.0)
    assert begins
    other, _ = pins.find("guest", None, None, 0.0)
    assert other is not first
    first.arm = CONTROL
    pins.name("guest", "s1", first, 0.1)
    again, begins = pins.find("guest", "s1", "s1", 1.0)
    assert again is first
    assert not begins


def test_a_conversation_is_named_once(pins: Pins):
    conversation = Conversation(0.0, CONTROL)
    pins.name("guest", "s1", conversation, 0.0)
    pins.name("guest", "s2", conversation, 0.0)
    _, begins = pins.find("guest", "s2", None, 0.0)
    assert begins


def test_a_new_idle_time_holds_at_once(pins: Pins):
    pins.find("guest", "s1", "u1", 0.0)
    pins.idle_after(10.0)
    _, begins = pins.find("guest", "s1", "u1", 11.0)
    assert begins


def test_memory_is_bounded_whatever_sessions_are_made_up():
    pins = Pins(IDLE, most=100)
    for number in range(5_000):
        pins.find("guest", f"made up {number}", "u1", number / 1000)
        pins.sweep()
    assert len(pins) <= 200
