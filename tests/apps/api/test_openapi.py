"""The whole API against its own OpenAPI document: nothing that is sent makes a server error."""

from collections.abc import Callable, Iterator

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from tests.apps.cli.conftest import PLAYBOOK, TOKENS, Server

from molt.link.tokens import verify

ENDLESS = frozenset({"/api/v1/stream"})
"""What never ends cannot be asked for its whole answer."""

HEADERS = {"authorization": f"Bearer {TOKENS['admin']}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server that has a rollout `r`."""
    running = Server(tmp_path_factory.mktemp("api"))
    running.start()
    running.app.state.verify_run = lambda token, now: verify(token, b"k" * 32, now)
    start = {"playbook_yaml": PLAYBOOK, "rollout": "r"}
    answer = requests.post(
        f"{running.url}/api/v1/rollouts", json=start, headers=HEADERS, timeout=20
    )
    assert answer.status_code == 201, answer.text
    yield running
    running.stop()


def asking(
    seen: set[int], cases: SearchStrategy[schemathesis.Case], rollout: str = "r"
) -> Callable[[], None]:
    """A property that sends generated requests about `rollout` and notes their status."""

    @settings(
        max_examples=5,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    @given(case=cases)
    def ask(case: schemathesis.Case) -> None:
        if "rollout" in (case.path_parameters or {}):
            case.path_parameters["rollout"] = rollout
        seen.add(case.call(headers=HEADERS, timeout=30).status_code)

    return ask


def test_no_request_makes_a_server_error(server: Server):
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    tried: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path in ENDLESS:
            continue
        seen = tried.setdefault(f"{operation.method.upper()} {operation.path}", set())
        asking(seen, operation.as_strategy())()
    failed = {name: codes for name, codes in tried.items() if any(c >= 500 for c in codes)}
    assert not failed
    assert len(tried) > 40
    let_in = [name for name, codes in tried.items() if codes - {401, 403}]
    assert len(let_in) >= len(tried) - 1, "all but the agents' own report take an operator's token"


def test_what_is_asked_of_a_rollout_that_there_is_not_is_not_found(server: Server):
    """As the document says; a body that is no good may be refused first."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    tried: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        if "{rollout}" in operation.path:
            assert "404" in operation.definition.raw["responses"], operation.path
            seen = tried.setdefault(f"{operation.method.upper()} {operation.path}", set())
            asking(seen, operation.as_strategy(), "nowhere")()
    assert len(tried) > 15
    assert set().union(*tried.values()) <= {404, 422}
    never = [name for name, codes in tried.items() if 404 not in codes]
    assert not never


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/rollouts/nowhere"),
        ("post", "/rollouts/nowhere/rollback"),
        ("get", "/incidents/nowhere"),
        ("post", "/alerts/nowhere/ack"),
        ("get", "/rollouts/r/shadow/pairs/nowhere"),
    ],
)
def test_what_is_not_found_is_named(server: Server, method: str, path: str):
    url = f"{server.url}/api/v1{path}"
    json = {} if method == "post" else None
    answer = requests.request(method, url, json=json, headers=HEADERS, timeout=20)
    assert answer.status_code == 404
    assert "'nowhere'" in answer.json()["detail"]


def test_a_body_that_names_an_unknown_rollout_is_a_bad_body(server: Server):
    body = {"id": "o1", "subject": "u", "kind": "order_completed", "rollout": "nowhere"}
    url = f"{server.url}/api/v1/outcomes"
    answer = requests.post(url, json=body, headers=HEADERS, timeout=20)
    assert answer.status_code == 422
    assert "No rollout 'nowhere'" in answer.text


def test_the_document_says_which_calls_take_a_token_and_they_do(server: Server):
    """Without that, `/docs` has no place to enter one, and no form of it can be used."""
    document = requests.get(f"{server.url}/openapi.json", timeout=20).json()
    schemes = document["components"]["securitySchemes"]
    assert schemes["token"]["scheme"] == "bearer"
    open_to_all = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if not operation["security"]:
                open_to_all.add(path)
                continue
            url = server.url + path.replace("{", "").replace("}", "")
            refused = {401} if operation["security"] == [{"token": []}] else {401, 422}
            assert requests.request(method, url, timeout=20).status_code in refused, path
    assert open_to_all == {"/metrics", "/api/v1/health"}
    assert document["paths"]["/api/v1/runs/calls"]["post"]["security"] == [{"run": []}]
