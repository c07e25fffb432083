"""Everything the egress process is told, as one JSON file; it holds keys, so its mode is 0600."""

from typing import Any, Literal

import msgspec

Api = Literal["chat", "responses", "messages"]


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """USD for a million tokens."""

    input: float
    output: float


class ModelService(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider of models: where it is, what it speaks, which models it has, and the key for it.

    `headers` are sent with each request. `answer_timeout` is seconds: the wait for the head of an
    answer, and the longest silence inside one.
    """

    name: str
    url: str
    apis: tuple[Api, ...] = ("chat", "responses", "messages")
    models: tuple[str, ...] = ("*",)
    key: str | None = None
    headers: dict[str, str] = {}
    limit_field: str = "max_completion_tokens"
    connect_timeout: float = 2.0
    answer_timeout: float = 120.0


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One route of an HTTP service, as a tool. `path` is a template such as `/orders/{id}`.

    `input_schema` judges the arguments (path, query and JSON body together); `example` or else
    `output_schema` makes the answer of a dry run, with `status`.
    """

    method: str
    path: str
    tool: str
    input_schema: Any = None
    output_schema: Any = None
    example: Any = None
    has_example: bool = False
    status: int = 200


class ToolService(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server of tools. `headers` are sent with each request; agents never see them.

    `trust_annotations` believes what it says about tools that only read. `answer_timeout` is the
    wait for the head of an answer, in seconds. `routes` are those of an `http` service.
    """

    name: str
    url: str
    kind: Literal["mcp", "http"] = "mcp"
    headers: dict[str, str] = {}
    trust_annotations: bool = True
    answer_timeout: float = 60.0
    routes: tuple[Route, ...] = ()


class EgressSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The egress. `id` is its name towards control and in the audit log.

    `molt_url` is where the control process listens. Keys are hex: `gateway_key` lets this process
    in there, `run_key` verifies run tokens. `state_dir` keeps the last flags, `audit_dir` the
    audit log. With `models_without_run` a request without a valid run token may use a model.
    `drain` is how many seconds an answer is read on after its client has gone.
    """

    molt_url: str
    gateway_key: str
    run_key: str
    state_dir: str
    audit_dir: str
    id: str = "egress"
    host: str = "127.0.0.1"
    port: int = 8082
    models: tuple[ModelService, ...] = ()
    models_without_run: bool = False
    tokens_counted: Literal["all", "output"] = "all"
    tools: tuple[ToolService, ...] = ()
    prices: dict[str, Price] = {}
    max_body: int = 32 * 1024 * 1024
    drain: float = 10.0
    batch_seconds: float = 0.25
    sync_seconds: float = 5.0
    log_level: str = "info"
