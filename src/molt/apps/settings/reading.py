"""Settings from molt.yaml and the environment over it.

Every setting can come from the environment: `MOLT_` and its path with double underscores, such as
`MOLT_UPSTREAMS__CANDIDATE__URL`. Lists and maps are given as YAML. The environment wins.
"""

import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from molt.adapters import yaml_source
from molt.adapters.problems import ConfigError, Problem, did_you_mean
from molt.apps.settings.model import Settings

PREFIX = "MOLT_"

OUTSIDE = frozenset({"MOLT_URL", "MOLT_TOKEN", "MOLT_CONFIG", "MOLT_EGRESS_URL"})
"""Read by the command line; not settings."""

NO_CONFIGURATION = Problem(
    "",
    "",
    "There is no molt.yaml here. `molt init` writes one, `--config FILE` names another; the environment "
    "alone is enough, too: MOLT_UPSTREAMS__CONTROL__URL and MOLT_UPSTREAMS__CANDIDATE__URL",
)


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Settings from the file (if any) and the environment over it.

    Raises `ConfigError` that names file, line, column or variable, and what was expected.
    """
    document = yaml_source.read_file(path) if path else yaml_source.read("{}", "environment")
    known = {variable(place): place for place in setting_paths(Settings)}
    problems: list[Problem] = []
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in OUTSIDE or name.startswith("MOLT_INTERNAL_"):
            continue
        if name not in known:
            hint = did_you_mean(name, known)
            text = "is not a setting of Molt" + (f"; {hint}" if hint.startswith("did") else "")
            problems.append(Problem(f"environment {name}", "", text))
            continue
        try:
            document.override(known[name], YAML(typ="safe").load(text), f"environment {name}")
        except YAMLError:
            problems.append(Problem(f"environment {name}", "", f"not YAML: {text!r}"))
    if problems:
        raise ConfigError(problems)
    if path is None and "upstreams" not in document.data:
        raise ConfigError([NO_CONFIGURATION])
    settings = document.validate(Settings)
    return _anchored(settings, path.parent if path else Path())


def _anchored(settings: Settings, folder: Path) -> Settings:
    """Relative paths count from the config file's folder."""
    changes: dict[str, Any] = {"data": folder / settings.data}
    if settings.flags_file:
        changes["flags_file"] = folder / settings.flags_file
    if settings.runbook:
        changes["runbook"] = folder / settings.runbook
    if settings.egress:
        changes["egress"] = settings.egress.anchored(folder)
    return settings.model_copy(update=changes)


def variable(path: tuple[str, ...]) -> str:
    """The environment variable of the setting at `path`."""
    return PREFIX + "__".join(path).upper()


def setting_paths(
    model: type[BaseModel], prefix: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """The path of every setting, sections included, depth first."""
    for name, field in model.model_fields.items():
        path = (*prefix, name)
        yield path
        section = section_of(field.annotation)
        if section is not None:
            yield from setting_paths(section, path)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The model behind `Model` or `Model | None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next((s for s in map(section_of, get_args(annotation)) if s), None)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None
