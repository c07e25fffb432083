"""How answers in shadow are compared with control's."""

import re
from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator

from molt.core.compare import BLOCKING, KINDS, Rules, family
from molt.core.playbook.agents import Tools
from molt.core.playbook.base import Plan
from molt.core.quantities import Duration, Fraction, Share
from molt.core.redaction import DEFAULTS


class Comparison(Plan):
    """How the agent's answers in shadow are compared with control's, and what is kept of them."""

    enabled: bool = Field(
        default=True, description="Off keeps no bodies at all, and compares nothing."
    )
    sample: Share = Field(default=100, description="Percent of mirrored requests compared.")
    max_body: int = Field(
        default=16 * 1024, ge=0, le=1 << 20, description="Bytes kept of a body; longer is marked."
    )
    keep: Duration = Field(default=timedelta(days=7), description="How long a pair is kept.")
    keep_pairs: int = Field(default=2000, gt=0, le=100_000, description="How many at most.")
    settle: Duration = Field(
        default=timedelta(seconds=5),
        description="How long Molt waits for reports of actions before it compares.",
    )
    actions_from: Literal["answers", "reports"] = Field(
        default="answers",
        description="Where control's actions are found: in its answers (and in reports, where there "
        "are some), or only in reports to `POST /api/v1/actions`; then no report means no action.",
    )
    blocking: tuple[str, ...] = Field(
        default=BLOCKING,
        description="Kinds of differences that make a pair unacceptable: families, or one tool's, "
        "such as `call_extra:place_order`.",
    )
    ignore: tuple[str, ...] = Field(
        default=(),
        description="JSON paths that are not compared, such as `$.items[*].id` or `$.meta`; `*` "
        "stands for one field, `**` for any number of them.",
    )
    ignore_calls: tuple[str, ...] = Field(
        default=(),
        description="Globs of tools that are not compared, beside those that the "
        "agent's `tools` call `read_only`: to look is no action.",
    )
    ignore_arguments: tuple[str, ...] = Field(
        default=(), description="Arguments that may differ, such as `cart_id`."
    )
    wording: Fraction = Field(
        default=0.5, description="Least likeness of two texts, whatever the order of words."
    )
    slower: float = Field(default=2.0, ge=1, description="Slower is more than this many times ...")
    slower_by: Duration = Field(
        default=timedelta(milliseconds=500), description="... and by more than this."
    )
    dearer: float = Field(
        default=2.0, ge=1, description="More tokens or cost is more than this many times control's."
    )
    twice: Share = Field(
        default=0,
        description="Percent of compared requests that control gets a second time, to learn how "
        "much it differs from itself: a field counts only above that noise.",
    )
    twice_methods: tuple[str, ...] = Field(
        default=("GET", "HEAD"),
        description="Methods that control may get twice. Add `POST` only where repeating is safe.",
    )
    redact: dict[str, str] = Field(
        default_factory=lambda: dict(DEFAULTS),
        description="Name to regular expression: what matches is kept as `[name]`, in bodies, paths "
        "and arguments. Default: `token`, `email`, `card` (by Luhn's check), `phone`; what you give "
        "replaces it.",
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        unknown = [k for k in self.blocking if family(k) not in KINDS]
        if unknown:
            raise ValueError(f"blocking: {unknown[0]!r}; expected one of {', '.join(KINDS)}")
        for name, pattern in self.redact.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"redact: {name}: not a regular expression: {error}") from None
        return self

    def rules(self, tools: Tools | None = None) -> Rules:
        """The same for the comparison; what `tools` call read-only is no action either."""
        reading = tools.read_only if tools else ()
        return Rules(
            ignore=self.ignore,
            ignore_calls=(*self.ignore_calls, *reading),
            writes=tools.writes if tools else (),
            ignore_arguments=self.ignore_arguments,
            wording=self.wording,
            slower=self.slower,
            slower_ms=self.slower_by.total_seconds() * 1000,
            dearer=self.dearer,
        )
