"""Run tokens say what a gateway signed, and nothing else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.link.tokens import TRACEPARENT, InvalidToken, Run, Runs, Traces, claim, verify

KEY = b"k" * 32
NOW = 1_800_000_000.0
PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"

names = st.text(min_size=1, max_size=30)


@given(names, names, st.sampled_from(["live", "shadow"]), st.sampled_from(["", "0a1b"]))
def test_a_token_says_what_was_signed_whatever_the_names(rollout: str, agent: str, mode, subject):
    runs = Runs(KEY, lifetime_seconds=60)
    run = runs.new_id()
    token = runs.token(run, claim(rollout, agent, "candidate", mode), NOW, subject)
    assert re.fullmatch(rb"[!-~]+", token)
    expected = Run(run, rollout, agent, "candidate", mode, int(NOW) + 60, subject or None)
    assert verify(token, KEY, NOW) == expected
    assert verify(token.decode(), KEY, NOW + 59) == expected


@given(st.data())
def test_a_changed_token_is_refused(data: st.DataObject):
    token = Runs(KEY).token("run", claim("r", "guest", "candidate", "live"), NOW)
    at = data.draw(st.integers(0, len(token) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != token[at]))
    changed = token[:at] + bytes([byte]) + token[at + 1 :]
    with pytest.raises(InvalidToken):
        verify(changed, KEY, NOW)


@given(st.one_of(st.text(), st.binary()))
def test_anything_else_is_refused(token: str | bytes):
    with pytest.raises(InvalidToken):
        verify(token, KEY, NOW)


def test_another_key_is_refused():
    token = Runs(KEY).token("run", claim("r", "guest", "candidate", "live"), NOW)
    with pytest.raises(InvalidToken):
        verify(token, b"j" * 32, NOW)


def test_an_expired_token_is_refused():
    token = Runs(KEY, 60).token("run", claim("r", "guest", "candidate", "live"), NOW)
    with pytest.raises(InvalidToken, match="expired"):
        verify(token, KEY, NOW + 60)


def test_run_ids_never_repeat_not_even_in_another_process():
    one, other = Runs(KEY), Runs(KEY)
    ids = [runs.new_id() for runs in (one, other) for _ in range(1000)]
    assert len(set(ids)) == 2000


def parent(inbound: bytes | None) -> tuple[bytes, bytes]:
    """The value of the header that goes on, and the trace's id."""
    line, trace = Traces().parent(inbound)
    name, value = line.removesuffix(b"\r\n").split(b": ")
    assert name == b"traceparent"
    assert TRACEPARENT.fullmatch(value)
    return value, trace


def test_an_inbound_trace_goes_on_in_a_new_span():
    value, trace = parent(PARENT)
    version, same, span, sampled = value.split(b"-")
    assert (version, same, sampled) == (b"00", PARENT[3:35], b"00")
    assert span != PARENT[36:52]
    assert trace == same


def test_a_trace_of_a_later_version_goes_on():
    later = b"01" + PARENT[2:] + b"-more"
    assert parent(later)[1] == PARENT[3:35]


@pytest.mark.parametrize(
    "bad",
    [
        None,
        b"",
        b"garbage",
        PARENT.upper(),
        PARENT + b"-more",
        b"ff" + PARENT[2:],
        b"00-" + b"0" * 32 + PARENT[35:],
        PARENT[:36] + b"0" * 16 + PARENT[52:],
        PARENT + b"\r\nx-molt-run: forged",
    ],
)
def test_anything_else_begins_a_new_trace(bad: bytes | None):
    value, trace = parent(bad)
    assert value.endswith(b"-01")
    assert trace != PARENT[3:35]
    assert trace == value[3:35]
