"""Answers that the gateway gives itself."""

import math
from datetime import UTC, datetime

import msgspec

from molt.wire.exchange import Answer, header_lines


def over_limit(limit: int, wait: float, now: float) -> Answer:
    """429: says the limit, and when to come back. `wait` is seconds, `now` unix seconds."""
    seconds = max(1, math.ceil(wait))
    until = datetime.fromtimestamp(math.ceil(now + wait), UTC).isoformat().replace("+00:00", "Z")
    body = {
        "error": {
            "type": "rate_limited",
            "message": f"At most {limit} requests a minute are taken from one user. "
            f"Try again in {seconds} s, at {until}.",
            "retry_after_seconds": seconds,
            "until": until,
        }
    }
    headers = [(b"content-type", b"application/json"), (b"retry-after", str(seconds).encode())]
    return Answer(429, msgspec.json.encode(body), header_lines(headers))
