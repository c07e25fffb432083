"""`molt plan`: what a plan will take, prove and cost with one's own traffic."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from molt.apps.cli.options import Json
from molt.apps.cli.show import print_json, print_table
from molt.control.retro_text import span, usd

if TYPE_CHECKING:
    from molt.core.prediction import Prediction


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(plan)


def plan(
    playbook: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="The plan; default: that of the config, else wf-11."
        ),
    ] = None,
    traffic: Annotated[
        float,
        typer.Option(min=1, max=1e9, metavar="REQUESTS", help="Requests a day, of everybody."),
    ] = 50_000,
    users: Annotated[
        int, typer.Option(min=10, max=5_000_000, metavar="N", help="Users in all.")
    ] = 50_000,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="Your molt.yaml: its playbook, money, model and prices; default: ./molt.yaml.",
        ),
    ] = None,
    world: Annotated[
        str,
        typer.Option(
            "--world",
            metavar="NAME|FILE",
            help="A scenario, for what no config says: rates, latencies, habits, people.",
        ),
    ] = "healthy",
    seeds: Annotated[int, typer.Option(min=1, help="How many runs of each kind.")] = 8,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the prediction, to compare with afterwards."),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; default: all cores.")] = None,
    as_json: Json = False,
) -> None:
    """Say what each step will see and prove, how long its gates take, and what could go wrong.

    The plan is played through with the production controller, once per seed with a healthy agent
    and once with one that loses a fifth of the orders.
    """
    from molt.apps.cli import configured
    from molt.apps.simulate.cli import check_folder, progress
    from molt.apps.simulate.own import own_plan, own_world
    from molt.apps.simulate.planner import as_data, predict
    from molt.apps.simulate.shipped import load_scenario

    check_folder(save)
    path = config or configured.config_path()
    _, scenario = load_scenario(world)
    own = own_plan(path, playbook)
    scenario, money = own_world(scenario, own, traffic=traffic, users=users)
    with progress(2 * seeds) as tick:
        found = predict(
            own.playbook,
            scenario,
            seeds=seeds,
            made_at=datetime.now(UTC),
            jobs=jobs,
            done=tick,
        )
    if save:
        save.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
        typer.echo(f"prediction: {save}", err=True)
    if as_json:
        print_json(as_data(found))
    else:
        _show(found, money)


def _show(p: "Prediction", money: str) -> None:
    typer.echo(f"{p.playbook}: {p.traffic:,.0f} requests a day of {p.users:,} users; {money}\n")
    columns = (
        "step",
        "planned",
        "users",
        "a day",
        "requests",
        "asks for",
        "can prove",
        "slowest gate",
    )
    print_table(columns, [_row(step) for step in p.steps])
    low, high = p.sent_back_interval
    typer.echo(
        f"\nhealthy agent: reaches the end in {p.promoted:.0%} of runs, sent back in "
        f"{p.sent_back:.0%} ({low:.0%}-{high:.0%}){_by(p.sent_back_by)}"
    )
    typer.echo(f"  duration: {_times(p.duration_days, 24)}; cost: {_range(p.spent, usd)}")
    after = f", {_times(p.bad_hours)} after it went live" if p.bad_stopped else ""
    typer.echo(f"bad agent (-20% orders): stopped in {p.bad_stopped:.0%} of runs{after}")
    typer.echo(
        f"  {'until then' if p.bad_stopped else 'to the end'}: failed orders "
        f"{_range(p.bad_failed_orders, '{:,.1f}'.format)}; cost {_range(p.bad_spent, usd)}"
    )
    typer.echo("\nadvice")
    for line in p.advice:
        typer.echo(f"  - {line}")


def _by(causes: Mapping[str, int]) -> str:
    """What sent runs back, the most frequent first."""
    ranked = sorted(causes.items(), key=lambda item: -item[1])
    return f", by {', '.join(f'{name} ({n})' for name, n in ranked)}" if ranked else ""


def _row(step: Any) -> tuple[object, ...]:
    harm = max(step.smallest_harm.values(), default=None)
    slow = max(
        (g for g in step.gates if g.gate not in ("hold", "approval")),
        key=lambda g: float("inf") if g.median is None else g.median,
        default=None,
    )
    return (
        f"{step.phase} {step.share:g}%",
        _time(step.planned_hours),
        f"{step.users:,.0f}",
        f"{step.users_a_day:,.0f}",
        f"{step.requests:,.0f}",
        "-" if step.margin is None else f"{step.margin:.1%}",
        "-" if harm is None else f"{harm:.1%}",
        "-" if slow is None else f"{slow.gate} {_time(slow.median)}, 90% {_time(slow.ninety)}",
    )


def _time(hours: float | None) -> str:
    if hours is None:
        return "never"
    return span(timedelta(hours=hours)) if hours else "at once"


def _times(three: Sequence[float | None], hours: float = 1) -> str:
    """A length of time with its range, given in units of so many hours."""
    return _range(three, lambda value: span(timedelta(hours=hours * value)))


def _range(three: Sequence[float | None], form: Callable[[float], str]) -> str:
    """The median, and 10% to 90%."""
    if not three or three[1] is None:
        return "unknown"
    low, middle, high = ("?" if v is None else form(v) for v in three)
    return f"{middle} ({low} to {high})"
