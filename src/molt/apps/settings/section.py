"""What all sections of molt.yaml are: immutable, and unknown keys are errors."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """Base of all settings: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Clock = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]

Address = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^:\s]+):\d{1,5}$")]
