"""Playbooks from files, from text, and those that ship with Molt."""

from importlib.resources import files
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML

from molt.adapters import yaml_source
from molt.core.errors import OperatorError
from molt.core.playbook import Playbook

_SHIPPED = files("molt") / "playbooks"


def shipped() -> list[str]:
    """The names of the playbooks that ship with Molt."""
    return sorted(
        f.name.removesuffix(".yaml") for f in _SHIPPED.iterdir() if f.name.endswith(".yaml")
    )


def shipped_text(name: str) -> str:
    """The YAML text of a shipped playbook. Raises `OperatorError`."""
    if name not in shipped():
        raise OperatorError(
            f"No playbook {name!r}: expected a file, or one of {', '.join(shipped())}"
        )
    return (_SHIPPED / f"{name}.yaml").read_text(encoding="utf-8")


def parse_playbook(text: str, source: str) -> Playbook:
    """The playbook in `text`; errors name `source`, line and column."""
    return yaml_source.loads(text, Playbook, source)


def as_yaml(playbook: Playbook) -> str:
    """The plan as YAML text, every default written out; reads back as the same plan, by its hash too."""
    out = StringIO()
    YAML().dump(playbook.as_data(), out)
    return out.getvalue()


def load_playbook(name_or_path: str) -> Playbook:
    """A playbook by its shipped name or by the path of its file."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or path.exists():
        return yaml_source.load(path, Playbook)
    return parse_playbook(shipped_text(name_or_path), f"{name_or_path}.yaml")
