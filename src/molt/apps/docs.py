"""Writes the reference pages from the code, so that they cannot drift.

`python -m molt.apps.docs --write` rewrites them, `--check` fails where one is not current.
"""

import argparse
import json
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from molt.adapters.playbooks import load_playbook
from molt.apps.docs_json import SECTIONS, json_page
from molt.apps.settings import Settings, section_of, setting_paths, variable
from molt.core import playbook
from molt.core.evolve import TRANSITIONS
from molt.core.quantities import show_duration, show_fraction
from molt.core.rollout import Phase
from molt.core.runbook import runbook

NOTE = "<!-- Written by `make docs UPDATE=1`; change the code, not this page. -->\n"


# --- types and defaults, as people write them


def type_name(annotation: Any) -> str:
    """A field's type in a person's words."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _annotated(args)
    if origin is Literal:
        return " or ".join(f"`{a}`" for a in args)
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(a) for a in args if a is not type(None))
    if origin is tuple:
        return f"list of {type_name(args[0])}"
    if origin is dict:
        return f"map of {type_name(args[0])} to {type_name(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    plain = {
        Any: "anything",
        str: "text",
        int: "whole number",
        float: "number",
        bool: "true or false",
        Path: "path",
    }
    return plain.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _annotated(args: Sequence[Any]) -> str:
    if args[0] is timedelta:
        return "duration"
    union = [a for a in get_args(args[0]) if isinstance(a, type) and issubclass(a, BaseModel)]
    if union:
        return f"one of the {'gates' if issubclass(union[0], playbook.Gate) else 'triggers'}"
    return type_name(args[0])


def field_type(field: FieldInfo) -> str:
    """The type of a model's field."""
    if field.annotation is timedelta:
        return "duration"
    if field.annotation is float and any("fraction" in repr(m) for m in field.metadata):
        return "percentage"
    return type_name(field.annotation)


def default_of(field: FieldInfo) -> str:
    """The default as it would be written, or that there is none."""
    value = field.default
    if value is PydanticUndefined:
        return "**required**" if field.default_factory is None else ""
    if isinstance(value, timedelta):
        return f"`{show_duration(value)}`"
    if isinstance(value, float) and field_type(field) == "percentage":
        return f"`{show_fraction(value)}`"
    if isinstance(value, BaseModel):
        return "see there"
    if value in (None, (), {}, ""):
        return "none"
    if isinstance(value, tuple):
        return f"`[{', '.join(json.dumps(v) if '*' in str(v) else str(v) for v in value)}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def what_of(field: FieldInfo) -> str:
    """What a field is for; of a section that does not say, what the section itself says."""
    kind = field.annotation
    if field.description or not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return field.description or ""
    return _doc(kind).partition("\n")[0]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def table(model: type[BaseModel]) -> list[str]:
    """The fields of a model as a Markdown table."""
    rows = ["| field | what | type | default |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        cells = (what_of(field), field_type(field), default_of(field))
        rows.append(f"| `{field.alias or name}` | {' | '.join(map(_cell, cells))} |")
    return rows


def section(model: type[BaseModel], title: str | None = None) -> list[str]:
    """Heading, docstring and table of one model."""
    return [f"### {title or model.__name__}", "", _doc(model), "", *table(model), ""]


def _doc(model: type[BaseModel]) -> str:
    return "\n".join(line.strip() for line in (model.__doc__ or "").strip().splitlines())


# --- pages


def playbook_page() -> str:
    """The playbook reference."""
    gates = get_args(get_args(playbook.AnyGate)[0])
    triggers = get_args(get_args(playbook.AnyTrigger)[0])
    parts = (
        playbook.PhasePlan, playbook.Step, playbook.Agent, playbook.Tools, playbook.Metric,
        playbook.Comparison, playbook.LimitsPlan, playbook.Slos, playbook.Cost, playbook.Timing,
    )  # fmt: skip
    lines = [
        NOTE,
        "# Playbook reference",
        "",
        "A playbook is a YAML file. Durations carry a unit (`30s`, `5m`, `48h`, `7d`), percentages "
        "a `%`, shares are plain numbers of percent. Unknown keys are errors, with line and "
        "column. `molt playbook check FILE` validates one; `molt playbook show wf-11` shows the "
        "one that ships with Molt.",
        "",
        *section(playbook.Playbook, "Playbook"),
        "## Parts",
        "",
        *[line for part in parts for line in section(part)],
        "## Gates",
        "",
        "A gate says whether the rollout may go on. It answers `pass`, `fail` or `wait`; evidence "
        "that is missing is `wait`. Every gate has `on_fail`: `hold` (stay and ask a person) or "
        "`roll_back`.",
        "",
        *[line for gate in gates for line in section(gate, f"`{_kind(gate)}`")],
        "## Triggers",
        "",
        "A trigger takes traffic back or stops the climb, in every phase, at once; it pre-empts "
        "holds, approvals and waits.",
        "",
        *[line for t in triggers for line in section(t, f"`{_kind(t)}` trigger")],
    ]
    return "\n".join(lines)


def _kind(model: type[BaseModel]) -> str:
    return get_args(model.model_fields["kind"].annotation)[0]


def configuration_page() -> str:
    """The configuration reference."""
    sections = [s for s in dict.fromkeys(_sections(Settings)) if s is not playbook.Cost]
    variables = [f"| `{'.'.join(path)}` | `{variable(path)}` |" for path in setting_paths(Settings)]
    flags = [
        ("MOLTBOT_ENABLED", "true or false", "Off sends everything to control, shadow too."),
        ("MOLTBOT_SHADOW_MODE", "true or false", "On keeps the agent in shadow. Alias `SHADOW_MODE`."),
        ("MOLTBOT_TRAFFIC_PERCENT", "0 to 100", "The share never goes above it."),
        ("MOLTBOT_<AGENT>_ENABLED", "true or false", "One agent type, such as `MOLTBOT_GUEST_ENABLED`."),
        ("MOLTBOT_MAX_TOKENS_PER_REQUEST", "whole number", "Tokens of one run."),
        ("MOLTBOT_MAX_TOOL_CALLS_PER_REQUEST", "whole number", "Tool calls of one run."),
        ("MOLTBOT_RATE_LIMIT_PER_MINUTE", "whole number", "Requests of one subject."),
    ]  # fmt: skip
    lines = [
        NOTE,
        "# Configuration reference",
        "",
        "`molt init` writes a commented `molt.yaml`. Every setting can come from the environment "
        "too, and the environment wins; lists and maps are given as YAML. Relative paths count "
        "from the file's folder.",
        "",
        *section(Settings, "molt.yaml"),
        *[line for model in sections for line in section(model)],
        *section(playbook.Cost),
        "## From the environment",
        "",
        "| setting | variable |",
        "| --- | --- |",
        *variables,
        "",
        "## Operator flags",
        "",
        "WF-11's flags are **bounds**: the rollout moves inside them. They are read from the "
        "environment of `molt serve` and from the watched flags file, and the tighter value "
        "counts: enabled = both, percent = the smaller, shadow = either. A malformed file leaves "
        "the last good flags in force and raises an alarm.",
        "",
        "| flag | value | effect |",
        "| --- | --- | --- |",
        *[f"| `{name}` | {value} | {effect} |" for name, value, effect in flags],
        "",
    ]
    return "\n".join(lines)


def _sections(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for field in model.model_fields.values():
        inner = section_of(field.annotation)
        for arg in get_args(field.annotation):
            inner = inner or section_of(arg)
        if inner is not None:
            yield inner
            yield from _sections(inner)


def states_page() -> str:
    """The state diagram, from the transition table."""
    arrows: dict[tuple[Phase, Phase], list[str]] = {}
    staying: dict[Phase, list[str]] = {}
    for (phase, event), targets in TRANSITIONS.items():
        for target in targets:
            if target is phase:
                staying.setdefault(phase, []).append(event.__name__)
            else:
                arrows.setdefault((phase, target), []).append(event.__name__)
    order = list(Phase)
    diagram = [
        f"    {a.value} --> {b.value}: {', '.join(sorted(names))}"
        for (a, b), names in sorted(
            arrows.items(), key=lambda row: (order.index(row[0][0]), order.index(row[0][1]))
        )
    ]
    lines = [
        NOTE,
        "# States of a rollout",
        "",
        "What may follow what stands in one table, `TRANSITIONS` in `core/evolve.py`; this page "
        "is drawn from it. An event that is not in the table for a phase cannot be appended.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> new",
        *diagram,
        "    aborted --> [*]",
        "```",
        "",
        "Events that leave the phase as it is:",
        "",
        "| phase | events |",
        "| --- | --- |",
        *[
            f"| {phase.value} | {', '.join(sorted(staying[phase]))} |"
            for phase in order
            if phase in staying
        ],
        "",
    ]
    return "\n".join(lines)


def api_page() -> str:
    """The HTTP API, from its OpenAPI document."""
    from molt.apps.api.app import openapi_document

    document = openapi_document()
    lines = [
        NOTE,
        "# HTTP API",
        "",
        "The control API listens at `api` (default `127.0.0.1:8081`). `/docs` shows it with forms, "
        "`/openapi.json` is its OpenAPI document. Calls need `Authorization: Bearer TOKEN`, "
        "except health, metrics and an agent's own report, which takes its run's token; roles are "
        "viewer, operator, approver, admin. Errors are JSON with `detail`: 401 no or bad token, 403 the role is too low, 404 no such rollout, incident, alert, pair or name, 409 refused "
        "or changed meanwhile, 422 bad input, 503 the store is away.",
        "",
        "| call | what |",
        "| --- | --- |",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            text = _cell(operation.get("description", operation.get("summary", "")))
            lines.append(f"| `{method.upper()} {path}` | {text} |")
    return "\n".join([*lines, ""])


def cli_page() -> str:
    """The command line, from its own help."""
    import typer
    from typer.main import get_command

    from molt.apps.cli.app import app
    from molt.apps.cli.exits import MEANINGS

    lines = [
        NOTE,
        "# Command line",
        "",
        "`molt COMMAND --help` says more. Commands that talk to a running Molt take `--url` and "
        "`--token`, or `MOLT_URL` and `MOLT_TOKEN`; `--rollout` may be left out when there is one.",
        "",
        "## Exit codes",
        "",
        "| code | meaning |",
        "| --- | --- |",
        *[f"| {code} | {_cell(text)} |" for code, text in MEANINGS.items()],
        "",
    ]
    root: Any = get_command(app)
    context = typer.Context(root, info_name="molt")
    for name in root.list_commands(context):
        _, command, _ = root.resolve_command(context, [name])
        lines += _command_lines(f"molt {name}", command, context)
    return "\n".join(lines)


def _command_lines(name: str, command: Any, parent: Any) -> list[str]:
    if hasattr(command, "commands"):
        return [
            line
            for inner, one in command.commands.items()
            for line in _command_lines(f"{name} {inner}", one, parent)
        ]
    rows = [
        f"| `{' '.join(p.opts)}` | {_cell(getattr(p, 'help', None) or '')}{_fields(name, p)} |"
        for p in command.params
        if p.name != "help"
    ]
    table_lines = ["| option | what |", "| --- | --- |", *rows, ""] if rows else []
    return [f"## `{name}`", "", " ".join((command.help or "").split()), "", *table_lines]


def _fields(command: str, option: Any) -> str:
    """Where the fields that `--json` of this command prints are said."""
    if option.opts != ["--json"] or command not in SECTIONS:
        return ""
    return f" [Its fields](json.md#{SECTIONS[command]})."


def runbook_page() -> str:
    """The on-call runbook of WF-11."""
    return runbook(load_playbook("wf-11"))


PAGES: dict[str, Callable[[], str]] = {
    "playbook.md": playbook_page,
    "configuration.md": configuration_page,
    "states.md": states_page,
    "api.md": api_page,
    "cli.md": cli_page,
    "runbook.md": runbook_page,
    "json.md": lambda: json_page(NOTE),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check all pages; 1 when one is not current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--write", action="store_true")
    group.add_argument("--check", action="store_true")
    options = parser.parse_args(argv)
    stale: list[str] = []
    for name, page in PAGES.items():
        path, text = options.folder / name, page()
        if options.write:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path))
    if stale:
        print(f"not current: {', '.join(stale)}; run: make docs UPDATE=1", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
