"""The agent as a real process, with real tools behind MCP."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from openai import BadRequestError, OpenAI

from molt.apps.demo.bar.desks import AGENT_TOOLS


def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition with a deadline."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


class QuietServer(ThreadingHTTPServer):
    """A local HTTP server whose clients may hang up."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that is gone is no fault."""


@dataclass
class Listener:
    """A local HTTP server that keeps what it is sent and answers as it is told."""

    answer: Callable[[dict, dict], tuple[int, dict]]
    got: list[tuple[dict, dict]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    """Starts a listener; `answer(headers, body)` gives status and JSON."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Callable[[dict, dict], tuple[int, dict]]) -> Listener:
        listener = Listener(answer)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                listener.got.append((headers, body))
                status, reply = listener.answer(headers, body)
                content = json.dumps(reply).encode() if status != 204 else b""
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                """Say nothing."""

        server = QuietServer(("127.0.0.1", 0), Handler)
        listener.url = f"http://127.0.0.1:{server.server_address[1]}"
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return listener

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def fault(agent) -> Iterator[Callable[..., httpx.Response]]:
    """Switches a fault of the shared agent on; it is mended at the end."""

    def switch(kind: str | None, **more) -> httpx.Response:
        return httpx.post(f"{agent.url}/_fault", json={"kind": kind, **more})

    yield switch
    switch(None).raise_for_status()


def names(answer: httpx.Response) -> list[str]:
    """The tools an answer says were called."""
    return [call["tool"] for call in answer.json()["tool_calls"]]


def test_a_conversation_remembers_what_was_shown_and_says_what_it_did(agent):
    shown = agent.chat("Show me your beers", "a1").json()
    added = agent.chat("Add one of those to my cart", "a1")
    placed = agent.chat("Yes please", "a1").json()
    assert "Harbour Pilsner" in shown["content"]
    assert names(added) == ["add_to_cart"]
    assert added.json()["tool_calls"][0]["result"]["name"] == "Harbour Pilsner"
    assert "Harbour Pilsner" in added.json()["content"]
    assert "is placed" in placed["content"]


def test_an_answer_has_the_shape_of_the_dialect_and_says_what_was_used_and_done(agent):
    answer = agent.chat("A latte with oat milk", "a2")
    body = answer.json()
    assert set(body) == {"content", "tool_calls", "usage", "session_id"}
    assert body["usage"]["model"] == "gpt-4o-mini"
    assert (
        body["usage"]["total_tokens"]
        == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
    )
    assert body["usage"]["prompt_tokens"] > body["usage"]["completion_tokens"] > 0
    assert answer.headers["x-agent-version"] == "7"
    assert answer.headers["x-agent-tools"] == "menu_search,add_to_cart"
    assert answer.headers["x-agent-actions"] == "add_to_cart"


def test_without_a_venue_it_asks_for_one_and_does_nothing(agent):
    body = {"message": "A latte please", "agent_type": "guest"}
    answer = httpx.post(f"{agent.url}/functions/v1/agent-chat", json=body)
    assert answer.status_code == 200
    assert "venue" in answer.json()["content"]
    assert answer.json()["tool_calls"] == []
    assert answer.headers["x-agent-actions"] == "none"


def test_an_unknown_agent_type_is_refused_with_the_known_ones(agent):
    answer = agent.chat("hi", agent="barkeeper")
    assert answer.status_code == 400
    assert answer.json()["error"]["known_agent_types"] == list(AGENT_TOOLS)
    assert answer.headers["x-agent-version"] == "7"


@pytest.mark.parametrize(
    ("desk", "said", "tool"),
    [
        ("bar_manager", "Show me active orders", "get_active_orders"),
        ("bar_manager", "What were the sales?", "get_sales_summary"),
        ("admin", "What is pending?", "approval_list_pending"),
        ("admin", "Reject A-3", "approval_resolve"),
        ("ui_orchestrator", "List the venues", "venues_list"),
        ("ui_orchestrator", "Find a venue with wifi", "venues_search"),
        ("ui_orchestrator", "Tell me about venue-2", "venues_get"),
        ("ui_orchestrator", "The menu please", "menu_get"),
        ("research", "What do we know about oat milk?", "web_research"),
        ("guest", "What do you recommend?", "get_recommendations"),
        ("guest", "Could a waiter come over?", "call_staff"),
        ("guest", "What is in a cortado?", "get_item_details"),
    ],
)
def test_each_agent_type_works_with_its_own_tools(agent, desk: str, said: str, tool: str):
    answer = agent.chat(said, f"a-{tool}", agent=desk)
    assert names(answer) == [tool]
    assert "error" not in answer.json()["tool_calls"][0]["result"]


def test_the_whole_life_of_an_order_at_the_guests_table(agent):
    said = [
        "A mocha",
        "And a chai latte",
        "Please remove the mocha",
        "What's in my cart?",
        "Yes",
        "Where is my order?",
    ]
    answers = [agent.chat(text, "a-life") for text in said]
    assert names(answers[2]) == ["remove_from_cart"]
    assert "Chai Latte" in answers[3].json()["content"]
    assert "Mocha" not in answers[3].json()["content"]
    assert answers[4].json()["tool_calls"][0]["result"]["total"] == 4.5
    assert names(answers[5]) == ["check_order_status"]


def test_in_shadow_nothing_is_executed_and_everything_is_told(agent, tools):
    before = tools.stats()
    added = agent.chat("Two lattes please", "a3", x_molt_mode="shadow")
    placed = agent.chat("Yes", "a3", x_molt_mode="shadow")
    after = tools.stats()
    assert [call.get("dry_run", False) for call in added.json()["tool_calls"]] == [False, True]
    assert placed.json()["tool_calls"][0]["dry_run"] is True
    assert placed.json()["tool_calls"][0]["result"]["order_id"] == "dry-run"
    assert placed.headers["x-agent-actions"] == "none"
    assert placed.headers["x-agent-tools"] == "place_order"
    assert after["orders"] == before["orders"]
    assert after["calls_by_tool"].get("add_to_cart", 0) == before["calls_by_tool"].get(
        "add_to_cart", 0
    )


def test_what_was_tried_in_shadow_is_not_remembered_live(agent):
    agent.chat("Two lattes please", "a4", x_molt_mode="shadow")
    assert "nothing in your cart" in agent.chat("Yes", "a4").json()["content"]


def test_in_shadow_it_follows_a_user_whose_session_the_other_service_named(agent):
    body = {
        "message": "A latte",
        "agent_type": "guest",
        "context": {"venue_id": "venue-1", "user_id": "u-follow"},
    }
    shadow = {"x-molt-mode": "shadow"}
    url = f"{agent.url}/functions/v1/agent-chat"
    httpx.post(url, json=body, headers=shadow)
    follow = httpx.post(
        url, json={**body, "message": "Yes", "session_id": "named-elsewhere"}, headers=shadow
    )
    assert names(follow) == ["place_order"]


def test_a_sentence_that_comes_before_the_last_answer_waits_for_it(agent, listen):
    may = threading.Event()
    watcher = listen(lambda headers, body: (204, {}) if may.wait(20) else (500, {}))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(agent.chat, "A latte", "a9", x_molt_report=watcher.url, x_molt_run="9")
        until(lambda: bool(watcher.got))
        second = pool.submit(agent.chat, "Yes", "a9")
        early, _ = wait([second], timeout=0.5)
        may.set()
        assert not early
        assert names(first.result())[-1] == "add_to_cart"
        assert "is placed" in second.result().json()["content"]


def test_it_reports_a_writing_call_before_it_acts_and_only_those(agent, tools, listen):
    seen: list[int] = []

    def answer(headers: dict, body: dict) -> tuple[int, dict]:
        seen.append(tools.stats()["calls_by_tool"].get("add_to_cart", 0))
        return 204, {}

    before = tools.stats()["calls_by_tool"].get("add_to_cart", 0)
    watcher = listen(answer)
    agent.chat("A latte", "a5", x_molt_report=f"{watcher.url}/calls", x_molt_run="token-5")
    ((headers, body),) = watcher.got
    assert headers["x-molt-run"] == "token-5"
    assert body["tool"] == "add_to_cart"
    assert body["arguments"]["item_id"] == "latte"
    assert seen == [before], "the report came before the call was executed"
    assert tools.stats()["calls_by_tool"]["add_to_cart"] == before + 1


def test_a_closed_run_executes_nothing_more(agent, tools, listen):
    agent.chat("A latte", "a6")
    before = tools.stats()["orders"]
    watcher = listen(lambda headers, body: (409, {"detail": "run closed"}))
    answer = agent.chat("Yes", "a6", x_molt_report=watcher.url, x_molt_run="token-6")
    assert answer.status_code == 409
    assert answer.headers["x-agent-actions"] == "none"
    assert tools.stats()["orders"] == before
    assert "is placed" in agent.chat("Yes", "a6").json()["content"], "a later run can still act"


def test_an_unreachable_watcher_does_not_stop_the_bar(agent):
    agent.chat("A latte", "a7")
    answer = agent.chat("Yes", "a7", x_molt_report="http://127.0.0.1:9/calls", x_molt_run="token-7")
    assert "is placed" in answer.json()["content"]


def test_in_shadow_nothing_is_reported_since_nothing_is_done(agent, listen):
    watcher = listen(lambda headers, body: (204, {}))
    agent.chat(
        "A latte", "a8", x_molt_mode="shadow", x_molt_report=watcher.url, x_molt_run="token-8"
    )
    assert watcher.got == []


def test_an_agent_that_ignores_shadow_is_found_out_by_the_tool_server(start, tmp_path):
    tools = start("bar-tools")
    agent = start(
        "agent-chat", "--tools", f"{tools.url}/mcp", "--latency-ms", "0", "--ignore-shadow"
    )
    agent.chat("A latte", "i1", x_molt_mode="shadow", x_molt_run="r")
    agent.chat("Yes", "i1", x_molt_mode="shadow", x_molt_run="r")
    assert tools.stats()["orders_by_shadow_runs"] == 1
    assert httpx.post(f"{agent.url}/_fault", json={"kind": "slow"}).status_code == 404, (
        "faults were not allowed"
    )


def test_it_comes_back_when_the_tool_server_does(start):
    tools = start("bar-tools")
    port = tools.url.rsplit(":", 1)[1]
    agent = start("agent-chat", "--tools", f"{tools.url}/mcp", "--latency-ms", "0")
    assert agent.chat("A latte", "c1").status_code == 200
    assert tools.stop() == 0
    broken = agent.chat("And a mocha", "c1")
    assert broken.status_code == 502
    assert (
        "tool" in broken.json()["error"]["message"]
        or "Connection" in broken.json()["error"]["message"]
    )
    start("bar-tools", "--port", port)
    until(lambda: agent.chat("And a mocha", "c1").status_code == 200)
    assert agent.stop() == 0


def test_the_agent_starts_before_its_tools_are_there(start):
    agent = start("agent-chat", "--tools", "http://127.0.0.1:9/mcp", "--latency-ms", "0")
    assert httpx.get(f"{agent.url}/health").json()["model"] == "gpt-4o-mini"
    assert agent.chat("A latte").status_code == 502


def test_errors_strike_a_share_of_requests_before_any_tool_ran(agent, tools, fault):
    fault("errors", share=0.6)
    before = tools.stats()["calls_by_tool"].get("menu_search", 0)
    answers = [agent.chat("Show me your beers", "f1") for _ in range(60)]
    failed = [answer for answer in answers if answer.status_code == 500]
    assert 20 <= len(failed) <= 50
    assert all(answer.headers["x-agent-actions"] == "none" for answer in failed)
    assert tools.stats()["calls_by_tool"]["menu_search"] - before == 60 - len(failed)


def test_slow_adds_its_delay(agent, fault):
    fault("slow", seconds=0.4)
    assert agent.chat("Hello", "f2").elapsed.total_seconds() >= 0.4


def test_the_forbidden_tool_is_really_called_and_told(agent, tools, fault):
    fault("forbidden-tool")
    before = tools.stats()["calls_by_tool"].get("approval_resolve", 0)
    answer = agent.chat("Show me your beers", "f3")
    assert names(answer) == ["approval_resolve", "menu_search"]
    assert answer.headers["x-agent-actions"] == "approval_resolve"
    assert tools.stats()["calls_by_tool"]["approval_resolve"] == before + 1


def test_cost_multiplies_the_tokens(agent, fault):
    plain = agent.chat("Show me your beers", "f4").json()["usage"]["total_tokens"]
    fault("cost")
    assert agent.chat("Show me your beers", "f5").json()["usage"]["total_tokens"] == 10 * plain


def test_complaints_make_it_useless(agent, fault):
    fault("complaints")
    answer = agent.chat("A latte", "f6").json()
    assert answer["content"].startswith("That is not my problem")
    assert answer["tool_calls"] == []


def test_down_ends_the_process_without_a_word(start):
    tools = start("bar-tools")
    agent = start("agent-chat", "--tools", f"{tools.url}/mcp", "--allow-faults")
    assert httpx.post(f"{agent.url}/_fault", json={"kind": "down"}).status_code == 200
    assert agent.process.wait(timeout=10) == 70
    with pytest.raises(httpx.ConnectError):
        agent.chat("hello")


def test_more_runs_than_it_can_work_on_are_refused_before_anything_is_done(start, tools):
    slow = start("agent-model", "--latency-ms", "300")
    agent = start(
        "agent-chat", "--tools", f"{tools.url}/mcp", "--most-runs", "2",
        environ={"OPENAI_BASE_URL": f"{slow.url}/v1"},
    )  # fmt: skip
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: agent.chat("A latte", f"o{n}"), range(8)))
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) >= 4
    assert len(answers) - len(refused) >= 2
    assert all(answer.headers["x-agent-actions"] == "none" for answer in refused)
    assert agent.chat("A latte", "o9").status_code == 200


def test_an_unknown_fault_is_refused_with_the_known_ones(agent, fault):
    answer = fault("gremlins")
    assert answer.status_code == 400
    assert "forbidden-tool" in answer.json()["error"]["message"]


def test_the_openai_sdk_orders_with_nothing_but_its_base_url_changed(agent):
    with OpenAI(base_url=f"{agent.url}/agents/guest/v1", api_key="none") as client:
        messages = [{"role": "user", "content": "An iced mocha, please"}]
        first = client.chat.completions.create(model="gpt-4o-mini", messages=messages)
        messages += [{"role": "assistant", "content": first.choices[0].message.content}]
        messages += [{"role": "user", "content": "Perfect"}]
        last = client.chat.completions.with_raw_response.create(
            model="gpt-4o-mini", messages=messages, user="sdk"
        )
        unknown = pytest.raises(BadRequestError, match="known are guest")
        with unknown:
            OpenAI(
                base_url=f"{agent.url}/agents/nobody/v1", api_key="none"
            ).chat.completions.create(model="x", messages=messages)
    assert first.choices[0].finish_reason == "stop"
    assert first.usage is not None
    assert first.usage.prompt_tokens > 0
    assert first.model_extra is not None
    assert first.model_extra["tool_calls_made"][-1]["tool"] == "add_to_cart"
    assert last.headers["x-agent-tools"] in ("place_order", "view_cart")


def test_the_openai_sdk_goes_on_with_its_own_conversation(agent):
    with OpenAI(base_url=f"{agent.url}/agents/guest/v1", api_key="none") as client:
        conversations = [[{"role": "user", "content": "A cortado please"}] for _ in range(3)]
        for messages in conversations:
            said = (
                client.chat.completions.create(model="m", messages=messages)
                .choices[0]
                .message.content
            )
            messages += [{"role": "assistant", "content": said}, {"role": "user", "content": "Yes"}]
        answers = [
            client.chat.completions.create(model="m", messages=messages)
            for messages in conversations
        ]
    orders = {answer.model_extra["tool_calls_made"][0]["result"]["order_id"] for answer in answers}
    assert len(orders) == 3, "the same words three times are three orders"


def test_the_openai_sdk_streams_text_usage_and_tool_calls(agent):
    messages = [{"role": "user", "content": "A latte with almond milk"}]
    with OpenAI(base_url=f"{agent.url}/agents/guest/v1", api_key="none") as client:
        options = {"include_usage": True}
        with client.chat.completions.create(
            model="m", messages=messages, stream=True, stream_options=options
        ) as stream:
            chunks = list(stream)
        plain = list(client.chat.completions.create(model="m", messages=messages, stream=True))
    text = [
        chunk.choices[0].delta.content
        for chunk in chunks
        if chunk.choices and chunk.choices[0].delta.content
    ]
    assert len(text) > 2
    assert "Almond Milk" in "".join(text)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens > 0
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert [call["tool"] for call in chunks[-2].model_extra["tool_calls_made"]] == [
        "menu_search",
        "add_to_cart",
    ]
    assert all(chunk.usage is None for chunk in plain)


def test_models_and_health_are_told(agent):
    with OpenAI(base_url=f"{agent.url}/v1", api_key="none") as client:
        assert [model.id for model in client.models.list()] == ["gpt-4o-mini"]
    assert httpx.get(f"{agent.url}/health").json()["version"] == "7"


def test_a_real_endpoint_is_asked_when_one_is_named(start, tools, listen):
    def model(headers: dict, body: dict) -> tuple[int, dict]:
        asked = len([m for m in body["messages"] if m["role"] == "tool"])
        call = {
            "name": "menu_search",
            "arguments": json.dumps({"venue_id": "venue-1", "query": "tea"}),
        }
        message: dict = {"role": "assistant", "content": "We have Earl Grey."}
        if not asked:
            message = {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": call}],
            }
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": "stop" if asked else "tool_calls",
        }
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        shape = {"id": "x", "object": "chat.completion", "created": 1, "model": "local-model"}
        return 200, {**shape, "choices": [choice], "usage": usage}

    endpoint = listen(model)
    environ = {
        "OPENAI_BASE_URL": f"{endpoint.url}/v1",
        "OPENAI_API_KEY": "k",
        "OPENAI_MODEL": "local-model",
    }
    options = ("--tools", f"{tools.url}/mcp", "--latency-ms", "0")
    agent = start("agent-chat", *options, environ=environ)
    answer = agent.chat("What teas do you have?", "real").json()
    again = agent.chat("And now?", "real", x_molt_run="v1.run").json()
    offered = {tool["function"]["name"] for tool in endpoint.got[0][1]["tools"]}
    assert answer["content"] == "We have Earl Grey."
    assert [call["tool"] for call in answer["tool_calls"]] == ["menu_search"]
    assert answer["usage"] == {
        "prompt_tokens": 200, "completion_tokens": 20, "total_tokens": 220, "model": "local-model",
    }  # fmt: skip
    assert offered == set(AGENT_TOOLS["guest"])
    assert again["content"]
    assert endpoint.got[-1][0]["x-molt-run"] == "v1.run"  # so that it may be Molt's egress
    assert any(
        m.get("content") == "What teas do you have?" for m in endpoint.got[-1][1]["messages"]
    )


def test_it_completes_as_many_recorded_dialogues_as_the_existing_system(
    agent, existing, recorded, completion
):
    some = recorded[:: max(1, len(recorded) // 150)]
    ours, false = completion(agent, some)
    theirs, _ = completion(existing, some)
    print(f"of recorded orders the agent placed {ours:.1%}, the existing system {theirs:.1%}")
    assert ours >= 0.97
    assert false <= 0.02
    assert abs(ours - theirs) <= 0.03
