"""What the tests of the core stand on: plans, a rollout with its log, and evidence by hand."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from molt.core.playbook import Playbook

T0 = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
"""A Monday morning, on a slot's edge."""

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@cache
def wf11() -> Playbook:
    """The shipped plan."""
    text = (files("molt") / "playbooks" / "wf-11.yaml").read_text(encoding="utf-8")
    return Playbook.model_validate(YAML(typ="safe", pure=True).load(text))


def step(share: float, *gates: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A step held for an hour."""
    return {"share": share, "hold": "1h", "gates": list(gates), **more}


def plan(*phases: tuple[str, Sequence[dict[str, Any]]], **more: Any) -> Playbook:
    """A small plan; WF-11's triggers unless others are given."""
    data: dict[str, Any] = {
        "molt": 1,
        "name": "small",
        "agents": {"guest": {}},
        "phases": [{"name": name, "steps": list(steps)} for name, steps in phases],
        "triggers": [t.model_dump(mode="json", by_alias=True) for t in wf11().triggers],
    }
    return Playbook.model_validate(data | more)
