"""Coming back: violations, a dead agent, a dead controller, in every place."""

import contextlib
import json
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, islice
from pathlib import Path

import httpx
import pytest
from tests.e2e.conftest import Molt, Process, bar_service, quick, until

STEPS = ["disable", "clear_rate_limits", "notify_on_call", "preserve_logs", "document_timeline"]


def steps_done(molt: Molt) -> list[str]:
    return [e["step"] for e in molt.events("ProcedureStepDone")]


def finished(molt: Molt) -> bool:
    return steps_done(molt) == STEPS


def kill_control(molt: Molt) -> None:
    """kill -9 of the controller, and wait until the supervisor has brought a new one."""
    old = molt.control_pid()
    os.kill(old, signal.SIGKILL)
    until(lambda: molt.control_pid() not in (0, old), what="a new controller")
    until(lambda: _answers(molt), what="the new controller answers")


def _answers(molt: Molt) -> bool:
    try:
        return molt.client.get("/health").status_code == 200
    except httpx.HTTPError:
        return False


def test_a_forbidden_tool_call_ends_at_zero_with_the_whole_procedure_done(
    molt: Molt, bar: dict[str, Process]
) -> None:
    molt.begin(quick(100))
    agent = bar["agent-chat"].url
    httpx.post(f"{agent}/_fault", json={"kind": "forbidden-tool"}).raise_for_status()
    try:
        molt.ask("Show me your beers")
        until(lambda: molt.state()["phase"] == "rolled_back", what="rolled back")
    finally:
        httpx.post(f"{agent}/_fault", json={"kind": None}).raise_for_status()
    opened = molt.events("IncidentOpened")[0]
    assert opened["trigger"] == "violation"
    assert opened["action"] == "roll_back"
    assert (opened["detail"]["agent"], opened["detail"]["tool"]) == ("guest", "approval_resolve")
    until(lambda: finished(molt), what="the whole procedure")
    assert molt.ask("Show me your beers").headers["x-molt-arm"] == "control"
    folder = molt.data / "incidents" / opened["incident"]
    assert "violation" in (folder / "timeline.md").read_text()
    assert list((folder / "logs").rglob("*.jsonl*"))
    assert "MOLTBOT_ENABLED=false" in (molt.data / "flags.env").read_text()


def test_a_violation_reported_by_the_users_systems_counts_at_once(molt: Molt) -> None:
    molt.begin(quick(100))
    answer = molt.post("/violations", id="v1", agent="guest", tool="delete_everything")
    assert answer.json() == {"accepted": True, "phase": "rolled_back"}
    again = molt.post("/violations", id="v1", agent="guest", tool="delete_everything")
    assert again.json()["accepted"] is False


def test_after_a_rollback_nothing_restarts_by_itself_and_a_person_resumes(molt: Molt) -> None:
    molt.begin(quick(100))
    molt.post("/rollouts/r/rollback", reason="test")
    until(lambda: finished(molt), what="the whole procedure")
    refused = molt.post("/rollouts/r/resume", reason="mended")
    assert refused.status_code == 409
    assert "--phase" in refused.json()["detail"]
    assert molt.post("/rollouts/r/resume", reason="mended", phase="progressive").status_code == 200
    molt.settled()
    assert molt.ask("Show me your beers").headers["x-molt-arm"] == "candidate"


def test_a_dead_agent_fails_no_user_and_is_rolled_back(
    tmp_path: Path, bar: dict[str, Process]
) -> None:
    tools = f"{bar['bar-tools'].url}/mcp"
    with bar_service("agent-chat", tmp_path, "--tools", tools, model=bar["agent-model"]) as agent:
        molt = Molt(tmp_path, bar["existing-system"].url, agent.url)
        try:
            molt.begin(quick(100))
            assert molt.ask("Show me your beers").headers["x-molt-arm"] == "candidate"
            agent.kill()

            guests = (f"u{n}" for n in count())  # nobody asks so often as to be limited

            def asked_until_back() -> bool:
                for guest in islice(guests, 5):
                    assert molt.ask("Show me your beers", guest).status_code == 200
                return molt.state()["phase"] == "rolled_back"

            until(asked_until_back, seconds=40, what="rolled back by the error trigger")
            assert molt.events("IncidentOpened")[0]["trigger"] == "error_rate"
        finally:
            molt.stop()


# --- kill -9 of the controller at each step of the procedure


class Blocked:
    """A real obstacle in the way of one step, and how to take it away."""

    def __init__(self, molt: Molt, hook: "OnCall") -> None:
        self.molt = molt
        self.hook = hook

    def disable(self) -> Callable[[], None]:
        path = self.molt.data / "flags.env"
        path.unlink(missing_ok=True)
        path.mkdir()
        return path.rmdir

    def notify_on_call(self) -> Callable[[], None]:
        self.hook.open.clear()
        return self.hook.open.set

    def preserve_logs(self) -> Callable[[], None]:
        return self._file_instead_of_folder(self.molt.data / "incidents")

    def document_timeline(self) -> Callable[[], None]:
        path = self.molt.data / "incidents" / "r-i1" / "timeline.md"
        path.mkdir(parents=True)
        return path.rmdir

    def _file_instead_of_folder(self, path: Path) -> Callable[[], None]:
        path.write_text("in the way")
        return path.unlink


class OnCall:
    """A webhook that answers only when it is open."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.notices: list[dict] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.open.wait(30)
                outer.notices.append(json.loads(body))
                try:
                    self.send_response(200)
                    self.end_headers()
                except OSError:
                    return

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server.server_address[1]}/"


@pytest.fixture
def on_call() -> Iterator[OnCall]:
    hook = OnCall()
    yield hook
    hook.open.set()
    hook.server.shutdown()
    hook.server.server_close()


@pytest.mark.parametrize("step", [s for s in STEPS if s != "clear_rate_limits"])
def test_the_procedure_resumes_at_its_step_after_the_controller_was_killed(
    tmp_path: Path, bar: dict[str, Process], on_call: OnCall, step: str
) -> None:
    existing, agent = bar["existing-system"].url, bar["agent-chat"].url
    molt = Molt(tmp_path, existing, agent, notify={"critical": [on_call.url]})
    try:
        molt.begin(quick(100))
        clear = getattr(Blocked(molt, on_call), step)()
        molt.post("/rollouts/r/rollback", reason="test")
        until(lambda: set(steps_done(molt)) >= set(STEPS[: STEPS.index(step)]), what="up to it")
        assert molt.ask("Show me your beers").headers["x-molt-arm"] == "control"
        kill_control(molt)
        assert step not in steps_done(molt)
        assert molt.state()["phase"] == "rolled_back"
        clear()
        until(lambda: len(steps_done(molt)) == len(STEPS), seconds=40, what="all steps")
        assert sorted(steps_done(molt)) == sorted(STEPS)
        assert on_call.notices
    finally:
        molt.stop()


def test_limits_are_cleared_after_the_controller_was_killed_while_it_waited_for_the_gateways(
    tmp_path: Path, bar: dict[str, Process], on_call: OnCall
) -> None:
    """A gateway that is stopped cannot confirm that it began with fresh limits."""
    existing, agent = bar["existing-system"].url, bar["agent-chat"].url
    molt = Molt(tmp_path, existing, agent, notify={"critical": [on_call.url]})
    gateways = molt.serve.ready["gateway_pids"]
    waits = ["disable", "clear_rate_limits"]
    try:
        molt.begin(quick(100))
        for pid in gateways:
            os.kill(pid, signal.SIGSTOP)
        molt.post("/rollouts/r/rollback", reason="test")
        until(lambda: set(steps_done(molt)) == set(STEPS) - set(waits), what="all others")
        failed = [e["step"] for e in molt.events("ProcedureStepFailed")]
        assert sorted(set(failed)) == sorted(waits)
        kill_control(molt)
        assert not set(waits) & set(steps_done(molt))
        assert molt.state()["phase"] == "rolled_back"
        for pid in gateways:
            os.kill(pid, signal.SIGCONT)
        until(lambda: len(steps_done(molt)) == len(STEPS), seconds=40, what="all steps")
        assert sorted(steps_done(molt)) == sorted(STEPS)
        assert molt.ask("Show me your beers").headers["x-molt-arm"] == "control"
    finally:
        for pid in gateways:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        molt.stop()


def test_a_controller_killed_in_the_middle_of_a_climb_goes_on_where_it_was(molt: Molt) -> None:
    molt.begin(quick(50), salt="e2e")
    users = [f"user-{n}" for n in range(10)]
    arms = {u: molt.ask("Show me your beers", u).headers["x-molt-arm"] for u in users}
    until(lambda: _counted(molt) >= 10, what="all observations counted")
    before = molt.state()
    old = molt.control_pid()
    os.kill(old, signal.SIGKILL)
    for user in users:
        answer = molt.ask("Show me your beers", user)
        assert answer.status_code == 200
        assert answer.headers["x-molt-arm"] == arms[user]
    until(lambda: _answers(molt), what="a new controller")
    after = molt.state()
    assert (after["phase"], after["traffic_percent"], after["epoch"]) == (
        before["phase"],
        before["traffic_percent"],
        before["epoch"],
    )
    until(lambda: _counted(molt) >= 20, what="what was asked meanwhile counted, once")
    assert _counted(molt) == 20


def _counted(molt: Molt) -> int:
    try:
        return sum(arm["requests"] for arm in molt.state()["arms"].values())
    except httpx.HTTPError:
        return -1


def test_a_killed_gateway_is_started_again(molt: Molt) -> None:
    molt.begin(quick(100))
    os.kill(molt.serve.ready["gateway_pids"][0], signal.SIGKILL)

    def served() -> bool:
        try:
            return molt.ask("Show me your beers").status_code == 200
        except httpx.HTTPError:
            return False

    until(served, what="a new gateway")
    assert molt.client.get("/health").status_code == 200


def test_a_locked_store_stops_the_climb_and_no_traffic(molt: Molt) -> None:
    guests = (f"u{n}" for n in count())
    molt.begin(quick(100))
    lock = sqlite3.connect(molt.data / "molt.db", isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")

        def noticed() -> bool:
            """Whoever has nothing to write down does not notice; a guest leaves evidence."""
            assert molt.ask("Show me your beers", next(guests)).status_code == 200
            return molt.client.get("/health").status_code == 503

        until(noticed, what="health says so")
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    until(lambda: molt.client.get("/health").status_code == 200, what="healthy again")


def test_the_flags_file_bounds_the_rollout_and_survives_being_broken(molt: Molt) -> None:
    molt.begin(quick(100))
    flags = molt.data / "flags.env"

    def arm() -> str:
        return molt.ask("Show me your beers", "flagged").headers["x-molt-arm"]

    flags.write_text("MOLTBOT_GUEST_ENABLED=false\n")
    until(lambda: arm() == "control", what="guest disabled")
    flags.write_text("MOLTBOT_GUEST_ENABLED=perhaps\n")
    until(lambda: "flags_file" in molt.state()["alarms"], what="the alarm")
    assert "flags.env:1" in molt.state()["alarms"]["flags_file"]
    assert arm() == "control"
    flags.write_text("MOLTBOT_TRAFFIC_PERCENT=100\n")
    until(lambda: arm() == "candidate", what="mended")
    until(lambda: "flags_file" not in molt.state()["alarms"], what="the alarm is over")
    flags.write_text("SHADOW_MODE=true\n")
    until(lambda: arm() == "control", what="shadow")
