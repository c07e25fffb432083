"""What stands behind Molt, and who asks: services, certificates, identity, agents, prices."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from molt.apps.settings.section import Origin, Section
from molt.core.errors import OperatorError
from molt.core.quantities import Duration
from molt.gateway.identity import check_rule


class Tls(Section):
    """A certificate for a listener, PEM."""

    certificate: Path = Field(description="With the chain behind it.")
    key: Path = Field(description="Without a passphrase.")


class Upstream(Section):
    """A service that Molt forwards to."""

    url: Origin = Field(
        description="`http://host:port` or `https://host:port`; paths are forwarded as they come.",
    )
    ca: Path | None = Field(default=None, description="Own certificate authority, PEM.")
    client_certificate: Path | None = Field(default=None, description="For mutual TLS, PEM.")
    client_key: Path | None = Field(default=None, description="Its key, PEM.")
    connect_timeout: Duration = Field(
        default=timedelta(seconds=1), description="Until it takes the connection."
    )
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


def _understood(rule: str) -> str:
    try:
        check_rule(rule)
    except OperatorError as error:
        raise ValueError(str(error)) from None
    return rule


def _names_a_subject(rule: str) -> str:
    return rule if rule == "session" else _understood(rule)


Rule = Annotated[str, AfterValidator(_understood)]
SubjectRule = Annotated[str, AfterValidator(_names_a_subject)]


class Identity(Section):
    """Who is asking: rules are tried in order, the first that finds something counts.

    A rule is `header:NAME`, `cookie:NAME`, `query:NAME`, `path:/a/{agent}` for one segment of a path,
    `path:REGEX` with one group, `body:FIELD.PATH` of a JSON body up to 64 KB, or `const:VALUE`; for the
    subject also `session`, the session's id.
    """

    profiles: tuple[Literal["agent-chat", "openai", "anthropic"], ...] = Field(
        default=("agent-chat", "openai", "anthropic"),
        description="Ready-made rules, tried after your own.",
    )
    agent: tuple[Rule, ...] = Field(default=(), description="The agent type that is asked.")
    subject: tuple[SubjectRule, ...] = Field(
        default=(), description="Who is put on an arm: a user's id, else a session's."
    )
    session: tuple[Rule, ...] = Field(
        default=(), description="The conversation; it stays on its arm."
    )


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

    input: float = Field(ge=0, description="Tokens read.")
    output: float = Field(ge=0, description="Tokens written.")
