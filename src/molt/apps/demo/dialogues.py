"""Real dialogues played in shadow: what was recorded as done is held against what the agent would do.

Guests speak the recorded sentences through Molt to the existing system; the agent gets copies. What
the recording says was done is reported as control's actions, request by request, so that the
comparison is that of any rollout: `POST /api/v1/actions`, by the request's trace.
"""

import asyncio
import gzip
import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from molt.adapters.playbooks import as_yaml, load_playbook
from molt.apps.demo.stage import Stage
from molt.core.errors import OperatorError
from molt.core.playbook import Playbook

ROLLOUT: Final = "dialogues"
AT_ONCE: Final = 8
"""Conversations under way at the same time."""
THINK_SECONDS: Final = 0.5
"""What a guest takes for the next sentence: the agent's copy of the last one is done by then."""
PATIENCE: Final = 120.0
"""Seconds without progress after which the comparison is given up."""
LOOK_SECONDS: Final = 0.5

View = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """A guest's sentence, and what was done about it, as tools of the bar with their arguments."""

    text: str
    done: tuple[tuple[str, View], ...]


def load(path: Path, most: int | None = None) -> list[tuple[Turn, ...]]:
    """The dialogues of a JSON Lines file (.gz or not), at most so many.

    Raises `OperatorError` with file and line for what is no dialogue.
    """
    found: list[tuple[Turn, ...]] = []
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if most is not None and len(found) >= most:
                break
            try:
                turns = tuple(_turns(json.loads(line)))
            except (ValueError, KeyError, TypeError) as error:
                raise OperatorError(
                    f"{path}:{number}: not a dialogue: {error!r}; expected turns with calls"
                ) from None
            if turns:
                found.append(turns)
    if not found:
        raise OperatorError(f"{path}: no dialogue in it")
    return found


def _turns(dialogue: View) -> Iterator[Turn]:
    ordered: dict[str, View] = {}
    for turn in dialogue["turns"]:
        text = turn["text"].strip()
        if turn["speaker"] == "user" and text:
            calls = [c for call in turn.get("calls", []) for c in _actions(call, ordered)]
            yield Turn(text, tuple(calls))


def _actions(call: View, ordered: dict[str, View]) -> Iterator[tuple[str, View]]:
    """A recorded call as what the bar's tools would be called with; look-ups are no actions.

    `ordered` remembers what was ordered by its recorded id, so that a change of it can be told as
    the bar does it: out with the old line, in with a new one.
    """
    request, response = _object(call.get("request")), _object(call.get("response"))
    match call.get("api"):
        case "add_order_item":
            line = {
                "item_id": _item(str(request.get("menu_item_id", ""))),
                "quantity": request.get("quantity", 1),
                "options": _options(request),
                "notes": request.get("notes", ""),
            }
            ordered[str(response.get("order_item_id"))] = line
            yield "add_to_cart", line
        case "update_order_item":
            old = ordered.get(str(request.get("order_item_id")), {})
            new = old | {"options": [*old.get("options", []), *_options(request)]}
            yield "remove_from_cart", {}
            yield "add_to_cart", new
        case "finish_order":
            yield "place_order", {}
        case _:
            return


def _object(value: Any) -> View:
    """Some recorded requests are damaged JSON texts: of those only the call itself counts."""
    return value if isinstance(value, dict) else {}


def _item(recorded: str) -> str:
    """`chai latte-3489` is the bar's `chai-latte`."""
    recorded = recorded.strip()
    name, _, number = recorded.rpartition("-")
    return (name if number.isdigit() else recorded).strip().lower().replace(" ", "-")


def _options(request: View) -> list[str]:
    """Attributes by what was chosen (`Oat Milk`), add-ons by their own name: to them is only said
    `ADD`."""
    chosen = [o for o in _list(request.get("attributes")) if isinstance(o, dict)]
    added = [o for o in _list(request.get("addons")) if isinstance(o, dict)]
    names = [_item(str(o.get("addon_id", ""))).replace("-", " ") for o in added]
    return [
        *(str(o.get("option", "")) for o in chosen),
        *(name.removesuffix(" sweetener") for name in names),
    ]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def shadow_playbook(limit: str = "80%") -> Playbook:
    """The demo's plan, held in shadow, with control's actions from reports alone."""
    data = load_playbook("wf-11-demo").as_data()
    step = {"share": 0, "hold": "1h", "gates": [{"kind": "shadow_agreement", "above": limit}]}
    comparison = data["comparison"] | {
        "actions_from": "reports",
        "settle": "2s",
        "keep_pairs": 100_000,
        # What a recording cannot know: the ids of this bar, and what the guest was asked for there.
        "ignore_arguments": ["venue_id", "cart_id", "line_id", "order_type", "table_no", "name"],
    }
    phases = [{"name": "shadow", "steps": [step]}]
    return Playbook.model_validate(
        data | {"name": ROLLOUT, "phases": phases, "comparison": comparison}
    )


class Played:
    """One run: plays the dialogues on a stage, and waits until all pairs are compared."""

    def __init__(self, stage: Stage, told: Callable[[str], None]) -> None:
        self._stage = stage
        self._told = told
        self._api = httpx.AsyncClient(
            base_url=f"{stage.api}/api/v1",
            headers={"authorization": f"Bearer {stage.token}"},
            timeout=30,
            trust_env=False,
        )
        self._guest = httpx.AsyncClient(timeout=30, trust_env=False)
        self.turns = 0
        self.failed = 0

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.aclose()
        await self._guest.aclose()

    async def run(self, dialogues: list[tuple[Turn, ...]]) -> View:
        """The summary of the comparison, with the worst pairs under `worst`."""
        body = {"playbook_yaml": as_yaml(shadow_playbook()), "rollout": ROLLOUT}
        answer = await self._api.post(
            "/rollouts", json=body | {"reason": "dialogues", "waive": ["all"]}
        )
        answer.raise_for_status()
        await self._shadow_is_on()
        places = asyncio.Semaphore(AT_ONCE)
        self._told(f"Playing {len(dialogues)} dialogues in shadow ...")
        async with asyncio.TaskGroup() as group:
            for number, turns in enumerate(dialogues):
                group.create_task(self._converse(number, turns, places))
        found = await self._compared()
        worst = await self._get(f"/rollouts/{ROLLOUT}/shadow", limit=5, sort="worst")
        return found | {
            "dialogues": len(dialogues),
            "turns": self.turns,
            "requests_failed": self.failed,
            "worst": worst["pairs"],
        }

    async def _shadow_is_on(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            flags = await self._get("/flags")
            version = flags["flags"]["version"]
            gateways = flags["gateways"].values()
            if gateways and all(g["version"] >= version for g in gateways):
                return
            await asyncio.sleep(LOOK_SECONDS / 5)
        raise OperatorError("the gateway did not take up the rollout; see its log")

    async def _converse(
        self, number: int, turns: tuple[Turn, ...], places: asyncio.Semaphore
    ) -> None:
        """One guest's dialogue; each has an own user, so that limits see what they would in life."""
        async with places:
            session = f"dialogue-{number}-{secrets.token_hex(4)}"
            for turn in turns:
                trace = secrets.token_hex(16)
                await self._say(turn.text, session, trace)
                await self._report(turn, trace)
                await asyncio.sleep(THINK_SECONDS)

    async def _say(self, text: str, session: str, trace: str) -> None:
        context = {"venue_id": "venue-1", "table_no": "4", "user_id": f"guest of {session}"}
        body = {"message": text, "agent_type": "guest", "session_id": session, "context": context}
        answer = await self._guest.post(
            f"{self._stage.gateway}/functions/v1/agent-chat",
            json=body,
            headers={"traceparent": f"00-{trace}-{trace[:16]}-01"},
        )
        self.turns += 1
        self.failed += answer.is_error

    async def _report(self, turn: Turn, trace: str) -> None:
        body = [
            {"id": f"{trace}-{i}", "tool": tool, "arguments": arguments, "trace": trace}
            for i, (tool, arguments) in enumerate(turn.done)
        ]
        if body:
            (await self._api.post("/actions", json=body)).raise_for_status()

    async def _compared(self) -> View:
        """The summary, once every turn has been compared, or nothing more comes."""
        self._told(f"{self.turns} sentences said; comparing ...")
        seen, since = -1, time.monotonic()
        while True:
            found = await self._get(f"/rollouts/{ROLLOUT}/shadow/summary")
            done = found["all"]["pairs"]
            waits = self.turns - self.failed - done - found["dropped"]
            if (waits <= 0 and not found["pending"]) or time.monotonic() - since > PATIENCE:
                return found
            if done != seen:
                seen, since = done, time.monotonic()
            await asyncio.sleep(LOOK_SECONDS)

    async def _get(self, path: str, **query: Any) -> Any:
        answer = await self._api.get(path, params=query)
        answer.raise_for_status()
        return answer.json()
