"""Everything in molt.yaml."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from molt.apps.settings.egress import Egress
from molt.apps.settings.people import Audit, Auth, Judge, Notify
from molt.apps.settings.section import Address, Section
from molt.apps.settings.services import Agents, Identity, Price, Tls, Upstreams
from molt.core.playbook import Cost
from molt.core.quantities import Duration

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
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Of what the processes say on standard error."
    )

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
