"""molt.yaml and the environment: where to listen, what stands behind, who is asking.

Every setting can come from the environment: `MOLT_` and its path with double underscores, such as
`MOLT_UPSTREAMS__CANDIDATE__URL`. Lists and maps are given as YAML. The environment wins.
"""

import types
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from molt.adapters import yaml_source
from molt.adapters.problems import ConfigError, Problem
from molt.core.playbook import Cost
from molt.core.quantities import Duration

PREFIX = "MOLT_"

RoleName = Literal["viewer", "operator", "approver", "admin"]

OUTSIDE = frozenset({"MOLT_URL", "MOLT_TOKEN", "MOLT_CONFIG", "MOLT_EGRESS_URL"})
"""Read by the command line; not settings."""


class Section(BaseModel):
    """Base of all settings: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Clock = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class Tls(Section):
    """A certificate for a listener, PEM."""

    certificate: Path
    key: Path


class Upstream(Section):
    """A service that Molt forwards to."""

    url: str = Field(
        pattern=r"^https?://[^/?#\s]+/?$",
        description="`http://host:port` or `https://host:port`; paths are forwarded as they come.",
    )
    ca: Path | None = Field(default=None, description="Own certificate authority, PEM.")
    client_certificate: Path | None = Field(default=None, description="For mutual TLS, PEM.")
    client_key: Path | None = None
    connect_timeout: Duration = timedelta(seconds=1)
    answer_timeout: Duration = Field(
        default=timedelta(seconds=60), description="Until the first byte of its answer."
    )
    health: str | None = Field(
        default=None, description="Path of an active probe, such as `/health`; candidate only."
    )


class Upstreams(Section):
    """The two services."""

    control: Upstream = Field(description="The existing system.")
    candidate: Upstream = Field(description="The agent service.")


class Identity(Section):
    """Who is asking: rules are tried in order, the first that finds something counts.

    A rule is `header:NAME`, `cookie:NAME`, `query:NAME`, `path:REGEX` with one group,
    `body:FIELD.PATH` of a JSON body up to 64 KB, or `const:VALUE`.
    """

    profiles: tuple[Literal["agent-chat", "openai", "anthropic"], ...] = Field(
        default=("agent-chat", "openai", "anthropic"),
        description="Ready-made rules, tried after your own.",
    )
    agent: tuple[str, ...] = ()
    subject: tuple[str, ...] = ()
    session: tuple[str, ...] = ()


class UsageFields(Section):
    """Where JSON answers and events hold their token counts, as dotted paths."""

    input: str = Field(description="Tokens read, such as `meta.tokens.in`.")
    output: str = Field(description="Tokens written.")
    model: str | None = Field(default=None, description="The model's name, for prices.")


class Agents(Section):
    """What Molt may expect of the agent service."""

    version_header: str = Field(
        default="x-agent-version", description="Answer header that carries its version."
    )
    model: str | None = Field(
        default=None, description="What it runs on, for prices, where its answers do not say."
    )
    usage: UsageFields | None = Field(
        default=None,
        description="Where answers hold their token counts. The OpenAI, Anthropic and agent-chat "
        "forms are read without it; where these fields are found, they count.",
    )
    reports_actions: bool = Field(
        default=False,
        description="The agent reports each write to `x-molt-report` before it acts. Then control "
        "may answer for it whenever it failed without having acted.",
    )


class Price(Section):
    """USD for a million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


Address = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^:\s]+):\d{1,5}$")]


class ModelService(Section):
    """A provider of models that agents reach through Molt."""

    url: str = Field(
        pattern=r"^https?://[^/?#\s]+(/[^?#\s]*)?$",
        description="The base URL as its own client would take it, such as "
        "`https://api.openai.com/v1`.",
    )
    apis: tuple[Literal["chat", "responses", "messages"], ...] = Field(
        default=("chat", "responses", "messages"),
        description="What it speaks: OpenAI chat completions, OpenAI responses, Anthropic messages.",
    )
    models: tuple[str, ...] = Field(
        default=("*",), description="Globs of model names; the first provider that fits is used."
    )
    key: str | None = Field(default=None, description="Its key; better in a file or variable.")
    key_file: Path | None = Field(default=None, description="A file with the key, read at start.")
    key_env: str | None = Field(default=None, description="An environment variable with the key.")
    headers: dict[str, str] = Field(default={}, description="Sent with every request to it.")
    limit_field: Literal["max_completion_tokens", "max_tokens"] = Field(
        default="max_completion_tokens",
        description="How chat completions are told the limit where the agent gives none.",
    )
    answer_timeout: Duration = Field(
        default=timedelta(minutes=2),
        description="Until the first byte of its answer; also the longest silence inside one.",
    )


class ToolRoute(Section):
    """One route of an HTTP service, where its name alone does not say enough."""

    tool: str = Field(description="The tool's name, for policies.")
    arguments: dict[str, Any] | None = Field(
        default=None, description="JSON Schema of path, query and JSON body together."
    )
    response: dict[str, Any] | None = Field(
        default=None, description="JSON Schema of its answer; dry runs follow it."
    )
    example: Any = Field(default=None, description="The answer of a dry run, instead of a schema.")


class ToolService(Section):
    """A server of tools that agents reach through Molt."""

    kind: Literal["mcp", "http"] = Field(
        default="mcp", description="MCP over streamable HTTP, or plain HTTP with `routes`."
    )
    url: str = Field(
        pattern=r"^https?://[^/?#\s]+(/[^?#\s]*)?$",
        description="Its MCP endpoint, or what stands before the paths of its routes.",
    )
    routes: dict[str, str | ToolRoute] = Field(
        default={},
        description="`POST /cart/add: add_to_cart`. A route that is not listed is forbidden.",
    )
    openapi: str | None = Field(
        default=None,
        description="A file or URL with its OpenAPI document: more routes, named by `operationId`.",
    )
    headers: dict[str, str] = Field(default={}, description="Sent with every request to it.")
    key: str | None = Field(
        default=None, description="Its bearer token; better in a file or variable."
    )
    key_file: Path | None = Field(default=None, description="A file with the token, read at start.")
    key_env: str | None = Field(default=None, description="An environment variable with the token.")
    trust_annotations: bool = Field(
        default=True, description="Believe its `readOnlyHint` where the policy says nothing."
    )
    answer_timeout: Duration = Field(
        default=timedelta(minutes=1), description="Until the first byte of its answer."
    )


class Egress(Section):
    """The agent's way out to its models and tools; leave it out to run without."""

    listen: Address = Field(default="127.0.0.1:8082", description="Where agents reach it.")
    models: dict[str, ModelService] = Field(default={}, description="Providers, by a name.")
    models_without_run: bool = Field(
        default=False,
        description="Let requests without a valid run token use models; each has its own limit.",
    )
    tokens_counted: Literal["all", "output"] = Field(
        default="all",
        description="What `MOLTBOT_MAX_TOKENS_PER_REQUEST` limits: input and output of all model "
        "calls of a run, or their output alone.",
    )
    tools: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")], ToolService] = Field(
        default={}, description="Servers of tools, by the name in `/mcp/NAME` or `/http/NAME/...`."
    )

    def anchored(self, folder: Path) -> "Egress":
        """Itself, with relative paths counted from `folder`."""
        models = {name: _anchored_key(one, folder) for name, one in self.models.items()}
        tools = {name: _anchored_key(one, folder) for name, one in self.tools.items()}
        for name, one in tools.items():
            if one.openapi and "://" not in one.openapi:
                path = folder / Path(one.openapi).expanduser()
                tools[name] = one.model_copy(update={"openapi": str(path)})
        return self.model_copy(update={"models": models, "tools": tools})


def _anchored_key(one: Any, folder: Path) -> Any:
    if one.key_file is None:
        return one
    return one.model_copy(update={"key_file": folder / one.key_file.expanduser()})


class Quiet(Section):
    """When only critical alerts go out, a rollback among them; the others wait until it is over."""

    begin: Clock = Field(description="Such as `22:00`.")
    end: Clock = Field(description="Such as `07:00`; may be on the next day.")
    zone: str = Field(default="UTC", description="Such as `Europe/Rome`.")

    @field_validator("zone")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("expected the name of a time zone, such as Europe/Rome")
        return value


class Judge(Section):
    """An opinion on pairs of answers in shadow, by a model; off unless it has a URL.

    It is kept with the pair as evidence and decides nothing.
    """

    url: str | None = Field(
        default=None,
        description="An OpenAI-compatible API, such as `https://api.openai.com/v1`. What it is sent "
        "is redacted like everything that is kept.",
    )
    model: str = ""
    key_env: str = Field(
        default="JUDGE_API_KEY", description="The environment variable that holds the key."
    )
    rubric: str = Field(
        default="Does the candidate serve the request at least as well as control: right facts and "
        "prices, the same actions, nothing invented, polite?",
        description="What it judges by.",
    )
    per_minute: int = Field(default=10, gt=0, description="Calls at most.")
    usd_per_day: float = Field(default=1.0, gt=0, description="Money at most.")
    usd_per_call: float = Field(
        default=0.01, gt=0, description="What a call is taken to cost where its price is unknown."
    )


class Notify(Section):
    """Where notices go: Apprise URLs by severity; a higher one goes to its own list only."""

    info: tuple[str, ...] = ()
    warning: tuple[str, ...] = ()
    critical: tuple[str, ...] = ()
    quiet: Quiet | None = None


class Audit(Section):
    """The audit log: how long it is kept, and how soon it is on the disk."""

    keep: Duration | None = Field(
        default=None,
        description="Older records are removed, by whole segments (an hour or 64 MB), once the "
        "chain up to there was proven; `molt audit verify` says where the log begins since. "
        "Default: everything is kept. At least `24h`.",
    )
    sync_every: Duration = Field(
        default=timedelta(seconds=5),
        description="What was written is on the disk at most about this much later: what a power "
        "cut may take. A killed process loses none of it.",
    )

    @field_validator("keep")
    @classmethod
    def _a_day_at_least(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and value < timedelta(days=1):
            raise ValueError("expected at least 24h")
        return value

    @field_validator("sync_every")
    @classmethod
    def _some_time(cls, value: timedelta) -> timedelta:
        if value <= timedelta(0):
            raise ValueError("expected more than 0s")
        return value


class Oidc(Section):
    """An OpenID Connect provider to sign in at.

    Register `API_URL/console/login/callback` there as the redirect URL.
    """

    issuer: str = Field(
        pattern=r"^https?://[^?#\s]+$", description="Its URL, exactly as its tokens name it."
    )
    client_id: str
    client_secret: str | None = Field(
        default=None, description="Better from `MOLT_AUTH__OIDC__CLIENT_SECRET` than in the file."
    )
    title: str = Field(default="single sign-on", description="What the button calls it.")
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    name_claim: str = Field(
        default="email",
        description="Who somebody is, in the log; choose one that people cannot change themselves.",
    )
    roles_claim: str = Field(default="groups", description="Where the token lists groups.")
    roles: dict[RoleName, tuple[str, ...]] = Field(
        default={}, description="The groups that give each role; the highest counts."
    )
    default_role: RoleName | None = Field(
        default=None, description="For people in none of these groups; left out, they stay outside."
    )


class Auth(Section):
    """How people come in, and what takes two of them."""

    four_eyes: bool = Field(
        default=True,
        description="Nobody approves what they asked for. `false` is for an installation of one "
        "person; every approval then says so on record.",
    )
    session_lifetime: Duration = Field(
        default=timedelta(hours=12), description="After this, people sign in again."
    )
    session_idle: Duration = Field(
        default=timedelta(hours=1), description="A session that is not used ends."
    )
    oidc: Oidc | None = None


WORKERS = (
    "Gateway processes. Each counts a subject's requests and remembers conversations for itself: "
    "whoever spreads requests over several connections may get the rate limit once in each, and "
    "around a change of the share a conversation may meet the new one; the hash keeps the arm the "
    "same in all of them."
)


class Settings(Section):
    """Everything in molt.yaml."""

    listen: Address = Field(default="127.0.0.1:8080", description="The gateway, for users.")
    api: Address = Field(default="127.0.0.1:8081", description="The control API, for operators.")
    api_url: str | None = Field(
        default=None, description="How agents and people reach the control API; default: `api`."
    )
    data: Path = Field(default=Path("molt-data"), description="Everything Molt keeps.")
    workers: int = Field(default=1, ge=1, le=64, description=WORKERS)
    tls: Tls | None = Field(default=None, description="Certificate of the gateway's listener.")
    upstreams: Upstreams
    identity: Identity = Identity()
    agents: Agents = Agents()
    egress: Egress | None = Field(default=None, description="Models and tools through Molt.")
    playbook: str = Field(
        default="wf-11", description="What `molt start` starts: a shipped name or a file."
    )
    flags_file: Path | None = Field(
        default=None, description="The watched `MOLTBOT_*` file; default: `flags.env` in `data`."
    )
    flags_ttl: Duration = Field(
        default=timedelta(minutes=10),
        description="Gateways serve control once control has been silent for this long.",
    )
    cost: Cost = Field(default=Cost(), description="Your money, over the playbook's.")
    prices: dict[str, Price] = Field(
        default={}, description="Your own prices by model glob, over the shipped price list."
    )
    notify: Notify = Notify()
    runbook: Path | None = Field(
        default=None,
        description="Your own on-call runbook, made from `molt runbook`; default: the one that Molt "
        "makes from the playbook.",
    )
    judge: Judge = Judge()
    audit: Audit = Audit()
    auth: Auth = Auth()
    max_body: int = Field(default=32 << 20, gt=0, description="Largest request body, bytes.")
    mirror_in_flight: int = Field(
        default=64, gt=0, description="Shadow copies at once; more are dropped and counted."
    )
    show_arm: bool = Field(default=True, description="Add `x-molt-arm` to answers.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("data", "flags_file", mode="after")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return value.expanduser() if value else value

    @property
    def flags_path(self) -> Path:
        """The flags file."""
        return self.flags_file or self.data / "flags.env"

    @property
    def public_api(self) -> str:
        """The control API's URL as others reach it."""
        return (self.api_url or f"http://{self.api}").rstrip("/")


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Settings from the file (if any) and the environment over it.

    Raises `ConfigError` that names file, line, column or variable, and what was expected.
    """
    document = yaml_source.read_file(path) if path else yaml_source.read("{}", "environment")
    known = {variable(place): place for place in setting_paths(Settings)}
    problems: list[Problem] = []
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in OUTSIDE or name.startswith("MOLT_INTERNAL_"):
            continue
        if name not in known:
            problems.append(Problem(f"environment {name}", "", "is not a setting of Molt"))
            continue
        try:
            document.override(known[name], YAML(typ="safe").load(text), f"environment {name}")
        except YAMLError:
            problems.append(Problem(f"environment {name}", "", f"not YAML: {text!r}"))
    if problems:
        raise ConfigError(problems)
    settings = document.validate(Settings)
    return _anchored(settings, path.parent if path else Path())


def _anchored(settings: Settings, folder: Path) -> Settings:
    """Relative paths count from the config file's folder."""
    changes: dict[str, Any] = {"data": folder / settings.data}
    if settings.flags_file:
        changes["flags_file"] = folder / settings.flags_file
    if settings.runbook:
        changes["runbook"] = folder / settings.runbook
    if settings.egress:
        changes["egress"] = settings.egress.anchored(folder)
    return settings.model_copy(update=changes)


def variable(path: tuple[str, ...]) -> str:
    """The environment variable of the setting at `path`."""
    return PREFIX + "__".join(path).upper()


def setting_paths(
    model: type[BaseModel], prefix: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """The path of every setting, sections included, depth first."""
    for name, field in model.model_fields.items():
        path = (*prefix, name)
        yield path
        section = section_of(field.annotation)
        if section is not None:
            yield from setting_paths(section, path)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The model behind `Model` or `Model | None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next((s for s in map(section_of, get_args(annotation)) if s), None)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None
