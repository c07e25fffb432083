"""Leads the demo: starts the rollout, lets guests in, approves, breaks the agent, sums up."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from molt.adapters.playbooks import as_yaml
from molt.apps.demo.guests import Guests
from molt.apps.demo.stage import Stage, demo_playbook

ROLLOUT = "wf-11-demo"
FAULTS = ("errors", "slow", "down", "forbidden-tool", "cost", "complaints")
FAULT_SHARE = 25
LOOK_SECONDS = 0.25

ENDS = {"complete": "complete", "rolled_back": "rolled_back", "aborted": "aborted"}
HALTS = {"halved": "halved", "paused": "paused", "review": "review"}


@dataclass(frozen=True)
class Options:
    """What the demo was asked for."""

    data: Path
    minutes: float = 3.0
    port: int = 8080
    dialogues: Path | None = None
    fault: str | None = None
    rate: float = 10.0
    users: int = 2000
    seed: int = 11
    ignore_shadow: bool = False


@dataclass
class Show:
    """What can be seen of the demo while it runs."""

    state: dict[str, Any] = field(default_factory=dict)
    news: list[str] = field(default_factory=list)
    requests: int = 0
    failed: int = 0
    orders: int = 0


class Director:
    """One run of the demo."""

    def __init__(self, options: Options, stage: Stage, look: Callable[[Show], None]) -> None:
        self._options = options
        self._stage = stage
        self._look = look
        self._client = httpx.AsyncClient(
            base_url=f"{stage.api}/api/v1",
            headers={"authorization": f"Bearer {stage.token}"},
            timeout=10,
        )
        self.guests = Guests(
            url=stage.gateway,
            api=stage.api,
            token=stage.token,
            dialogues=options.dialogues,
            rate=options.rate * FIRST_SHARE,
            users=options.users,
            seed=options.seed,
        )
        self.show = Show()
        self._broken = False
        self._approver = ""

    async def run(self) -> dict[str, Any]:
        """Play the whole demo; the summary."""
        plan = demo_playbook(self._options.minutes)
        started = time.monotonic()
        text = as_yaml(plan)
        checked = await self._post("/preflight", {"playbook_yaml": text})
        open_items = [item["name"] for item in checked["items"] if not item["passed"]]
        await self._post(
            "/rollouts",
            {
                "playbook_yaml": text,
                "rollout": ROLLOUT,
                "reason": f"demo; waived: {', '.join(open_items) or 'nothing'}",
                "salt": f"demo-{self._options.seed}",
                "waive": open_items,
            },
        )
        self._approver = await self._second_person()
        visiting = asyncio.create_task(self.guests.run())
        try:
            outcome = await self._watch(started + self._options.minutes * 60 * PATIENCE + 60)
        finally:
            await self.guests.stop()
            await asyncio.wait([visiting])
        return await self._summary(outcome, time.monotonic() - started)

    async def close(self) -> None:
        """Let go of the control API."""
        await self._client.aclose()

    async def _second_person(self) -> str:
        """A token for the one who approves: nobody approves a climb that they began."""
        new = {"name": "demo-product-owner", "role": "approver", "expires_in_days": 1}
        return (await self._post("/tokens", new | {"reason": "demo"}))["token"]

    async def _watch(self, deadline: float) -> str:
        began = time.monotonic()
        while time.monotonic() < deadline:
            self.show.state = await self._get(f"/rollouts/{ROLLOUT}")
            self.show.requests = self.guests.requests
            self.show.failed = self.guests.failed_for_users
            self.show.orders = self.guests.orders
            self._look(self.show)
            opened = min(
                1.0, (FIRST_SHARE * WARM_SECONDS + time.monotonic() - began) / WARM_SECONDS
            )
            rate = self._options.rate * opened
            self.guests.rate = conversations(rate, self.show.state, self._broken)
            ended = self._ended(self.show.state)
            if ended:
                return ended
            await self._play_operator(self.show.state)
            await asyncio.sleep(LOOK_SECONDS)
        return "timeout"

    def _ended(self, state: dict[str, Any]) -> str | None:
        if state["phase"] == "rolled_back" and _procedure_open(state):
            return None
        halt = state["halt"]["kind"] if state["halt"] else None
        return ENDS.get(state["phase"]) or (HALTS.get(halt) if self._broken and halt else None)

    async def _play_operator(self, state: dict[str, Any]) -> None:
        """Approve when all else has passed; break the agent at the step for it."""
        waiting = [g["name"] for g in state["gates"] if g["verdict"] != "pass"]
        if waiting == ["approval"]:
            await self._post(
                f"/rollouts/{ROLLOUT}/approve",
                {"reason": "the numbers look right"},
                token=self._approver,
            )
            self.show.news.append(
                "approved by the demo's product owner: all other gates had passed"
            )
        if (
            self._options.fault
            and not self._broken
            and state["phase"] == "progressive"
            and state["traffic_percent"] == FAULT_SHARE
        ):
            self._broken = True
            await self._stage.break_agent(self._options.fault)
            self.show.news.append(f"fault injected into the agent: {self._options.fault}")

    async def _get(self, path: str) -> Any:
        answer = await self._client.get(path)
        answer.raise_for_status()
        return answer.json()

    async def _post(self, path: str, body: dict[str, Any], token: str | None = None) -> Any:
        headers = {"authorization": f"Bearer {token}"} if token else None
        answer = await self._client.post(path, json=body, headers=headers)
        if answer.is_error:
            raise RuntimeError(f"{path}: {answer.json().get('detail', answer.text)}")
        return answer.json()

    async def _summary(self, outcome: str, seconds: float) -> dict[str, Any]:
        state = await self._get(f"/rollouts/{ROLLOUT}")
        history = await self._get(f"/rollouts/{ROLLOUT}/history")
        tools = await self._stage.stats("bar-tools")
        existing = await self._stage.stats("existing-system")
        model = await self._stage.stats("agent-model")
        incident = state["incidents"][0] if state["incidents"] else None
        return {
            "outcome": outcome,
            "phase": state["phase"],
            "traffic_percent": state["traffic_percent"],
            "steps": steps_of(history),
            "trigger": incident["trigger"] if incident else None,
            "action": incident["action"] if incident else None,
            "time_to_safe_ms": await self._time_to_safe(history),
            "orders": tools["orders"] + existing["orders"],
            "orders_by_agent": tools["orders"],
            "orders_by_shadow_runs": tools["orders_by_shadow_runs"],
            "model_calls": model["calls"],
            "requests": self.guests.requests,
            "requests_failed_for_users": self.guests.failed_for_users,
            "failures": list(self.guests.recent_failures),
            "incident": incident,
            "seconds": round(seconds, 1),
        }

    async def _time_to_safe(self, history: list[dict[str, Any]]) -> float | None:
        """From the last look at which the trigger's condition was not true yet to the last request
        handed to the agent: at most this long was the agent still asked. Null without a rollback."""
        if not any(e["type"] == "RolledBack" for e in history):
            return None
        opened = next(e for e in history if e["type"] == "IncidentOpened")
        began = _instant(opened["quiet_until"] or opened["at"])
        gateways = (await self._get("/flags"))["gateways"].values()
        last = [g["last_candidate"].get(ROLLOUT) for g in gateways]
        times = [_instant(at) for at in last if at]
        return round(max(0.0, (max(times) - began).total_seconds() * 1000), 1) if times else 0.0


WARM_SECONDS, FIRST_SHARE = 20.0, 0.1
"""Guests come gradually: an agent that is not warm yet would make all of the first ones wait, and the
shadow step would judge it by them."""
AGENT_WORK, MOST_CONVERSATIONS, USUAL_MS = 6.0, 4.0, 300.0


def conversations(rate: float, state: dict[str, Any], broken: bool = False) -> float:
    """Conversations a second that a small machine can serve, `rate` when the agent does all the work.

    A request costs the agent about six times what it costs the existing system, so there may be
    more guests, up to four times as many, while few of them reach the agent: canary steps need them.
    When the services get slow without a fault, the machine is too busy, and guests stay away.
    """
    asked = 1.0 if state["phase"] == "shadow" else state["traffic_percent"] / 100
    spare = (1 + AGENT_WORK) / (1 + AGENT_WORK * asked)
    arms = [state["arms"]["control"], *([] if broken else [state["arms"]["candidate"]])]
    slowness = max(arm["p95_ms"] or 0 for arm in arms) / USUAL_MS
    return rate * min(MOST_CONVERSATIONS, spare) / max(1.0, slowness)


PATIENCE = 2.5
"""How many times its planned length the demo may take before it gives up waiting for gates."""


def _procedure_open(state: dict[str, Any]) -> bool:
    return any(i["procedure"] and len(i["steps"]) < 5 for i in state["incidents"])


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


LEAVING = frozenset({"StepEntered", "Completed", "RolledBack", "Aborted", "Halved"})


def steps_of(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every step with when it was entered and left, and the rulings with which it was left."""
    steps: list[dict[str, Any]] = []
    for event in history:
        if event["type"] in LEAVING and steps and steps[-1]["left"] is None:
            steps[-1] |= {"left": event["at"], "rulings": event.get("rulings", [])}
        if event["type"] == "StepEntered":
            steps.append(
                {
                    "phase": event["phase"],
                    "share": event["share"],
                    "entered": event["at"],
                    "left": None,
                    "rulings": [],
                }
            )
    return steps
