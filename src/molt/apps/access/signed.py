"""Small values that go out and come back: readable by anybody, made by nobody else, for a while."""

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any


def sign(purpose: str, value: dict[str, Any], expires: float, key: bytes) -> str:
    """`value` as text that `opened` takes back for the same `purpose` until `expires` (unix seconds)."""
    body = _text(json.dumps([expires, value], separators=(",", ":")).encode())
    return f"{body}.{_text(_mac(purpose, body, key))}"


def opened(purpose: str, text: str, now: float, key: bytes) -> dict[str, Any] | None:
    """The value of a signed text; None when it is forged, for something else, or too old."""
    body, _, mac = text.partition(".")
    try:
        genuine = hmac.compare_digest(_bytes(mac), _mac(purpose, body, key))
        expires, value = json.loads(_bytes(body)) if genuine else (0, None)
    except (ValueError, binascii.Error):
        return None
    return value if genuine and now < expires else None


def _mac(purpose: str, body: str, key: bytes) -> bytes:
    return hmac.new(key, f"{purpose}\x1f{body}".encode(), hashlib.sha256).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
