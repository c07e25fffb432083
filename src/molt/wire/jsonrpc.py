"""JSON-RPC 2.0 messages as MCP sends them over HTTP, read so that nobody else reads them otherwise.

What two parsers could take for different things is refused: duplicate keys, keys that differ from
the known ones in case only, anything but UTF-8, numbers that JSON does not have.
"""

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any, Final, Literal, cast

import msgspec

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
HEADER_MISMATCH: Final = -32020
"""Code of protocol 2026-07-28 for a header that contradicts the body."""

_KNOWN: Final = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_KNOWN_PARAMS: Final = frozenset({"name", "arguments", "uri", "_meta", "task"})


class Malformed(Exception):
    """Not a message that can be passed on safely. `code` is the JSON-RPC error code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Message(msgspec.Struct, frozen=True):
    """One message. `kind` tells the four kinds apart; `method` is empty in answers."""

    kind: Literal["request", "notification", "answer"]
    id: str | int | None
    method: str
    params: dict[str, Any]

    @property
    def meta(self) -> dict[str, Any]:
        """`params._meta`, empty where there is none."""
        meta = self.params.get("_meta")
        return cast("dict[str, Any]", meta) if isinstance(meta, dict) else {}


def read(body: bytes) -> Message:
    """The message in the body of a request; raises `Malformed`."""
    data = strict_json(body)
    if isinstance(data, list):
        raise Malformed(
            INVALID_REQUEST, "JSON-RPC batches are not passed on; send one message a request"
        )
    if not isinstance(data, dict) or data.get("jsonrpc") != "2.0":
        raise Malformed(INVALID_REQUEST, 'expected one JSON-RPC object with "jsonrpc": "2.0"')
    _check_names(data, _KNOWN)
    given = data.get("id")
    if isinstance(given, bool) or not isinstance(given, str | int | None):
        raise Malformed(INVALID_REQUEST, "`id` must be a text or a whole number")
    if "method" not in data:
        if "result" not in data and "error" not in data:
            raise Malformed(INVALID_REQUEST, "neither `method`, `result` nor `error`")
        return Message("answer", given, "", {})
    method, params = data["method"], data.get("params", {})
    if not isinstance(method, str) or "result" in data or "error" in data:
        raise Malformed(INVALID_REQUEST, "`method` must be a text, and stand without a result")
    if not isinstance(params, dict):
        raise Malformed(INVALID_PARAMS, "`params` must be an object")
    _check_names(params, _KNOWN_PARAMS)
    if "id" in data and given is None:
        raise Malformed(INVALID_REQUEST, "`id` must be a text or a whole number")
    return Message("request" if "id" in data else "notification", given, method, params)


def strict_json(body: bytes) -> Any:
    """The JSON value in `body`, read as strictly; raises `Malformed`."""
    try:
        return json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise Malformed(PARSE_ERROR, f"not JSON: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return made


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _check_names(data: dict[str, Any], known: Iterable[str]) -> None:
    for key in data:
        if key not in known and key.lower() in known:
            raise Malformed(INVALID_REQUEST, f"key {key!r} differs from a known one in case only")


def result(message_id: str | int | None, value: dict[str, Any]) -> bytes:
    """An answer that carries a result."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": message_id, "result": value})


def error(message_id: str | int | None, code: int, text: str) -> bytes:
    """An answer that carries an error."""
    body = {"code": code, "message": text}
    return msgspec.json.encode({"jsonrpc": "2.0", "id": message_id, "error": body})


def header_value(raw: bytes | None) -> str | None:
    """What a header of protocol 2026-07-28 says: plain, or in the form `=?base64?...?=`.

    None for no header, and for one that is not well-formed.
    """
    if raw is None:
        return None
    text = raw.decode("latin-1")
    if not (text.startswith("=?base64?") and text.endswith("?=")):
        return text
    payload = text[len("=?base64?") : -len("?=")]
    try:
        decoded = base64.b64decode(payload, validate=True)
        if base64.b64encode(decoded).decode("ascii") != payload:
            return None
        return decoded.decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
