"""The APIs of language models, as far as a proxy must know them: what is asked, what is answered.

`chat` is OpenAI's chat completions, `responses` OpenAI's responses, `anthropic` Anthropic's
messages. Each is a `Dialect`.
"""

from typing import Final

from molt.wire.models.anthropic import MESSAGES
from molt.wire.models.base import (
    Asked,
    BadRequest,
    Dialect,
    Made,
    Passing,
    Unreadable,
    nothing_weighed,
)
from molt.wire.models.chat import CHAT
from molt.wire.models.responses import RESPONSES

DIALECTS: Final[tuple[Dialect, ...]] = (CHAT, RESPONSES, MESSAGES)

__all__ = [
    "CHAT",
    "DIALECTS",
    "MESSAGES",
    "RESPONSES",
    "Asked",
    "BadRequest",
    "Dialect",
    "Made",
    "Passing",
    "Unreadable",
    "nothing_weighed",
]
