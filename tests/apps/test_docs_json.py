"""The page on what `--json` prints names exactly the fields that there are."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.apps.cli.conftest import PLAYBOOK, TOKENS, Server, server

from molt.apps.docs import NOTE
from molt.apps.docs_json import PARTS, RECORD, STATE, json_page
from molt.ports import Delivery

__all__ = ["server"]


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    """An administrator, with a rollout whose approval can be asked for after a minute."""
    headers = {"authorization": f"Bearer {TOKENS['admin']}"}
    text = PLAYBOOK.replace("hold: 1s", "hold: 1m")
    body = {"playbook_yaml": text, "rollout": "tiny", "reason": "test"}
    url = f"{server.url}/api/v1"
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=20) as client:
        assert client.post("/rollouts", json=body).status_code == 201
        yield client


def at(state: dict[str, Any], place: str) -> dict[str, Any]:
    """The part of a state at a place such as `arms.control`; of a list, its first that is there."""
    found: Any = state
    for name in place.split("."):
        found = found[name]
        if isinstance(found, list):
            found = next(x for x in found if "." not in place or x.get(place.split(".")[-1]))
    return found


def test_the_fields_of_a_rollout_are_the_ones_that_the_page_names(
    server: Server, http: httpx.Client
) -> None:
    early = http.get("/rollouts/tiny").json()
    server.later(minutes=2)
    late = http.post("/rollouts/tiny/ask", json={"reason": "all is fine"}).json()
    assert list(early) == list(STATE)
    for place, texts in PARTS.items():
        if place != "alerts_undelivered":
            state = late if place == "approval" else early
            assert set(at(state, place)) == set(texts), place


def test_the_fields_of_an_alert_that_nobody_has_got_are_the_ones_that_the_page_names(
    server: Server, http: httpx.Client
) -> None:
    server.phone.answer = Delivery(False, "no answer", attempts=4)
    http.post("/rollouts/tiny/rollback", json={"reason": "smoke"})
    server.rollbacks_done()
    state = http.get("/rollouts/tiny").json()
    assert set(state["alerts_undelivered"][0]) == set(PARTS["alerts_undelivered"])


def test_every_record_has_the_fields_that_the_page_names(http: httpx.Client) -> None:
    http.post("/rollouts/tiny/rollback", json={"reason": "smoke"})
    page = json_page(NOTE)
    for record in http.get("/rollouts/tiny/history").json():
        assert set(RECORD) <= set(record)
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{record['type']}` |")]
        for name in set(record) - set(RECORD):
            assert f"`{name}` (" in row
    incident = http.get("/incidents/tiny-i1").json()
    told = page.partition("## `molt incident list`")[2]
    assert all(f"`{name}`" in told for name in incident)
