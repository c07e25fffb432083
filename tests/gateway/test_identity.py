"""Who is asking: rules in order, and nothing is found where nothing is."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.core.errors import OperatorError
from molt.gateway.identity import PROFILES, Identity, Rules, Who, profiles

from .world import JSON, chat, exchange


def one(rule: str, **request) -> str | None:
    """What a single rule finds."""
    return Identity(Rules(agent=(rule,))).who(exchange(**request)).agent


@pytest.mark.parametrize(
    ("rule", "request_", "found"),
    [
        ("header:X-Agent", {"headers": {"x-agent": "guest"}}, "guest"),
        ("header:x-agent", {"headers": {"x-agent": "  "}}, None),
        ("header:x-agent", {"headers": {}}, None),
        ("header:x-agent", {"headers": {"x-agent": "Jürgen"}}, "Jürgen"),
        ("cookie:agent", {"headers": {"cookie": "a=1; agent=guest; b=2"}}, "guest"),
        ("cookie:agent", {"headers": {"cookie": 'agent="guest"'}}, "guest"),
        ("cookie:agent", {"headers": {"cookie": "my_agent=guest"}}, None),
        ("query:agent", {"target": b"/x?a=1&agent=bar%20manager"}, "bar manager"),
        ("query:agent", {"target": b"/x?agent="}, None),
        ("query:agent", {"target": b"/agent=guest"}, None),
        ("path:/agents/{agent}/", {"target": b"/agents/guest/v1/chat"}, "guest"),
        ("path:/agents/{agent}/", {"target": b"/agents/a%2Fb/v1?x=/agents/c/"}, "a/b"),
        ("path:/agents/{agent}/", {"target": b"/agents/guest"}, None),
        ("path:/agents/{agent}", {"target": b"/agents/guest"}, "guest"),
        ("path:/agents/{agent}", {"target": b"/agents/guest/v1"}, "guest"),
        ("path:/agents/{agent}/", {"target": b"/api/agents/guest/"}, None),
        ("path:/v1/a.+nts/([a-z]+)$", {"target": b"/v1/agents/guest?q"}, "guest"),
        ("path:/v[0-9]{1,2}/(x)", {"target": b"/v12/x"}, "x"),
        ("const:guest", {}, "guest"),
        ("body:agent", {"body": {"agent": "guest"}}, "guest"),
        ("body:agent", {"body": {"agent": 17}}, "17"),
        ("body:agent", {"body": {"agent": True}}, None),
        ("body:agent", {"body": {"agent": None}}, None),
        ("body:agent", {"body": {"agent": ["guest"]}}, None),
        ("body:agent", {"body": {"agent": "x" * 257}}, None),
        ("body:a.b.c", {"body": {"a": {"b": {"c": "deep"}}}}, "deep"),
        ("body:a.b.c", {"body": {"a": {"b": "shallow"}}}, None),
        ("body:a.b", {"body": {"a": None}}, None),
        ("body:user-id", {"body": {"user-id": "u"}}, "u"),
        ("body:agent", {"body": b"{not json"}, None),
        ("body:agent", {"body": b"[1, 2]"}, None),
        ("body:agent", {"body": b'{"agent": "\\ud800"}'}, None),
        ("body:agent", {"body": b'{"agent": "\xff"}'}, None),
        ("body:agent", {"body": None}, None),
    ],
)
def test_a_rule_finds_what_it_says(rule, request_, found):
    assert one(rule, **request_) == found


def test_the_first_rule_that_finds_something_counts():
    rules = Rules(agent=("header:x-a", "query:a", "const:c"))
    identity = Identity(rules)
    assert identity.who(exchange(headers={"x-a": "1"}, target=b"/?a=2")).agent == "1"
    assert identity.who(exchange(headers={}, target=b"/?a=2")).agent == "2"
    assert identity.who(exchange(headers={}, target=b"/")).agent == "c"


def test_one_odd_field_does_not_hide_the_others():
    rules = Rules(("body:a.b",), ("body:u",), ("body:c.d.e",))
    body = {"a": [1], "u": "user", "c": {"d": {"e": "s"}}}
    assert Identity(rules).who(exchange(body=body)) == Who(None, "user", "s")


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("abcu"), inner),
)


def plainly(value: object, path: str) -> str | None:
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if type(value) is int:
        return str(value)
    return value if isinstance(value, str) and 0 < len(value) <= 256 else None


@given(json)
def test_fields_of_any_json_are_read_as_a_plain_walk_would(value: object):
    rules = Rules(("body:a.b",), ("body:u",), ("body:a.c.a",))
    try:
        body = msgspec.json.encode(value)
        read = msgspec.json.decode(body)
    except (UnicodeEncodeError, msgspec.DecodeError):
        return
    who = Identity(rules).who(exchange(body=body))
    assert who == Who(plainly(read, "a.b"), plainly(read, "u"), plainly(read, "a.c.a"))


# --- profiles


def test_agent_chat_names_everything_in_the_body():
    identity = Identity(profiles(["agent-chat"]))
    assert identity.who(chat("u1", "s1")) == Who("guest", "u1", "s1")


def test_a_subject_that_is_not_named_is_the_session():
    identity = Identity(profiles(["agent-chat"]))
    assert identity.who(chat(None, "s1")) == Who("guest", "s1", "s1")
    assert identity.who(chat(None, None)) == Who("guest", None, None)


def test_openai_finds_the_agent_in_the_path():
    identity = Identity(profiles(["openai"]))
    request = exchange(
        target=b"/agents/guest/v1/chat/completions",
        headers=JSON | {"x-session-id": "s1"},
        body={"model": "m", "user": "u1", "messages": []},
    )
    assert identity.who(request) == Who("guest", "u1", "s1")


def test_anthropic_finds_the_subject_in_the_metadata():
    identity = Identity(profiles(["anthropic"]))
    request = exchange(
        target=b"/agents/guest/v1/messages", body={"metadata": {"user_id": "u1"}, "messages": []}
    )
    assert identity.who(request) == Who("guest", "u1", None)


def test_profiles_together_speak_every_dialect_on_one_port():
    identity = Identity(profiles(PROFILES))
    assert identity.who(chat("u1", "s1")) == Who("guest", "u1", "s1")
    openai = exchange(target=b"/agents/admin/v1/chat/completions", body={"user": "u2"})
    assert identity.who(openai) == Who("admin", "u2", None)
    named = exchange(target=b"/agents/admin/v1/x", headers={"x-session-id": "s"}, body={})
    assert identity.who(named).subject == "s"


def test_own_rules_come_before_those_of_profiles():
    rules = Rules(subject=("cookie:uid",)).then(profiles(["agent-chat"]))
    request = chat("u1")
    request.headers += [b"cookie", b": ", b"uid=mine", b"\r\n"]
    assert Identity(rules).who(request).subject == "mine"


# --- when the body is needed


def test_the_body_is_held_back_only_where_it_can_tell_something():
    identity = Identity(profiles(["agent-chat"]))
    assert identity.wants_body(exchange())
    assert identity.wants_body(exchange(headers={"content-type": "application/vnd.x+json"}))
    assert not identity.wants_body(exchange(method=b"GET"))
    assert not identity.wants_body(exchange(headers={"content-type": "text/plain"}))
    assert not identity.wants_body(exchange(headers={}))


def test_the_body_is_not_held_back_when_earlier_rules_have_found_everything():
    rules = Rules(("header:x-a", "body:a"), ("header:x-u", "body:u"), ("header:x-s",))
    identity = Identity(rules)
    assert not identity.wants_body(exchange(headers=JSON | {"x-a": "1", "x-u": "2"}))
    assert identity.wants_body(exchange(headers=JSON | {"x-a": "1"}))


def test_rules_without_a_body_never_hold_it_back():
    assert not Identity(Rules(("header:x-a",))).wants_body(exchange())


# --- mistakes


@pytest.mark.parametrize(
    "rule",
    ["", "agent", "header:", "head:x", "body:", "path:/x", "path:(a)(b)", "path:(", "session",
     "path:/{a}/{b}/"],
)  # fmt: skip
def test_a_rule_that_cannot_be_understood_says_so(rule: str):
    with pytest.raises(OperatorError, match="identity"):
        Identity(Rules(agent=(rule,)))


def test_fields_that_contradict_each_other_say_so():
    for rules in (("body:a", "body:a.b"), ("body:a.b", "body:a")):
        with pytest.raises(OperatorError, match="read itself"):
            Identity(Rules(agent=rules))


def test_an_unknown_profile_names_the_known_ones():
    with pytest.raises(OperatorError, match="agent-chat, anthropic, openai"):
        profiles(["open-ai"])
