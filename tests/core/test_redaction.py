"""What may name a person or open a door does not reach the store."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.core.redaction import DEFAULTS, Redactor

REDACTOR = Redactor(DEFAULTS)


@pytest.mark.parametrize(
    ("secret", "mark"),
    [
        ("ann.o-neil@mail.example.org", "[email]"),
        ("+49 170 1234567", "[phone]"),
        ("(020) 7946 0958", "[phone]"),
        ("555-867-5309", "[phone]"),
        ("4111 1111 1111 1111", "[card]"),
        ("5500-0000-0000-0004", "[card]"),
        ("sk-proj-abcdefghijklmnop", "[token]"),
        ("Bearer abcdefghijklmnop", "[token]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl", "[token]"),
    ],
)
def test_a_secret_becomes_its_mark_wherever_it_stands(secret, mark):
    assert REDACTOR.text(f"it is {secret}, thanks") == f"it is {mark}, thanks"
    assert REDACTOR.data({"a": [{"b": secret}], secret: 1}) == {"a": [{"b": mark}], mark: 1}


@pytest.mark.parametrize(
    "harmless",
    [
        "Order O-1012 for $12.50 in 5 minutes",
        "2026-03-02T08:00:00Z",
        "4111 1111 1111 1112",
        "v1.2.3",
    ],
)
def test_what_is_no_secret_stays(harmless):
    assert REDACTOR.text(harmless) == harmless


def test_ids_of_the_asking_person_are_taken_out_short_ones_only_as_whole_values():
    own = REDACTOR.hiding({"subject": "user-17", "session": "7"})
    asked = {"user": "user-17", "cart": "7", "text": "7 lattes for user-17, not user-171"}
    assert own.data(asked) == {
        "user": "[subject]",
        "cart": "[session]",
        "text": "7 lattes for [subject], not user-171",
    }


@given(st.text(max_size=60))
def test_redacting_twice_changes_nothing_more(text):
    once = REDACTOR.text(text)
    assert REDACTOR.text(once) == once
