"""What the control API takes in."""

from typing import Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator


class Body(BaseModel):
    """Base of all request bodies: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")


class Plan(Body):
    """A playbook that ships with Molt, or the given text."""

    playbook: str = Field("wf-11", description="Name of a playbook that ships with Molt.")
    playbook_yaml: str | None = Field(None, description="The text of your own playbook.")


class Start(Plan):
    """Begin a rollout of a playbook that ships with Molt, or of the given text."""

    rollout: str | None = Field(
        None, pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Id; default: the playbook's name."
    )
    salt: str | None = Field(None, description="Assignment salt; default: random.")
    reason: str = ""
    waive: tuple[str, ...] = Field(
        (), description="Checklist items waived, with `reason`; `all` for every one."
    )
    prediction: dict[str, Any] | None = Field(
        None, description="What `molt plan --save` or `--json` wrote; the retrospective uses it."
    )


class Command(Body):
    """What every command takes."""

    reason: str = ""
    expected_version: int | None = Field(
        None, description="The rollout version that you saw; another one is a 409."
    )


class Approve(Command):
    """An approval of what is asked."""

    digest: str | None = Field(
        None, description="That of the request you saw (`approval.digest`); another one is refused."
    )


class Resume(Command):
    """Let the climb go on."""

    phase: Literal["shadow", "canary", "progressive"] | None = Field(
        None, description="After a rollback: the phase to resume from."
    )


class Note(Command):
    """A remark; with a version, an adjustment to the candidate."""

    text: str = Field(min_length=1)
    candidate_version: str | None = None


class IncidentNote(Body):
    """Something for an incident's timeline."""

    text: str = Field(min_length=1)


class IncidentClose(Body):
    """The end of an incident."""

    cause: str = Field(min_length=1)


class OutcomeIn(Body):
    """A business fact about a subject."""

    id: str = Field(min_length=1, max_length=200, description="Unique; a repeated id counts once.")
    subject: str = Field(min_length=1, max_length=500)
    kind: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    at: AwareDatetime | None = Field(None, description="When it happened; default: now.")
    value: float | None = Field(None, ge=-1e15, le=1e15, allow_inf_nan=False)
    agent: str | None = None
    rollout: str | None = Field(None, description="Needed when several rollouts run, or `agent`.")


class LineError(BaseModel):
    """What is wrong with one line of a batch; lines count from 1."""

    line: int
    error: str


class BatchCounts(BaseModel):
    """What became of a batch. `errors` names the first hundred lines that were rejected."""

    accepted: int
    repeated: int
    unknown_subjects: int
    too_late: int
    without_value: int
    unused: int
    rejected: int
    errors: list[LineError]


class ViolationIn(Body):
    """A security violation that your own systems saw."""

    id: str = Field(min_length=1, max_length=200, description="Unique; a repeated id counts once.")
    agent: str
    tool: str
    at: AwareDatetime | None = None
    run: str | None = None
    subject: str | None = None
    detail: str | None = Field(None, max_length=2000)


class ActionIn(Body):
    """Something that the existing system did in a request. Give `trace`, or `subject` (and `at`)."""

    id: str = Field(min_length=1, max_length=200, description="Unique; a repeated id counts once.")
    tool: str = Field(
        min_length=1, max_length=200, description="By the name under which the agent has it."
    )
    arguments: dict[str, Any] = {}
    trace: str | None = Field(
        None, description="The request's `traceparent` as it came, or its trace id alone."
    )
    subject: str | None = Field(None, min_length=1, max_length=500)
    at: AwareDatetime | None = Field(None, description="When it was done; default: now.")
    agent: str | None = None
    rollout: str | None = Field(None, description="Needed when several rollouts run, or `agent`.")

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if not self.trace and not self.subject:
            raise ValueError("which request? give `trace`, or `subject` and `at`")
        return self

    @property
    def trace_id(self) -> str | None:
        """The trace id alone."""
        if not self.trace:
            return None
        parts = self.trace.split("-")
        return (parts[1] if len(parts) >= 4 else self.trace).lower()


class RuleDifference(Body):
    """What a person says of a kind of difference."""

    kind: str = Field(
        min_length=1,
        description="A kind such as `call_extra:menu_search`, or a family such as `wording`.",
    )
    reason: str = ""
    expected_version: int | None = None


class CallReport(BaseModel):
    """A tool call that an agent is about to make, reported before it acts."""

    tool: str
    arguments: dict[str, object] = {}
