"""Which conversation a request goes on with."""

from molt.apps.demo.bar.dialects import Ask
from molt.apps.demo.bar.sessions import Sessions


class Hand:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_idle_conversation_is_forgotten_and_a_used_one_is_kept():
    clock = Hand()
    sessions = Sessions(clock, ttl=100.0)
    first = sessions.find(Ask("guest", "hi", "venue-1", session_id="one"))
    sessions.find(Ask("guest", "hi", "venue-1", session_id="two"))
    clock.now = 90.0
    assert sessions.find(Ask("guest", "hi", "venue-1", session_id="one")) is first
    clock.now = 150.0
    assert sessions.find(Ask("guest", "hi", "venue-1", session_id="one")) is first
    assert len(sessions) == 1
    clock.now = 251.0
    assert sessions.find(Ask("guest", "hi", "venue-1", session_id="one")) is not first


def test_a_session_of_another_agent_type_is_not_gone_on_with():
    sessions = Sessions(Hand())
    guest = sessions.find(Ask("guest", "hi", "venue-1", session_id="one"))
    assert sessions.find(Ask("admin", "hi", "venue-1", session_id="one")) is not guest


def test_memory_is_bounded():
    sessions = Sessions(Hand(), most=10)
    for number in range(50):
        sessions.find(Ask("guest", "hi", "venue-1", session_id=str(number)))
    assert len(sessions) <= 11


def test_two_conversations_with_the_same_words_are_two():
    sessions = Sessions(Hand())
    opening = Ask("guest", "a latte", "venue-1", transcript=())
    first, second = sessions.find(opening), sessions.find(opening)
    for session in (first, second):
        sessions.remember(session, opening, "sure")
    following = Ask(
        "guest", "yes", "venue-1", transcript=(("user", "a latte"), ("assistant", "sure"))
    )
    assert {sessions.find(following).id, sessions.find(following).id} == {first.id, second.id}
    assert sessions.find(following).id not in {first.id, second.id}


def test_only_who_adopts_follows_a_user_under_a_foreign_session_id():
    sessions = Sessions(Hand())
    mine = sessions.find(Ask("guest", "a latte", "venue-1", user="ada"))
    foreign = Ask("guest", "yes", "venue-1", session_id="foreign", user="ada")
    assert sessions.find(foreign, adopt=True) is mine
    assert sessions.find(foreign, adopt=True) is mine
    other = Sessions(Hand())
    theirs = other.find(Ask("guest", "a latte", "venue-1", user="ada"))
    assert other.find(foreign) is not theirs
