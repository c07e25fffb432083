"""The policy and the dry runs of Molt for tools that run inside the agent's own process.

    from molt.guard import Denied, guard, run

    @guard()                             # a write, unless the playbook or `read_only=True` says no
    async def add_to_cart(item: str, quantity: int = 1) -> Line: ...

    with run(request.headers.get("x-molt-run")):
        await add_to_cart("latte", 2)    # executed, or a dry run's answer, or `Denied`

Molt's egress decides, at `MOLT_EGRESS_URL` (default http://127.0.0.1:8082). When it cannot be
reached, tools that were declared to only read are executed, and all others denied.
"""

import asyncio
import contextlib
import functools
import inspect
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar, cast, get_type_hints

import httpx
from pydantic import PydanticSchemaGenerationError, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic_core import to_jsonable_python

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_URL: Final = "http://127.0.0.1:8082"
TIMEOUT_SECONDS: Final = 5.0


class Denied(Exception):
    """The call was not allowed. `why` is a word for programs: forbidden, over_limit, no_run, ..."""

    def __init__(self, why: str, reason: str) -> None:
        super().__init__(reason)
        self.why = why
        self.reason = reason


class Unreachable(Denied):
    """Molt could not be asked, and the call could have changed something."""

    def __init__(self, reason: str) -> None:
        super().__init__("unreachable", f"Molt's egress cannot be asked: {reason}")


class _Run(NamedTuple):
    token: str = ""
    traceparent: str = ""


_NOBODY: Final = _Run()
_run: ContextVar[_Run] = ContextVar("molt_run", default=_NOBODY)
_async_clients: "weakref.WeakKeyDictionary[Any, httpx.AsyncClient]" = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def run(token: str | bytes | None, traceparent: str | None = None) -> Iterator[None]:
    """Calls inside belong to the run whose `x-molt-run` this is; tasks started inside, too."""
    text = token.decode("latin-1") if isinstance(token, bytes) else token or ""
    before = _run.set(_Run(text, traceparent or ""))
    try:
        yield
    finally:
        _run.reset(before)


def guard(
    name: str | None = None, *, read_only: bool = False, url: str | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that asks Molt before each call. `name` is the tool's, else the function's.

    The decorated function raises `Denied`; in shadow it returns a synthetic value of its return
    type (None where none is declared) instead of doing anything. Its arguments must be plain data.
    Raises TypeError for a return type that no schema describes.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        tool = _Tool(name or function.__name__, function, read_only, url)
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def asked(*args: P.args, **kwargs: P.kwargs) -> Any:
                verdict = await tool.ask_async(args, kwargs)
                if verdict is None:
                    return await cast("Any", function(*args, **kwargs))
                return tool.value(verdict)

            return cast("Callable[P, R]", asked)

        @functools.wraps(function)
        def asked_plainly(*args: P.args, **kwargs: P.kwargs) -> R:
            verdict = tool.ask(args, kwargs)
            return function(*args, **kwargs) if verdict is None else tool.value(verdict)

        return asked_plainly

    return decorate


class _Tool:
    """What Molt is told about one function."""

    def __init__(
        self, name: str, function: Callable[..., Any], read_only: bool, url: str | None
    ) -> None:
        self._name = name
        self._read_only = read_only
        self._url = url
        self._signature = inspect.signature(function)
        self._returns = self._described(_return_type(function))
        self._schemas = {
            "input_schema": _schema(_adapter(function)),
            "output_schema": _schema(self._returns),
        }

    def _described(self, kind: Any) -> TypeAdapter[Any] | None:
        """How to make a value of the return type; raises TypeError where that cannot be told."""
        if kind is None or kind is type(None):
            return None
        adapter = _adapter(kind)
        if adapter is None or _schema(adapter) is None:
            raise TypeError(
                f"guard: {self._name}: no dry run can return {kind!r}; declare plain data, such as "
                "a dataclass, a pydantic model or typing_extensions.TypedDict"
            )
        return adapter

    def ask(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
        """None when the function may run; else the answer to give instead. Raises `Denied`."""
        address, body, headers = self._question(args, kwargs)
        try:
            answer = _client().post(address, json=body, headers=headers)
        except httpx.HTTPError as error:
            return self._unanswered(repr(error))
        return self._read(answer)

    async def ask_async(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """The same, without blocking."""
        address, body, headers = self._question(args, kwargs)
        try:
            answer = await _async_client().post(address, json=body, headers=headers)
        except httpx.HTTPError as error:
            return self._unanswered(repr(error))
        return self._read(answer)

    def value(self, verdict: dict[str, Any]) -> Any:
        """The result of a dry run, as the function's return type."""
        result = verdict.get("result")
        if self._returns is None or verdict.get("schemaless"):
            return result
        return self._returns.validate_python(result)

    def _question(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[str, dict[str, Any], dict[str, str]]:
        bound = self._signature.bind(*args, **kwargs)
        arguments = to_jsonable_python(dict(bound.arguments))
        own = _run.get()
        headers = {"x-molt-run": own.token, "traceparent": own.traceparent}
        base = self._url or os.environ.get("MOLT_EGRESS_URL") or DEFAULT_URL
        body = {"tool": self._name, "arguments": arguments, "read_only": self._read_only}
        return (
            f"{base.rstrip('/')}/guard/v1/calls",
            {**body, **self._schemas},
            {name: value for name, value in headers.items() if value},
        )

    def _read(self, answer: httpx.Response) -> dict[str, Any] | None:
        try:
            verdict = answer.json()
            act = verdict["act"]
        except (ValueError, KeyError, TypeError):
            return self._unanswered(f"it answered {answer.status_code}")
        if act in ("execute", "read"):
            return None
        if act == "deny":
            raise Denied(str(verdict.get("why", "")), str(verdict.get("reason", "denied")))
        return cast("dict[str, Any]", verdict)

    def _unanswered(self, reason: str) -> None:
        """A tool that only reads may run when nobody can be asked; nothing else may."""
        if not self._read_only:
            raise Unreachable(reason)


@functools.cache
def _client() -> httpx.Client:
    return httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False)


def _async_client() -> httpx.AsyncClient:
    loop = asyncio.get_running_loop()
    client = _async_clients.get(loop)
    if client is None:
        client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False)
        _async_clients[loop] = client
    return client


def _return_type(function: Callable[..., Any]) -> Any:
    try:
        return get_type_hints(function, include_extras=True).get("return")
    except (NameError, TypeError):
        return None


def _adapter(kind: Any) -> TypeAdapter[Any] | None:
    try:
        return TypeAdapter(kind)
    except (PydanticSchemaGenerationError, PydanticUserError):
        return None


def _schema(adapter: TypeAdapter[Any] | None) -> Any:
    try:
        return None if adapter is None else adapter.json_schema()
    except PydanticInvalidForJsonSchema:
        return None
