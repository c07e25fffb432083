"""The existing system, as a real process."""

import httpx
from openai import OpenAI


def test_it_takes_an_order_over_several_turns_and_counts_it(existing):
    before = existing.stats()["orders"]
    asked = existing.chat("Hi, could I get a latte for Ada, to go?", "e1").json()
    changed = existing.chat("Actually make that decaf with oat milk", "e1").json()
    placed = existing.chat("Yes, that's right", "e1").json()
    assert set(asked) == {"content", "tool_calls", "usage", "session_id"}
    assert [call["tool"] for call in asked["tool_calls"]] == ["menu_search", "add_to_cart"]
    assert set(asked["tool_calls"][0]) == {"tool", "arguments", "result"}
    assert "Decaf" in changed["content"]
    assert "Oat Milk" in changed["content"]
    assert placed["tool_calls"][-1]["arguments"] == {
        "cart_id": "e1",
        "order_type": "to go",
        "name": "Ada",
    }
    assert "is placed" in placed["content"]
    assert existing.stats()["orders"] == before + 1


def test_it_issues_a_session_id_that_the_conversation_goes_on_with(existing):
    first = existing.chat("A cortado please").json()
    assert first["session_id"]
    assert "is placed" in existing.chat("Yes", first["session_id"]).json()["content"]


def test_a_confirmation_out_of_the_blue_places_nothing(existing):
    answer = existing.chat("Yes, that's right", "e-nothing").json()
    assert "nothing in your cart" in answer["content"]


def test_it_serves_the_other_desks_too(existing):
    for agent, said, tool in [
        ("bar_manager", "Which orders are active?", "get_active_orders"),
        ("bar_manager", "How were sales?", "get_sales_summary"),
        ("admin", "What is pending?", "approval_list_pending"),
        ("ui_orchestrator", "Which venues are there?", "venues_list"),
        ("research", "How is oat milk doing?", "web_research"),
    ]:
        answer = existing.chat(said, f"e-{tool}", agent=agent)
        assert [call["tool"] for call in answer.json()["tool_calls"]] == [tool]


def test_an_unknown_agent_type_is_refused_with_the_known_ones(existing):
    answer = existing.chat("hi", agent="barkeeper")
    assert answer.status_code == 400
    assert "guest" in answer.json()["error"]["known_agent_types"]


def test_requests_without_sense_are_refused_with_a_reason(existing):
    url = f"{existing.url}/functions/v1/agent-chat"
    assert httpx.post(url, content=b"{").status_code == 400
    assert httpx.post(url, json={"agent_type": "guest"}).status_code == 400
    assert httpx.get(f"{existing.url}/nothing").status_code == 404
    assert httpx.get(f"{existing.url}/health").json()["status"] == "ok"


def test_the_openai_sdk_orders_with_nothing_but_its_base_url_changed(existing):
    with OpenAI(base_url=f"{existing.url}/agents/guest/v1", api_key="none") as client:
        messages = [{"role": "user", "content": "A mocha, please"}]
        first = client.chat.completions.create(model="any", messages=messages)
        messages += [{"role": "assistant", "content": first.choices[0].message.content}]
        messages += [{"role": "user", "content": "Perfect"}]
        chunks = list(client.chat.completions.create(model="any", messages=messages, stream=True))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "is placed" in said
    assert first.usage is not None


def test_recorded_dialogues_end_in_an_order_where_they_did(existing, recorded, completion):
    share, false = completion(existing, recorded)
    print(f"existing system: {share:.1%} of recorded orders placed, {false:.1%} orders too many")
    assert share >= 0.97
    assert false <= 0.01
