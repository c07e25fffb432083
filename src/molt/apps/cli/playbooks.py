"""`molt playbook`: plans that ship with Molt, and your own."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from molt.apps.cli.exits import NotHeld
from molt.apps.cli.options import Json
from molt.apps.cli.show import print_json, print_table
from molt.core.errors import OperatorError


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True)
    for command in (show, check):
        group.command()(command)
    group.command("list")(list_shipped)
    app.add_typer(group, name="playbook", help="Show, check and list playbooks.")


Plan = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A shipped name or a file.")]


def show(plan: Plan = "wf-11", as_json: Json = False) -> None:
    """Show a plan: its steps, gates, triggers, limits and objectives."""
    from molt.adapters.playbooks import load_playbook

    playbook = load_playbook(plan)
    if as_json:
        print_json(playbook.as_data())
        return
    typer.echo(f"{playbook.name}: {playbook.title or 'no title'} (hash {playbook.hash()[:12]})")
    data: dict[str, Any] = playbook.model_dump(mode="json", by_alias=True, exclude_unset=True)
    typer.echo(f"agents: {', '.join(_agent(n, a) for n, a in data['agents'].items())}\n")
    print_table(("phase", "share", "hold", "planned", "gates at its end"), _steps(data))
    typer.echo("")
    if tools := [_tools(n, a["tools"]) for n, a in data["agents"].items() if a.get("tools")]:
        print_table(("agent", "tools that only read", "tools that act", "rules"), tools)
        typer.echo("")
    triggers = [(t["kind"], _terms(t), t["action"]) for t in data["triggers"]]
    print_table(("trigger", "when", "action"), triggers)
    typer.echo("")
    whole = playbook.as_data()
    for part in ("limits", "slos", "cost"):
        terms = ", ".join(f"{k} {v}" for k, v in whole[part].items() if v is not None)
        typer.echo(f"{part}: {terms or 'none'}")
    typer.echo(f"procedure: {', '.join(whole['procedure'])}")


def _agent(name: str, agent: dict[str, Any]) -> str:
    return name if agent.get("enabled", True) else f"{name} (disabled)"


def _tools(name: str, given: dict[str, Any]) -> tuple[str, str, str, str]:
    """What an agent may call, at a glance; hints of tool servers are not known here."""
    from molt.core.playbook import Tools

    policy = Tools.model_validate(given).policy()
    by_effect: dict[str, list[str]] = {"read": [], "write": []}
    for tool in policy.allow:
        by_effect[policy.effect(tool)].append(tool)
    rules = [f"not {glob}" for glob in policy.deny]
    for glob, every in policy.arguments.items():
        rules += [f"{glob}: {rule if isinstance(rule, str) else 'JSON Schema'}" for rule in every]
    cells = (", ".join(by_effect["read"]), ", ".join(by_effect["write"]), "; ".join(rules))
    return (name, *(cell or "none" for cell in cells))  # type: ignore[return-value]


def _steps(data: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    return [
        (
            phase["name"],
            f"{step['share']:g}%",
            step["hold"],
            step.get("planned", step["hold"]),
            "; ".join(_gate(gate) for gate in step.get("gates", ())) or "none",
        )
        for phase in data["phases"]
        for step in phase["steps"]
    ]


def _gate(gate: dict[str, Any]) -> str:
    return f"{gate['kind']} {_terms(gate)}".rstrip()


def _terms(rule: dict[str, Any]) -> str:
    """What a gate or trigger asks for, as its file says it."""
    return " ".join(
        f"{WORDS.get(name, name)} {_value(value)}"
        for name, value in rule.items()
        if name not in ("kind", "action")
    )


WORDS = {"metrics": "of", "metric": "of"}


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A playbook file.")],
    as_json: Json = False,
) -> None:
    """Check a playbook file.

    Exit code 0 when it is in order; 1 when it is not, with `file:line:column` of each problem on
    standard output; 2 when there is no such file.
    """
    from molt.adapters.playbooks import load_playbook, shipped
    from molt.adapters.problems import ConfigError

    if not Path(file).is_file() and file not in shipped():
        raise OperatorError(f"{file}: no such file")
    try:
        playbook = load_playbook(file)
    except ConfigError as error:
        if as_json:
            print_json(
                {"ok": False, "file": file, "problems": [_problem(p) for p in error.problems]}
            )
        else:
            typer.echo(str(error))
        count = len(error.problems)
        raise NotHeld(f"{file} is not in order: {count} problem{'s'[: count > 1]}") from None
    steps = [step for _, step in playbook.ladder()]
    pace = sum((step.pace for step in steps), timedelta())
    found = {
        "ok": True,
        "file": file,
        "name": playbook.name,
        "hash": playbook.hash(),
        "steps": len(steps),
        "planned_seconds": pace.total_seconds(),
    }
    if as_json:
        print_json(found)
    else:
        typer.echo(
            f"{file}: in order. {playbook.name}: {len(steps)} steps, {_length(pace)} planned"
        )


def _length(pace: timedelta) -> str:
    from molt.core.quantities import show_duration

    return f"{pace / timedelta(days=1):.3g} days" if pace.days >= 2 else show_duration(pace)


def _problem(problem: Any) -> dict[str, Any]:
    """A problem as data; line and column are None where it has no place in the file."""
    parts = problem.place.rsplit(":", 2)
    placed = len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit()
    return {
        "place": problem.place,
        "line": int(parts[1]) if placed else None,
        "column": int(parts[2]) if placed else None,
        "path": problem.path,
        "text": problem.text,
    }


def list_shipped(as_json: Json = False) -> None:
    """List the playbooks that ship with Molt."""
    from molt.adapters.playbooks import load_playbook, shipped

    rows = [
        {"name": p.name, "title": p.title, "steps": len(p.ladder()), "hash": p.hash()}
        for p in map(load_playbook, shipped())
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(("name", "title", "steps"), [(r["name"], r["title"], r["steps"]) for r in rows])
