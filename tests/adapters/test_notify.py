"""Notices reach a real HTTP target, are tried again in bounds, and never get lost in silence."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from structlog.testing import capture_logs

from molt.adapters.clocks import VirtualClock
from molt.adapters.notify import DELAYS, AppriseNotifier, LogNotifier, notifier
from molt.adapters.problems import ConfigError
from molt.ports import Notice

NOTICE = Notice("critical", "rolled back to 0%", "error rate <9%> & rising", "i-1", "http://x/i-1")


class Target(ThreadingHTTPServer):
    """An HTTP server that keeps what it is told; `answers` are its next statuses, then 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[dict[str, object]] = []
        self.answers: list[int] = []

    @property
    def url(self) -> str:
        return f"json://user:secret@127.0.0.1:{self.server_address[1]}/hook"


class Handler(BaseHTTPRequestHandler):
    server: Target

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        status = self.server.answers.pop(0) if self.server.answers else 200
        if status == 200:
            self.server.got.append(json.loads(body))
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def target() -> Iterator[Target]:
    with Target() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_a_notice_reaches_its_target(target: Target) -> None:
    delivery = await notifier({"critical": (target.url,)}, VirtualClock()).notify(NOTICE)
    assert (delivery.delivered, delivery.attempts) == (True, 1)
    assert target.got[0]["title"] == "rolled back to 0%"
    assert target.got[0]["message"] == "error rate <9%> & rising\nhttp://x/i-1"
    assert target.got[0]["type"] == "failure"
    assert "secret" not in delivery.detail
    assert "sent to json://user:****@127.0.0.1:" in delivery.detail


async def test_a_target_that_fails_is_tried_again_after_growing_waits(target: Target) -> None:
    target.answers = [500, 503]
    clock = VirtualClock()
    async with clock.running():
        delivery = await AppriseNotifier({"critical": (target.url,)}, clock).notify(NOTICE)
    assert (delivery.delivered, delivery.attempts) == (True, 3)
    assert clock.monotonic() == DELAYS[0] + DELAYS[1]
    assert len(target.got) == 1


async def test_after_its_last_attempt_a_notice_is_kept_as_undelivered(target: Target) -> None:
    target.answers = [500] * 9
    clock = VirtualClock()
    sender = AppriseNotifier({"critical": (target.url,)}, clock)
    async with clock.running():
        delivery = await sender.notify(NOTICE)
    assert (delivery.delivered, delivery.attempts) == (False, 1 + len(DELAYS))
    assert "500" in delivery.detail
    assert clock.monotonic() == sum(DELAYS)
    assert [kept.notice for kept in sender.undelivered] == [NOTICE]


async def test_one_target_that_has_it_is_enough_and_is_not_told_twice(target: Target) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"json://127.0.0.1:{closed.getsockname()[1]}"
        clock = VirtualClock()
        async with clock.running():
            sender = AppriseNotifier({"critical": (dead, target.url)}, clock)
            delivery = await sender.notify(NOTICE)
    assert delivery.delivered
    assert "failed for json://127.0.0.1:" in delivery.detail
    assert len(target.got) == 1
    assert not sender.undelivered


async def test_a_severity_without_targets_of_its_own_uses_the_next_lower(target: Target) -> None:
    sender = AppriseNotifier({"info": (), "warning": (target.url,), "critical": ()}, VirtualClock())
    assert (await sender.notify(NOTICE)).delivered
    quiet = await sender.notify(Notice("info", "at 5%", "", "k"))
    assert not quiet.delivered
    assert "no target configured for info" in quiet.detail
    assert len(target.got) == 1


async def test_without_any_target_the_notice_is_in_the_log_and_undelivered() -> None:
    sender = notifier({"critical": ()}, VirtualClock())
    assert isinstance(sender, LogNotifier)
    with capture_logs() as logs:
        delivery = await sender.notify(NOTICE)
    assert not delivery.delivered
    assert delivery.detail.startswith("no on-call target configured")
    assert (logs[0]["log_level"], logs[0]["title"]) == ("critical", "rolled back to 0%")


def test_a_url_that_is_none_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError, match=r"notify\.critical\.0: is not a URL") as caught:
        notifier({"critical": ("nonsense://token-123/",)}, VirtualClock())
    assert "token-123" not in str(caught.value)
