"""The stream of what goes by, and the page of one run."""

import json
from datetime import timedelta

from tests.apps.console.conftest import Browser, Server

from molt.apps.console.waterfall import waterfall

GATEWAY = {"authorization": "Bearer gateway-key"}


def test_a_gateways_sample_and_every_fact_come_by_in_one_stream(
    server: Server, begun: Browser
) -> None:
    with begun.http.stream("GET", "/console/monitoring/stream") as answer:
        lines = answer.iter_lines()
        next(lines)
        row = {"at": "2026-01-01T00:00:00Z", "kind": "request", "verdict": "ok", "run": "r1"}
        batch = {
            "gateway": "g1",
            "sequence": 1,
            "sent_at": "2026-01-01T00:00:00Z",
            "applied": 1,
            "requests": [row],
            "offered": 40,
        }
        sent = begun.http.post("/gateway/v1/batches", json=batch, headers=GATEWAY)
        assert sent.status_code == 204, sent.text
        begun.send("/console/rollouts/tiny/pause", reason="look")
        found: dict[str, dict[str, object]] = {}
        kind = ""
        for line in lines:
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                found[kind] = json.loads(line.removeprefix("data: "))
            if {"requests", "event"} <= found.keys():
                break
    assert found["requests"] == {"gateway": "g1", "offered": 40, "rows": [row]}
    assert found["event"]["type"] == "Paused"


def test_a_run_is_shown_from_its_records_and_an_unknown_one_says_so(
    server: Server, begun: Browser
) -> None:
    server.record(
        kind="request", run="abc", method="POST", path="/chat", status=200, latency_ms=120.0,
        arm="candidate", mode="live", agent="guest", tokens_in=10, tokens_out=5, cost=0.01,
    )  # fmt: skip
    page = begun.get("/console/runs/abc").text
    assert "POST /chat → candidate" in page
    assert "$0.0100" in page
    assert "Nothing is known of this run" in begun.get("/console/runs/other").text
    at = (server.clock.now() - timedelta(days=3)).isoformat()
    assert (
        "Look through the last 24 hours" in begun.get("/console/runs/abc", params={"at": at}).text
    )


def test_calls_stand_where_they_happened_and_count_once() -> None:
    request = {
        "at": "2026-01-01T00:00:01.000Z", "kind": "request", "latency_ms": 1000.0, "arm": "candidate",
        "status": 200, "tokens_in": 1, "tokens_out": 1, "method": "POST", "path": "/c",
    }  # fmt: skip
    call = {
        "id": "c1", "at": "2026-01-01T00:00:00.750Z", "kind": "model", "name": "m", "latency_ms": 500.0,
        "disposition": "read", "tokens_in": 100, "tokens_out": 20, "cost": 0.5,
    }  # fmt: skip
    twin = {"id": "c1", "at": call["at"], "kind": "model_call", "latency_ms": 500.0, "model": "m"}
    picture = waterfall([request, twin], [call])
    assert picture is not None
    assert [(b.kind, b.start_ms, b.x, b.width) for b in picture.bars] == [
        ("request", 0.0, 0.0, 1000.0),
        ("model", 250.0, 250.0, 500.0),
    ]
    assert picture.totals["tokens_in"] == 100
    assert picture.totals["cost"] == 0.5
    assert waterfall([], []) is None
