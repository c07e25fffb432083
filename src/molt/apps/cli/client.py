"""The control API as the command line sees it: answers, or errors with what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx

from molt import __version__
from molt.apps.cli.configured import api_url
from molt.apps.cli.exits import TokenRefused, Unreachable
from molt.core.errors import NotFound, OperatorError, Refused, VersionConflict

DEFAULT_URL: Final = "http://127.0.0.1:8081"
TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)
LOCAL: Final = frozenset({"127.0.0.1", "localhost", "::1"})

State = dict[str, Any]


def connect(url: str | None, token: str | None) -> "Api":
    """A client of the control API at `url`, or where the configuration says it is."""
    return Api((url or api_url() or DEFAULT_URL).rstrip("/"), token)


class Api:
    """Calls below `/api/v1`, within `with`. Every call raises what `molt.apps.cli.exits` knows."""

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OperatorError(f"--url {url}: expected http://HOST:PORT or https://HOST:PORT")
        self.url = url
        self._http = httpx.Client(
            base_url=f"{url}/api/v1",
            headers={"user-agent": f"molt/{__version__} (command line)"}
            | ({"authorization": f"Bearer {token}"} if token else {}),
            timeout=TIMEOUT,
            # A proxy that the environment names is no way to this machine itself.
            trust_env=parts.hostname not in LOCAL,
            # The authority that SSL_CERT_FILE names counts everywhere.
            verify=httpx.create_ssl_context() if parts.scheme == "https" else False,
        )
        self._token_given = bool(token)

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """The JSON answer to a GET; query values of None are left out."""
        return self._json(self._send("GET", path, params=_given(query)))

    def text(self, path: str, body: Any = None, **query: Any) -> str:
        """The text answer to a GET, or to a POST where there is a body."""
        method = "GET" if body is None else "POST"
        return self._checked(self._send(method, path, params=_given(query), json=body)).text

    def post(self, path: str, body: Any) -> Any:
        """The JSON answer to a POST; fields of None are left out of a mapping."""
        sent: Any = _given(body) if isinstance(body, dict) else body
        return self._json(self._send("POST", path, json=sent))

    @contextmanager
    def download(self, path: str, **query: Any) -> Iterator[Iterator[bytes]]:
        """The pieces of a large answer, as they come."""
        try:
            with self._http.stream("GET", path, params=_given(query)) as answer:
                if not answer.is_success:
                    answer.read()
                    self._checked(answer)
                yield answer.iter_bytes()
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    def _send(self, method: str, path: str, **what: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **what)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return Unreachable(
                f"The certificate of {self.url} is not to be trusted ({error}). Where it is of your "
                "own authority: SSL_CERT_FILE=ca.pem"
            )
        reason = "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error)
        return Unreachable(
            f"Molt cannot be reached at {self.url} ({reason or type(error).__name__}). "
            "Is `molt serve` running? Elsewhere: --url or MOLT_URL"
        )

    def _json(self, answer: httpx.Response) -> Any:
        try:
            return self._checked(answer).json()
        except ValueError:
            raise self._stranger(answer) from None

    def _stranger(self, answer: httpx.Response) -> Unreachable:
        return Unreachable(
            f"{answer.request.url} answered {answer.status_code}, but not as Molt's control API "
            "does; check --url or MOLT_URL"
        )

    def _checked(self, answer: httpx.Response) -> httpx.Response:
        """The answer when it is a success; else raises the error that it carries."""
        if answer.is_success:
            return answer
        if answer.status_code == 500:
            raise Unreachable(f"{self.url} failed to answer (500); its log says why")
        try:
            body = answer.json()
        except ValueError:
            raise self._stranger(answer) from None
        detail = _detail(body)
        match answer.status_code:
            case 401 if not self._token_given:
                raise TokenRefused(
                    f"{self.url} needs a token: --token or MOLT_TOKEN. The first one was printed "
                    "at first start; `molt token add` makes more"
                )
            case 401:
                raise TokenRefused(
                    f"{self.url} refuses the token: unknown, expired or revoked. "
                    "`molt token list` shows which there are, `molt token add` makes one"
                )
            case 403:
                raise TokenRefused(f"{self.url} refuses this token: {detail}")
            case 409 if body.get("error") == "VersionConflict":
                raise VersionConflict(detail)
            case 409:
                raise Refused(detail)
            case 404 if body.get("error") == NotFound.__name__:
                raise NotFound(detail)
            case 422 | 413:
                raise OperatorError(detail)
            case 404:
                raise self._stranger(answer)
            case status:
                raise Unreachable(f"{self.url} answered {status}: {detail}")


def at(*parts: str) -> str:
    """A path of quoted parts, below `/api/v1`."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def pick(api: Api, rollout: str | None) -> str:
    """The rollout that is meant: the one named, else the only one (aborted ones apart)."""
    if rollout is not None:
        return rollout
    states = api.get("/rollouts")
    if not states:
        raise OperatorError("There is no rollout yet; start one: molt start")
    live = [s for s in states if s["phase"] != "aborted"] or states
    if len(live) == 1:
        return live[0]["rollout"]
    known = ", ".join(s["rollout"] for s in live)
    raise OperatorError(f"Which rollout? Give --rollout ID; known: {known}")


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _detail(body: Any) -> str:
    """What the answer says went wrong: a text, or one phrase for each field."""
    detail = body.get("detail") if isinstance(body, dict) else None
    if isinstance(detail, list):
        return "; ".join(f"{_place(d.get('loc', ()))}: {d.get('msg')}" for d in detail)
    return str(detail or body)


def _place(loc: Any) -> str:
    return ".".join(str(part) for part in loc if part not in ("body", "query", "path")) or "request"
