"""The monitoring checklist: each item a check that runs, over real HTTP where it is about HTTP."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import httpx
import msgspec
from fastapi import APIRouter, Request

from molt.adapters import audit_files
from molt.adapters.playbooks import load_playbook, parse_playbook
from molt.apps.api.auth import Operator, Viewer
from molt.apps.api.models import Plan
from molt.core.errors import OperatorError, Refused
from molt.core.playbook import Playbook
from molt.core.runbook import anchors, hash_in, problems, runbook
from molt.ports import Notice

router = APIRouter(prefix="/api/v1", tags=["checklist"])

SECONDS: Final = 30.0
"""What one check may take."""
GOOD_FOR: Final = timedelta(hours=24)
DASHBOARD: Final = "/console/analytics"


class Item(msgspec.Struct, frozen=True):
    """One item: whether it holds, and what was seen."""

    name: str
    passed: bool
    proof: str
    seconds: float = 0.0


class Look(NamedTuple):
    """What a check gets: who asks, and the plan that is to be started."""

    request: Request
    playbook: Playbook

    @property
    def state(self) -> Any:
        """The application's parts."""
        return self.request.app.state

    def http(self) -> httpx.AsyncClient:
        """A client of this very server, as the person who asks."""
        host, port = self.request.scope["server"]
        host = f"[{host}]" if ":" in host else host
        kept = ("authorization", "cookie")
        headers = {k: v for k, v in self.request.headers.items() if k in kept}
        return httpx.AsyncClient(
            base_url=f"http://{host}:{port}", headers=headers, timeout=SECONDS, trust_env=False
        )


class NotHeld(Exception):
    """The check says no; the message is what was seen."""


async def _dashboard(look: Look) -> str:
    async with look.http() as http:
        answer = await http.get(DASHBOARD)
    if answer.status_code != 200 or "<h1" not in answer.text:
        raise NotHeld(f"{DASHBOARD} answered {answer.status_code}")
    took = answer.elapsed.total_seconds() * 1000
    return f"{DASHBOARD} answered in {took:.0f} ms, {len(answer.content)} bytes"


async def _stream(look: Look) -> str:
    """Put an event on the stream, and wait until it comes out at the other end."""
    nonce = secrets.token_hex(8)
    began = 0.0
    async with look.http() as http, http.stream("GET", "/api/v1/stream") as answer:
        if answer.status_code != 200:
            raise NotHeld(f"/api/v1/stream answered {answer.status_code}")
        async for line in answer.aiter_lines():
            if not began:
                began = time.perf_counter()
                look.state.hub.send("preflight", {"nonce": nonce})
            if nonce in line:
                took = (time.perf_counter() - began) * 1000
                return f"an event travelled /api/v1/stream in {took:.0f} ms"
    raise NotHeld("/api/v1/stream ended before the event came")


async def _export(look: Look) -> str:
    """Write a record, export it, and verify the chain."""
    nonce = secrets.token_hex(8)
    now = look.state.clock.now()
    look.state.audit.append({"at": now, "kind": "preflight", "reason": nonce})
    look.state.audit.flush()
    await look.state.store.save_heads([look.state.audit.head()])
    query = {
        "start": (now - timedelta(minutes=5)).isoformat(),
        "end": (now + timedelta(seconds=5)).isoformat(),
    }
    async with look.http() as http:
        answer = await http.get("/api/v1/audit/export", params=query)
    if answer.status_code != 200:
        raise NotHeld(f"the export answered {answer.status_code}")
    if nonce not in answer.text:
        raise NotHeld("a record that was just written is not in the export")
    report = await audit_files.prove(look.state.audit_dir, look.state.store)
    found = report.as_data()
    if not found.get("ok", not found.get("bad")):
        raise NotHeld(f"the audit log does not verify: {found}")
    return (
        f"records exported: {len(answer.text.splitlines())}, a fresh one among them; chain verified"
    )


async def _alerts(look: Look) -> str:
    title = "Molt: a test of the alerts, nothing to do"
    body = f"Asked for by the checklist of {look.playbook.name}."
    notifier = getattr(look.state.alerts, "inner", look.state.alerts)
    delivery = await notifier.notify(Notice("critical", title, body, "preflight"))
    if not delivery.delivered:
        raise NotHeld(f"the test notification did not arrive: {delivery.detail}")
    return f"test notification {delivery.detail}"


async def _runbook(look: Look) -> str:
    own = look.state.runbook
    if own is None:
        text, where = runbook(look.playbook), "made by Molt from the plan"
    else:
        try:
            text, where = own.read_text("utf-8"), str(own)
        except OSError as error:
            raise NotHeld(f"{own}: {error.strerror}") from None
    if wrong := problems(text, look.playbook):
        raise NotHeld(f"{where}: {'; '.join(wrong)}. `molt runbook` makes a current one")
    sections = len(anchors(look.playbook))
    return f"{where}: plan {(hash_in(text) or '')[:12]}, {sections} sections"


async def _cost(look: Look) -> str:
    cost = look.playbook.cost
    if cost.budget_per_1000 is None:
        raise NotHeld("no budget: set cost.budget_per_1000 in the playbook or in molt.yaml")
    triggers = [t for t in look.playbook.triggers if t.kind == "cost"]
    if not triggers:
        raise NotHeld("the playbook has no trigger on cost")
    cap = f", ${cost.spend_cap_per_day:g} a day" if cost.spend_cap_per_day else ""
    return (
        f"budget ${cost.budget_per_1000:g} for 1,000 requests{cap}; alerts at 50, 80, 100% and before "
        f"an overrun; {triggers[0].action.replace('_', ' ')} above {triggers[0].above:g}x projected"
    )


CHECKS: Final[Mapping[str, Callable[[Look], Awaitable[str]]]] = {
    "analytics_dashboard": _dashboard,
    "monitoring_stream": _stream,
    "audit_export": _export,
    "alerts_configured": _alerts,
    "runbook_current": _runbook,
    "cost_alerts_set": _cost,
}


async def run(look: Look) -> list[Item]:
    """Every item of the plan's checklist, in its order."""
    return [await _one(name, look) for name in look.playbook.checklist]


async def _one(name: str, look: Look) -> Item:
    check = CHECKS.get(name)
    if check is None:
        known = ", ".join(CHECKS)
        return Item(name, False, f"no check of this name; known: {known}. Waive it with a reason")
    began = time.perf_counter()
    try:
        async with asyncio.timeout(SECONDS):
            passed, proof = True, await check(look)
    except NotHeld as error:
        passed, proof = False, str(error)
    except TimeoutError:
        passed, proof = False, f"no answer within {SECONDS:g} s"
    except (httpx.HTTPError, OSError) as error:
        passed, proof = False, f"{type(error).__name__}: {error}"
    return Item(name, passed, proof, round(time.perf_counter() - began, 3))


# --- what was found last, and whether a rollout may start


def plan_of(body: Plan) -> Playbook:
    """The plan that a body names or carries. Raises `OperatorError`."""
    if body.playbook_yaml:
        return parse_playbook(body.playbook_yaml, "playbook_yaml")
    return load_playbook(body.playbook)


def with_own_money(playbook: Playbook, state: Any) -> Playbook:
    """The plan with the operator's own budget over the playbook's."""
    return playbook.with_money(state.cost)


class Found(msgspec.Struct, frozen=True):
    """The last run of the checklist for one plan."""

    playbook: str
    playbook_hash: str
    at: str
    by: str
    items: list[Item]


@router.post("/preflight")
async def preflight(body: Plan, request: Request, caller: Operator) -> dict[str, Any]:
    """Run the checklist for a plan; `passed` says whether a rollout of it may start."""
    playbook = with_own_money(plan_of(body), request.app.state)
    return shown(await check(request, playbook, caller.name))


async def check(request: Request, playbook: Playbook, by: str) -> Found:
    """Run the checklist for a plan and keep what was found."""
    items = await run(Look(request, playbook))
    now = request.app.state.clock.now()
    found = Found(playbook.name, playbook.hash(), now.isoformat(), by, items)
    await request.app.state.store.set_setting(_key(playbook), msgspec.json.encode(found).decode())
    return found


@router.get("/preflight")
async def last_preflight(
    request: Request, _: Viewer, playbook: str = "wf-11"
) -> dict[str, Any] | None:
    """What the checklist found last for a plan that ships with Molt; null when it never ran."""
    plan = with_own_money(load_playbook(playbook), request.app.state)
    found = await last(request.app.state, plan)
    return shown(found) if found else None


def shown(found: Found) -> dict[str, Any]:
    """A run of the checklist as plain data."""
    return msgspec.to_builtins(found) | {"passed": all(item.passed for item in found.items)}


async def last(state: Any, playbook: Playbook) -> Found | None:
    """What the checklist found last for this very plan."""
    text = await state.store.setting(_key(playbook))
    return msgspec.json.decode(text, type=Found) if text else None


async def refuse_unchecked(state: Any, playbook: Playbook, waived: tuple[str, ...]) -> None:
    """Raise `OperatorError` unless every item of the checklist passed lately or is waived."""
    unknown = [name for name in waived if name not in playbook.checklist]
    if unknown:
        listed = ", ".join(playbook.checklist) or "none"
        raise OperatorError(f"Not on the checklist: {', '.join(unknown)}. Its items: {listed}")
    found = await last(state, playbook)
    now = state.clock.now()
    fresh = found is not None and now - datetime.fromisoformat(found.at) < GOOD_FOR
    passed = {item.name for item in found.items if item.passed} if found and fresh else set()
    open_items = [n for n in playbook.checklist if n not in passed and n not in waived]
    if not open_items:
        return
    why = {item.name: item.proof for item in found.items} if found and fresh else {}
    lines = "; ".join(f"{n} ({why[n]})" if n in why else n for n in open_items)
    raise Refused(
        f"The checklist has not passed: {lines}. Run `molt preflight`, mend what it says, or waive "
        "items with a reason: molt start --waive ITEM --reason TEXT"
    )


def _key(playbook: Playbook) -> str:
    return f"preflight:{playbook.hash()}"
