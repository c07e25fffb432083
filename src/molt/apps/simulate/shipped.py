"""Scenarios that ship with Molt, and your own."""

from importlib.resources import files
from pathlib import Path

from molt.adapters import yaml_source
from molt.apps.simulate.scenario import Scenario
from molt.core.errors import OperatorError

_SHIPPED = files("molt") / "apps" / "simulate" / "scenarios"

ORDER = (
    "healthy",
    "weekend-dip",
    "harm-5",
    "harm-10",
    "harm-20",
    "errors-20",
    "dead-agent",
    "daily-outage",
    "no-data",
    "srm",
    "cost-4x",
    "complaints-5x",
)
"""The shipped scenarios, from what must pass to what must not."""


def shipped_text(name: str) -> str:
    """The YAML text of a shipped scenario. Raises `OperatorError`."""
    if name not in ORDER:
        raise OperatorError(f"No scenario {name!r}: expected a file, or one of {', '.join(ORDER)}")
    return (_SHIPPED / f"{name}.yaml").read_text(encoding="utf-8")


def load_scenario(name_or_path: str) -> tuple[str, Scenario]:
    """A scenario by its shipped name or the path of its file, with its name.

    Raises `ConfigError` with file, line and column of everything that is wrong.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or path.exists():
        return path.stem, yaml_source.load(path, Scenario)
    text = shipped_text(name_or_path)
    return name_or_path, yaml_source.loads(text, Scenario, f"{name_or_path}.yaml")
