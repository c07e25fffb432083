"""What all sections of molt.yaml are: immutable, and unknown keys are errors."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Section(BaseModel):
    """Base of all settings: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def written_as(pattern: str, shown: str) -> AfterValidator:
    """Lets text through that fits the whole of `pattern`; else people hear `shown`, not a pattern."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"expected {shown}")
        return text

    return AfterValidator(check)


Clock = Annotated[str, written_as(r"([01]\d|2[0-3]):[0-5]\d", "a time of day such as 22:00")]

Address = Annotated[
    str,
    written_as(r"(\[[0-9a-fA-F:.]+\]|[^:\s]+):\d{1,5}", "HOST:PORT, such as 127.0.0.1:8080"),
]

Origin = Annotated[
    str,
    written_as(r"https?://[^/?#\s]+/?", "http://HOST:PORT or https://HOST:PORT, without a path"),
]

Url = Annotated[
    str, written_as(r"https?://[^/?#\s]+(/[^?#\s]*)?", "a URL that begins with http:// or https://")
]
