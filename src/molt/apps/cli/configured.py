"""What the configuration file says, for commands that were not told otherwise."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from molt.apps.settings import Settings
    from molt.core.playbook import Playbook


def config_path() -> Path | None:
    """The file that `MOLT_CONFIG` names, else ./molt.yaml if there is one."""
    named = os.environ.get("MOLT_CONFIG")
    if named:
        return Path(named)
    here = Path("molt.yaml")
    return here if here.is_file() else None


def settings() -> "Settings | None":
    """The settings of the configuration file; None when there is none. Raises `ConfigError`."""
    path = config_path()
    if path is None:
        return None
    from molt.apps.settings import load_settings

    return load_settings(path, os.environ)


def api_url() -> str | None:
    """Where the control API is, as seen from this machine; None when no file says it."""
    found = settings()
    if found is None:
        return None
    return found.public_api.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def public_url() -> str | None:
    """Where people reach the control API and the console; None when no file says it."""
    found = settings()
    return found.public_api if found else None


def with_own_money(plan: "Playbook") -> "Playbook":
    """The plan as `molt start` would run it: with the budget of the configuration over its own."""
    found = settings()
    return plan.with_money(found.cost) if found else plan


def data_dir() -> Path:
    """Molt's data directory."""
    found = settings()
    return found.data if found else Path("molt-data")


def playbook() -> str:
    """What `molt start` starts: a shipped name, or a file beside the configuration."""
    found, path = settings(), config_path()
    if found is None or path is None:
        return "wf-11"
    beside = path.parent / found.playbook
    return str(beside) if beside.is_file() else found.playbook
