"""The agent's way out: models and tools through Molt."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from molt.apps.settings.section import Address, Section, Url, written_as
from molt.core.quantities import Duration


class ModelService(Section):
    """A provider of models that agents reach through Molt."""

    url: Url = Field(
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
    url: Url = Field(
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


ToolsName = Annotated[
    str, written_as("[A-Za-z0-9_-]{1,64}", "a name of letters, digits, - and _, at most 64")
]


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
    tools: dict[ToolsName, ToolService] = Field(
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
