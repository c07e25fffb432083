"""The record of what people do over HTTP: who, when, from where, what, why; and what was refused."""

import json
from typing import Any, Final
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from molt.apps.access.sessions import AGENT_CHARACTERS, SAFE, client_of

SYSTEMS: Final = frozenset(
    {
        "/api/v1/outcomes",
        "/api/v1/outcomes/batch",
        "/api/v1/violations",
        "/api/v1/runs/calls",
    }
)
"""Where systems report all day; what they report is kept elsewhere, so only refusals are recorded."""

ACTS_OF_READING: Final = frozenset({"/api/v1/audit/export"})
WHY: Final = ("reason", "cause", "text", "note")
GIVEN: Final = (
    "name",
    "role",
    "scopes",
    "expires_in_days",
    "everywhere",
    "phase",
    "waive",
    "digest",
    "candidate_version",
    "owner",
    "due",
)
"""What else of a request belongs on record: whom or what it was about."""

GIVEN_CHARACTERS: Final = 200
BODY_BYTES: Final = 16_384
TEXT_CHARACTERS: Final = 500

STRANGERS: Final = 60
"""Refusals of unknown callers recorded in a minute; more are counted, so that nobody fills the log."""


class AccessRecord:
    """ASGI middleware: one audit record for every act of a person, done or refused."""

    def __init__(self, app: ASGIApp, owner: FastAPI) -> None:
        self._app = app
        self._owner = owner
        self._minute = -1
        self._strangers = 0
        self._unrecorded = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, looking at no more than its head and the beginning of its body."""
        if scope["type"] != "http" or scope["path"].startswith("/gateway/"):
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        asked, said, status = bytearray(), bytearray(), 500

        async def receiving() -> Message:
            message = await receive()
            if len(asked) < BODY_BYTES:
                asked.extend(message.get("body", b"")[:BODY_BYTES])
            return message

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif status >= 400 and len(said) < BODY_BYTES:
                said.extend(message.get("body", b""))
            await send(message)

        unsafe = scope["method"] not in SAFE
        try:
            await self._app(scope, receiving if unsafe else receive, sending)
        finally:
            if self._worth_recording(scope, status):
                self._record(Request(scope), status, bytes(asked), bytes(said))

    def _worth_recording(self, scope: Scope, status: int) -> bool:
        path, state = scope["path"], scope["state"]
        if status in (401, 403, 429):
            return state.get("caller") is not None or self._room_for_a_stranger()
        if "act" in state or path in ACTS_OF_READING:
            return True
        return scope["method"] not in SAFE and path not in SYSTEMS

    def _room_for_a_stranger(self) -> bool:
        minute = int(self._owner.state.clock.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._strangers = minute, 0
        self._strangers += 1
        if self._strangers > STRANGERS:
            self._unrecorded += 1
        return self._strangers <= STRANGERS

    def _record(self, request: Request, status: int, asked: bytes, said: bytes) -> None:
        state = request.scope["state"]
        caller = state.get("caller")
        route = request.scope.get("route")
        fields = _fields(request, asked)
        record: dict[str, Any] = {
            "at": self._owner.state.clock.now(),
            "kind": "access",
            "act": state.get("act") or getattr(route, "name", ""),
            "by": caller.name if caller else state.get("claims_to_be", ""),
            "role": caller.role if caller else "",
            "via": caller.via if caller else "",
            "client": client_of(request),
            "user_agent": request.headers.get("user-agent", "")[:AGENT_CHARACTERS],
            "method": request.method,
            "path": _path(request.url.path),
            "status": status,
            "reason": next((fields[name] for name in WHY if fields.get(name)), "")[
                :TEXT_CHARACTERS
            ],
        }
        if given := {name: fields[name][:GIVEN_CHARACTERS] for name in GIVEN if fields.get(name)}:
            record["given"] = given
        if status >= 400:
            record["refused"] = state.get("refused", "")[:TEXT_CHARACTERS] or _detail(said)
        if self._unrecorded:
            record["unrecorded"], self._unrecorded = self._unrecorded, 0
        self._owner.state.audit.append(record)


def _path(path: str) -> str:
    """The path, without the secret of a signed link."""
    return "/console/ack/..." if path.startswith("/console/ack/") else path[:TEXT_CHARACTERS]


def _fields(request: Request, asked: bytes) -> dict[str, str]:
    """The texts, numbers and lists of them that a request came with: its query and its body."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    found: dict[str, Any] = dict(request.query_params) if request.method not in SAFE else {}
    if kind == "application/json":
        found |= _json(asked)
    elif kind == "application/x-www-form-urlencoded":
        found |= parse_qs(asked.decode("utf-8", "replace"))
    return {name: _text(value) for name, value in found.items()}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(one) for one in value)
    return str(value) if isinstance(value, str | int | float) else ""


def _detail(said: bytes) -> str:
    detail = _json(said).get("detail", "")
    return (detail if isinstance(detail, str) else json.dumps(detail))[:TEXT_CHARACTERS]


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
