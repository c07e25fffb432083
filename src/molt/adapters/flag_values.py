"""The operator's flags by name: which there are, what each may say, and the bounds they make."""

import re
from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from molt.adapters.problems import ConfigError, Problem, did_you_mean
from molt.core.flags import Bounds

PREFIX: Final = "MOLTBOT_"
SHADOW_ALIAS: Final = "SHADOW_MODE"
USUAL_AGENTS: Final = ("guest", "bar_manager", "admin", "ui_orchestrator", "research")

Agents = Collection[str] | None
"""The agents that flags may name; None accepts every name that is no near miss of a usual one."""


class Setting(NamedTuple):
    """One `KEY=VALUE` as found; `key_place` and `place` say where the key and the value stand."""

    key: str
    value: str
    key_place: str
    place: str


def agent_key(agent: str) -> str:
    """The flag that switches one agent: `MOLTBOT_BAR_MANAGER_ENABLED`."""
    return f"{PREFIX}{agent.upper().replace('-', '_')}_ENABLED"


def aliases(key: str) -> tuple[str, ...]:
    """All spellings of one flag."""
    both = (PREFIX + SHADOW_ALIAS, SHADOW_ALIAS)
    return both if key in both else (key,)


def is_flag(key: str) -> bool:
    """Whether a key is Molt's to judge, misspelt ones included."""
    return key == SHADOW_ALIAS or key.upper().startswith(PREFIX)


def bounds_of(settings: Iterable[Setting], agents: Agents = None) -> Bounds:
    """What the settings allow; raises `ConfigError` with every problem. Other keys are ignored."""
    fields: dict[str, Any] = {}
    by_agent: dict[str, Any] = {}
    given: dict[str, Setting] = {}
    problems: list[Problem] = []
    for setting in settings:
        if not is_flag(setting.key):
            continue
        try:
            value = checked(setting.key, setting.value, agents)
        except UnknownFlag as error:
            problems.append(Problem(setting.key_place, setting.key, str(error)))
            continue
        except ValueError as error:
            problems.append(Problem(setting.place, setting.key, str(error)))
            continue
        name = aliases(setting.key)[0]
        target, field = (fields, _FLAGS[name][0]) if name in _FLAGS else (by_agent, "")
        field = field or _agent_of(name, agents)
        if target.setdefault(field, value) != value:
            first = given[field]
            text = f"says {setting.value!r}, but {first.key} says {first.value!r} at {first.place}"
            problems.append(Problem(setting.place, setting.key, f"{text}; expected one of them"))
        given.setdefault(field, setting)
    if problems:
        raise ConfigError(problems)
    return Bounds(**fields, agents=by_agent)


class UnknownFlag(ValueError):
    """A key with Molt's prefix that is no flag."""


def checked(key: str, value: str, agents: Agents = None) -> bool | int | float:
    """The flag's value; raises `UnknownFlag`, or ValueError saying what was expected."""
    known = _FLAGS.get(aliases(key)[0])
    if known is not None:
        return known[1](value)
    _agent_of(key, agents)
    return _truth(value)


def _agent_of(key: str, agents: Agents) -> str:
    match = re.fullmatch(rf"{PREFIX}([A-Z0-9_-]+)_ENABLED", key)
    if match is None:
        raise UnknownFlag(f"unknown flag; {_hint(key, agents)}")
    name = match[1].lower()
    known = {agent.lower().replace("-", "_"): agent for agent in agents or USUAL_AGENTS}
    plain = name.replace("-", "_")
    if plain in known:
        return known[plain]
    if agents is not None or get_close_matches(plain, known, n=1, cutoff=0.8):
        raise UnknownFlag(f"unknown agent {name!r}; {_hint(key, agents)}")
    return name


def _hint(key: str, agents: Agents) -> str:
    flags = [*_FLAGS, *(agent_key(agent) for agent in agents or USUAL_AGENTS)]
    word = key.upper().removeprefix(PREFIX)  # what all have in common says nothing
    near = get_close_matches(word, [flag.removeprefix(PREFIX) for flag in flags], n=1, cutoff=0.6)
    return did_you_mean(PREFIX + near[0], flags) if near else f"expected one of {', '.join(flags)}"


def _truth(value: str) -> bool:
    word = value.lower()
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off"):
        return False
    raise ValueError(f"{value!r} is wrong; expected true or false (or 1/0, yes/no, on/off)")


def _percent(value: str) -> float:
    if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,2})?", value) and float(value) <= 100:
        return float(value)
    raise ValueError(
        f"{value!r} is wrong; expected a number from 0 to 100 with at most 2 decimals, without %"
    )


def _whole(least: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if re.fullmatch(r"[0-9]{1,9}", value) and int(value) >= least:
            return int(value)
        raise ValueError(f"{value!r} is wrong; expected a whole number, at least {least}")

    return parse


_FLAGS: Final[dict[str, tuple[str, Callable[[str], bool | int | float]]]] = {
    "MOLTBOT_ENABLED": ("enabled", _truth),
    "MOLTBOT_SHADOW_MODE": ("shadow_mode", _truth),
    "MOLTBOT_TRAFFIC_PERCENT": ("traffic_percent", _percent),
    "MOLTBOT_MAX_TOKENS_PER_REQUEST": ("max_tokens_per_request", _whole(1)),
    "MOLTBOT_MAX_TOOL_CALLS_PER_REQUEST": ("max_tool_calls_per_request", _whole(0)),
    "MOLTBOT_RATE_LIMIT_PER_MINUTE": ("rate_limit_per_minute", _whole(1)),
}
