"""Real clients through the gateway, in every phase."""

import httpx
import openai
import pytest
from tests.e2e.conftest import Molt, Process, quick, until

from molt.core.playbook import Playbook

PHASES = {
    "shadow": [{"name": "shadow", "steps": [{"share": 0, "hold": "1h"}]}],
    "canary": [{"name": "canary", "steps": [{"share": 5, "hold": "1h"}]}],
    "progressive": [{"name": "progressive", "steps": [{"share": 50, "hold": "1h"}]}],
}


def in_phase(name: str) -> Playbook:
    return Playbook.model_validate(quick().as_data() | {"phases": PHASES[name]})


def sdk(molt: Molt) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{molt.gateway}/agents/guest/v1", api_key="any", max_retries=0, timeout=20
    )


def ask_both_ways(molt: Molt, user: str) -> None:
    """A JSON answer and a streamed one, as a user of the SDK would get them."""
    with sdk(molt) as client:
        whole = client.chat.completions.create(
            model="bar", user=user, messages=[{"role": "user", "content": "Show me your beers"}]
        )
        assert "pilsner" in (whole.choices[0].message.content or "").lower()
        assert whole.usage is not None
        stream = client.chat.completions.create(
            model="bar",
            user=user,
            stream=True,
            stream_options={"include_usage": True},
            messages=[{"role": "user", "content": "Show me your beers"}],
        )
        chunks = list(stream)
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert "pilsner" in text.lower()
        assert chunks[-1].usage is not None


@pytest.mark.parametrize("phase", PHASES)
def test_the_openai_sdk_works_json_and_streaming_in_each_phase(molt: Molt, phase: str) -> None:
    molt.begin(in_phase(phase))
    for user in ("anna", "ben", "cleo"):
        ask_both_ways(molt, user)


def test_the_openai_sdk_works_on_the_agent_and_after_a_rollback(molt: Molt) -> None:
    molt.begin(quick(100))
    ask_both_ways(molt, "anna")
    arms = until(lambda: _seen(molt, "candidate", 2), what="both requests counted")
    assert arms["candidate"]["cost"] > 0
    assert molt.post("/rollouts/r/rollback", reason="test").status_code == 200
    molt.settled()
    ask_both_ways(molt, "anna")


def _seen(molt: Molt, arm: str, requests: int) -> dict:
    arms = molt.state()["arms"]
    return arms if arms[arm]["requests"] >= requests else {}


def test_users_are_split_as_molt_assign_says_and_stay_where_they_are(molt: Molt) -> None:
    molt.begin(quick(50), salt="e2e")
    for n in range(20):
        user = f"user-{n}"
        says = molt.client.get("/assign", params={"agent": "guest", "subject": user}).json()
        for _ in range(2):
            answer = molt.ask("Show me your beers", user)
            assert answer.status_code == 200
            assert answer.headers["x-molt-arm"] == says["arm"]


def test_a_conversation_remembers_through_the_gateway(molt: Molt) -> None:
    molt.begin(quick(100))
    first = molt.ask("Show me your beers").json()
    second = molt.ask("Add one of those to my cart", session_id=first["session_id"])
    assert "cart" in second.json()["content"].lower()
    assert [c["tool"] for c in second.json()["tool_calls"]].count("add_to_cart") == 1


def test_in_shadow_the_agent_runs_beside_and_orders_nothing(
    molt: Molt, bar: dict[str, Process]
) -> None:
    before = httpx.get(f"{bar['bar-tools'].url}/stats").json()
    molt.begin(in_phase("shadow"))
    session = molt.ask("I would like a latte").json()["session_id"]
    molt.ask("Yes, that is all", session_id=session)
    until(
        lambda: molt.state()["arms"]["candidate"]["requests"] >= 2, what="two shadow observations"
    )
    after = httpx.get(f"{bar['bar-tools'].url}/stats").json()
    assert after["orders"] == before["orders"]
    assert after["orders_by_shadow_runs"] == 0


def test_an_agent_type_no_rollout_covers_goes_to_control_untouched(molt: Molt) -> None:
    molt.begin(quick(100))
    answer = molt.ask("hello", agent="nobody")
    assert answer.status_code == 400
    assert "guest" in answer.text


def test_more_than_the_limit_is_429_with_retry_after(molt: Molt) -> None:
    molt.begin(quick(0.01, limits={"rate_limit_per_minute": 3}))
    answers = [molt.ask("Show me your beers", "eager") for _ in range(5)]
    assert [a.status_code for a in answers].count(429) == 2
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert molt.ask("Show me your beers", "somebody-else").status_code == 200


def test_without_a_rollout_everything_is_control(molt: Molt) -> None:
    answer = molt.ask("Show me your beers")
    assert answer.status_code == 200
    assert answer.headers.get("x-molt-arm", "control") == "control"
