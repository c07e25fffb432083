"""Streams that are open end when whoever follows them may no longer come in."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from tests.apps.cli.conftest import PLAYBOOK, TOKENS, until

ADMIN = {"authorization": f"Bearer {TOKENS['admin']}"}
START = {"playbook_yaml": PLAYBOOK, "rollout": "r", "reason": "for the test"}
STREAMS = ("/api/v1/stream", "/console/rollouts/r/live", "/console/monitoring/stream")


@contextmanager
def followed(http: httpx.Client, path: str) -> Iterator[threading.Event]:
    """Read the stream beside the test; the event is set when it has ended by itself."""
    ended, begun = threading.Event(), threading.Event()

    def read() -> None:
        with http.stream("GET", path) as answer:
            assert answer.status_code == 200
            for _ in answer.iter_bytes():
                begun.set()
        ended.set()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert begun.wait(10)
    yield ended
    thread.join(10)


@pytest.fixture
def started(server):
    url = f"{server.url}/api/v1/rollouts"
    assert httpx.post(url, json=START, headers=ADMIN, trust_env=False).status_code == 201
    return server


def delete(server, path: str) -> None:
    answer = httpx.delete(f"{server.url}/api/v1{path}", headers=ADMIN, trust_env=False)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("path", STREAMS)
def test_a_stream_of_a_token_ends_when_the_token_is_revoked(started, path):
    bearer = {"authorization": f"Bearer {TOKENS['viewer']}"}
    with httpx.Client(base_url=started.url, headers=bearer, trust_env=False, timeout=20) as http:
        with followed(http, path) as ended:
            assert not ended.is_set()
            delete(started, "/tokens/viewer")
            until(ended.is_set)
        assert http.get(path).status_code in (303, 401)


@pytest.mark.parametrize("ending", ["/sessions/operator", "/tokens/operator"])
def test_a_stream_of_a_session_ends_with_the_session_and_with_its_token(started, browser, ending):
    browser.sign_in("operator")
    with followed(browser.http, "/console/rollouts/r/live") as ended:
        delete(started, ending)
        until(ended.is_set)
    assert not browser.signed_in()


def test_a_stream_ends_when_the_session_is_over_by_time_but_not_when_nobody_touches_it(
    started, browser
):
    browser.sign_in("viewer")
    with followed(browser.http, "/console/rollouts/r/live") as ended:
        started.later(hours=2)
        assert not ended.wait(1.5), "a screen on the wall is not used, yet watched"
        started.later(hours=11)
        until(ended.is_set)
