"""Stopping Molt while people look at it."""

import signal
from contextlib import suppress
from pathlib import Path

import httpx

from .conftest import Molt


def test_a_stop_with_live_pages_open_writes_no_traceback(tmp_path: Path) -> None:
    molt = Molt(tmp_path, "http://127.0.0.1:9", "http://127.0.0.1:9")
    process = molt.serve.process
    with suppress(httpx.TransportError), molt.client.stream("GET", "/stream") as answer:
        pieces = answer.iter_bytes()
        assert next(pieces)
        process.send_signal(signal.SIGTERM)
        for _ in pieces:
            continue
    molt.client.close()
    assert process.wait(30) == 0
    assert process.stderr is not None
    assert "Traceback" not in (process.stderr.read() or b"").decode()
    molt.serve.stop()
