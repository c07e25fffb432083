"""Asks an MCP server for its tools, in whichever era it speaks; for Molt's own knowledge."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

import aiohttp
import msgspec

from molt.wire.sse import EventReader

STATELESS: Final = "2026-07-28"
SESSIONS: Final = "2025-11-25"
_META: Final = "io.modelcontextprotocol/"
_MOST_PAGES: Final = 100
_MOST_BYTES: Final = 16 * 1024 * 1024
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
_CLIENT: Final = {"name": "molt", "version": "1"}


class NoTools(Exception):
    """The server did not say which tools it has."""


class Tool(NamedTuple):
    """What a server says about one of its tools. `read_only` is its annotation."""

    name: str
    input_schema: Any
    output_schema: Any
    read_only: bool


async def list_tools(
    http: aiohttp.ClientSession, url: str, headers: Mapping[str, str]
) -> dict[str, Tool]:
    """All tools of the server at `url`, by name. Raises `NoTools`."""
    asking = _Asking(http, url, headers)
    try:
        try:
            return await asking.tools(STATELESS)
        except NoTools:
            await asking.open_session()
        try:
            return await asking.tools(None)
        finally:
            await asking.close_session()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise NoTools(f"{url}: {error!r}") from None


class _Asking:
    """One conversation with a server."""

    def __init__(self, http: aiohttp.ClientSession, url: str, headers: Mapping[str, str]) -> None:
        self._http = http
        self._url = url
        self._headers = {
            **headers,
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        }
        self._number = 0

    async def tools(self, version: str | None) -> dict[str, Tool]:
        found: dict[str, Tool] = {}
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            params: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
            result = await self._ask("tools/list", params, version)
            for one in cast("list[Any]", result.get("tools") or []):
                if isinstance(one, dict) and isinstance(one.get("name"), str):
                    found[one["name"]] = _tool(one)
            cursor = result.get("nextCursor")
            if not isinstance(cursor, str):
                return found
        raise NoTools(f"{self._url}: its list of tools does not end")

    async def open_session(self) -> None:
        """Initialize, as the older protocol wants it."""
        hello = {"protocolVersion": SESSIONS, "capabilities": {}, "clientInfo": _CLIENT}
        result = await self._ask("initialize", hello, None)
        agreed = result.get("protocolVersion")
        self._headers["mcp-protocol-version"] = agreed if isinstance(agreed, str) else SESSIONS
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        async with self._post(ready, {}) as answer:
            await answer.read()

    async def close_session(self) -> None:
        """Let the server forget the session."""
        if "mcp-session-id" in self._headers:
            async with self._http.delete(
                self._url, headers=self._headers, timeout=_TIMEOUT
            ) as answer:
                await answer.read()

    async def _ask(
        self, method: str, params: dict[str, Any], version: str | None
    ) -> dict[str, Any]:
        self._number += 1
        headers: dict[str, str] = {}
        if version is not None:
            envelope = {"protocolVersion": version, "clientCapabilities": {}, "clientInfo": _CLIENT}
            params = {**params, "_meta": {_META + k: v for k, v in envelope.items()}}
            headers = {"mcp-protocol-version": version, "mcp-method": method}
        body = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        async with self._post(body, headers) as answer:
            if session := answer.headers.get("mcp-session-id"):
                self._headers["mcp-session-id"] = session
            message = await _answer(answer, self._number)
        result = message.get("result")
        if not isinstance(result, dict):
            raise NoTools(f"{self._url}: {method}: {answer.status} {message.get('error')}")
        return cast("dict[str, Any]", result)

    def _post(self, body: Any, headers: Mapping[str, str]) -> Any:
        return self._http.post(
            self._url,
            data=msgspec.json.encode(body),
            headers={**self._headers, **headers},
            timeout=_TIMEOUT,
            allow_redirects=False,
        )


async def _answer(answer: aiohttp.ClientResponse, number: int) -> dict[str, Any]:
    """The message that answers request `number`; the rest of a stream is not waited for."""
    if answer.content_type != "text/event-stream":
        return _decoded(await answer.read())
    reader, size = EventReader(), 0
    async for data in answer.content.iter_any():
        size += len(data)
        for event in reader.feed(data):
            message = _decoded(event)
            if message.get("id") == number:
                return message
        if size > _MOST_BYTES:
            break
    return {}


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}


def _tool(one: dict[str, Any]) -> Tool:
    hints = one.get("annotations")
    read_only = isinstance(hints, dict) and hints.get("readOnlyHint") is True
    return Tool(one["name"], one.get("inputSchema"), one.get("outputSchema"), read_only)
