"""What every part of a plan is: immutable, and unknown keys are errors."""

from pydantic import BaseModel, ConfigDict


class Plan(BaseModel):
    """Base of everything in a playbook: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_timedelta="float")
