"""The small HTTP protocol to the control process, as a gateway speaks it."""

from collections.abc import AsyncIterator
from typing import Final

import httpx
import msgspec

from molt.core.errors import Refused, UpstreamError
from molt.core.evidence import Violation
from molt.core.flags import Flags
from molt.link.posts import NotPosted, Posts
from molt.wire.exchange import header_lines

BEAT_TIMEOUT: Final = 3.0
"""Control sends a line every second; a stream silent for this long is dead."""

_BATCH_TIMEOUT: Final = 10.0
_CLOSE_TIMEOUT: Final = 2.0
_VIOLATION_TIMEOUT: Final = 2.0


class Line(msgspec.Struct, frozen=True):
    """One line of the flag stream: a snapshot, or a beat with the version that control is at."""

    flags: Flags | None = None
    beat: int | None = None


class _Closed(msgspec.Struct, frozen=True):
    acted: bool


_lines = msgspec.json.Decoder(Line)
_closed = msgspec.json.Decoder(_Closed)


class ControlUnreachable(UpstreamError):
    """The control process did not answer as the protocol says."""


class ControlClient:
    """Speaks to the control process at `url` as gateway `gateway`."""

    def __init__(self, url: str, key: str, gateway: str) -> None:
        self._gateway = gateway
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(_BATCH_TIMEOUT, connect=_CLOSE_TIMEOUT),
            trust_env=False,
        )
        bearer = header_lines([(b"authorization", b"Bearer " + key.encode())])
        self._posts = Posts(url, bearer, connect=_CLOSE_TIMEOUT, answer=_BATCH_TIMEOUT)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()
        await self._posts.close()

    async def lines(self) -> AsyncIterator[Line]:
        """The flag stream, until it ends. Raises `ControlUnreachable`."""
        timeout = httpx.Timeout(BEAT_TIMEOUT)
        try:
            async with self._http.stream(
                "GET", "/gateway/v1/flags", params={"gateway": self._gateway}, timeout=timeout
            ) as answer:
                if answer.status_code != 200:
                    raise ControlUnreachable(f"the flag stream answered {answer.status_code}")
                async for line in answer.aiter_lines():
                    if line:
                        yield _lines.decode(line)
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            raise ControlUnreachable(f"the flag stream broke: {error!r}") from error

    async def post_batch(self, body: bytes) -> int:
        """Send an encoded `Batch`; the status. Raises `ControlUnreachable` when there is none."""
        try:
            return await self._posts.post(b"/gateway/v1/batches", b"application/json", body)
        except NotPosted as error:
            raise ControlUnreachable(f"a batch did not get through: {error}") from error

    async def report_violation(self, violation: Violation, once: str) -> None:
        """Report `violation`; returns when the rollback it causes is written.

        `once` names it for good: a repeated report counts once. Raises `ControlUnreachable`.
        """
        try:
            answer = await self._http.post(
                "/gateway/v1/violations",
                params={"once": once},
                content=msgspec.json.encode(violation),
                headers={"content-type": "application/json"},
                timeout=_VIOLATION_TIMEOUT,
            )
        except httpx.HTTPError as error:
            raise ControlUnreachable(f"a violation did not get through: {error!r}") from error
        if answer.status_code == 404:
            raise Refused(f"control knows no rollout {violation.rollout!r}")
        if answer.status_code != 204:
            raise ControlUnreachable(f"a violation was answered {answer.status_code}")

    async def post_pairs(self, body: bytes) -> int:
        """Send encoded `RawPairs`; the status. Raises `ControlUnreachable` when there is none."""
        try:
            answer = await self._http.post(
                "/gateway/v1/pairs", content=body, headers={"content-type": "application/msgpack"}
            )
        except httpx.HTTPError as error:
            raise ControlUnreachable(f"pairs did not get through: {error!r}") from error
        return answer.status_code

    async def close_run(self, run: str) -> bool:
        """Fence `run`: whether it had reported an action; it cannot report one from now on.

        Raises `ControlUnreachable` when that is not known.
        """
        try:
            answer = await self._http.post(f"/gateway/v1/runs/{run}/close", timeout=_CLOSE_TIMEOUT)
            answer.raise_for_status()
            return _closed.decode(answer.content).acted
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            raise ControlUnreachable(f"run {run} could not be closed: {error!r}") from error
