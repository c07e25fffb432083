"""Which provider answers for a model, and how it is asked."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

import aiohttp
from yarl import URL

from molt.egress.http import RUN_HEADER
from molt.egress.settings import ModelService
from molt.wire.models import Dialect

_MOST_REMEMBERED: Final = 1000
_OURS: Final = frozenset(
    {
        b"host", b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te",
        b"trailer", b"transfer-encoding", b"upgrade", b"content-length", b"accept-encoding",
        b"authorization", b"x-api-key", b"api-key", b"cookie", b"expect", b"forwarded",
        b"traceparent",
    }
)  # fmt: skip
"""Headers of a request that are not passed on: the hop's own, and whatever the agent holds as keys."""
_NOT_BACK: Final = frozenset(
    {
        "connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding",
        "set-cookie", "trailer", "upgrade", "alt-svc",
    }
)  # fmt: skip


class Provider:
    """One service, ready to be asked."""

    def __init__(self, service: ModelService) -> None:
        self.name = service.name
        self.service = service
        self._urls: dict[str, URL] = {}
        self.timeout = aiohttp.ClientTimeout(
            sock_connect=service.connect_timeout, sock_read=service.answer_timeout
        )

    def url(self, dialect: Dialect, query: bytes = b"") -> URL:
        """Where `dialect` is asked; a base URL may have the API's `/v1` or not."""
        url = self._urls.get(dialect.name)
        if url is None:
            base = self.service.url
            path = dialect.path.removeprefix("/v1") if base.endswith("/v1") else dialect.path
            url = self._urls[dialect.name] = URL(base + path)
        return URL(f"{url}?{query.decode('latin-1')}", encoded=True) if query else url

    def headers(
        self,
        dialect: Dialect,
        inbound: Iterable[tuple[bytes, bytes]],
        traceparent: bytes | None,
    ) -> list[tuple[str, str]]:
        """The client's own headers but for what is ours, with the provider's key."""
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in inbound
            if name not in _OURS and not name.startswith((b"x-molt-", b"x-forwarded-"))
        ]
        headers.append(("accept-encoding", "identity"))
        if traceparent is not None:
            headers.append(("traceparent", traceparent.decode("latin-1")))
        if self.service.key is not None:
            headers.append(dialect.key(self.service.key))
        return [*headers, *self.service.headers.items()]


class Providers:
    """All of them, in the operator's order."""

    def __init__(self, services: Sequence[ModelService]) -> None:
        self._providers = [Provider(service) for service in services]
        self._known: dict[tuple[str, str], Provider | None] = {}

    def of(self, dialect: Dialect, model: str) -> Provider | None:
        """The first that speaks `dialect` and has `model`."""
        place = dialect.name, model
        if place not in self._known:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[place] = next(
                (
                    one
                    for one in self._providers
                    if dialect.name in one.service.apis
                    and any(fnmatchcase(model, glob) for glob in one.service.models)
                ),
                None,
            )
        return self._known[place]


def back(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """The headers of a provider's answer that go on to the client."""
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in headers
        if name.lower() not in _NOT_BACK
    ]


def token_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The run token: `x-molt-run`, or, where a framework lets nothing else be set, the API key."""
    keyed = None
    for name, value in headers:
        if name == RUN_HEADER:
            return value
        if name == b"authorization" and value[:10].lower() == b"bearer v1.":
            keyed = value[7:]
        elif name == b"x-api-key" and value.startswith(b"v1."):
            keyed = value
    return keyed
