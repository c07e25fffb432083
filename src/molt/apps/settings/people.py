"""Who may do what, who is told, and what is kept about it."""

from datetime import timedelta
from typing import Literal
from zoneinfo import available_timezones

from pydantic import Field, field_validator

from molt.apps.settings.section import Clock, Section
from molt.core.quantities import Duration

RoleName = Literal["viewer", "operator", "approver", "admin"]


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
    model: str = Field(default="", description="Its name there.")
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

    info: tuple[str, ...] = Field(default=(), description="A new step, the end, half of a budget.")
    warning: tuple[str, ...] = Field(
        default=(), description="Paused, in review, waits for a person."
    )
    critical: tuple[str, ...] = Field(
        default=(), description="Rolled back, halved, a budget spent."
    )
    quiet: Quiet | None = Field(default=None, description="When only critical ones go out.")


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
    client_id: str = Field(description="What it calls Molt.")
    client_secret: str | None = Field(
        default=None, description="Better from `MOLT_AUTH__OIDC__CLIENT_SECRET` than in the file."
    )
    title: str = Field(default="single sign-on", description="What the button calls it.")
    scopes: tuple[str, ...] = Field(
        default=("openid", "profile", "email"), description="What it is asked to tell."
    )
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
    oidc: Oidc | None = Field(default=None, description="Where people sign in, beside tokens.")
