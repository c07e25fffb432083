"""`molt status`: where a rollout is and why, once or live."""

import signal
import sys
import time
from typing import Annotated, Any, NoReturn

import typer

from molt.apps.cli.client import Api, at, connect, pick
from molt.apps.cli.exits import Unreachable
from molt.apps.cli.options import Json, Rollout, Token, Url
from molt.apps.cli.show import next_line, place, print_json, print_table
from molt.core.errors import OperatorError

State = dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


def status(
    rollout: Rollout = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Keep looking until Ctrl-C; live in a terminal.")
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds between looks, with --watch.")
    ] = 1.0,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show where a rollout is and why.

    Its phase, step and share, what each gate and trigger says, both arms' figures, incidents and
    alarms. Several rollouts are listed (with --json as an array). Without a terminal, lines: with
    --watch one for each change, with --json one object a look.
    """
    with connect(url, token) as api:
        if watch:
            _watch(api, pick(api, rollout), interval, as_json)
        states = [api.get(at("rollouts", rollout))] if rollout else api.get("/rollouts")
    if not states:
        raise OperatorError("There is no rollout yet; start one: molt start")
    live = [s for s in states if s["phase"] != "aborted"] or states
    if as_json:
        print_json(live[0] if len(live) == 1 else states)
    elif len(live) == 1:
        _print(live[0])
    else:
        _print_all(states)


def _print(state: State) -> None:
    from molt.apps.cli.screen import rollout_panel, state_lines

    if not sys.stdout.isatty():
        typer.echo("\n".join(state_lines(state)))
        return
    from rich.console import Console

    Console().print(rollout_panel(state))


def _print_all(states: list[State]) -> None:
    columns = ("rollout", "phase", "share", "version", "agents", "next")
    rows = [
        (
            s["rollout"],
            s["phase"],
            f"{s['traffic_percent']:g}%",
            s["version"],
            ", ".join(s["agents"]),
            next_line(s).removeprefix("next: ") or None,
        )
        for s in states
    ]
    print_table(columns, rows)


def _watch(api: Api, rollout: str, interval: float, as_json: bool) -> NoReturn:
    """Look again and again until Ctrl-C; a Molt that does not answer is waited for."""
    show = _Live() if sys.stdout.isatty() and not as_json else _Lines(as_json)
    ctrl_c = _CtrlC()
    signal.signal(signal.SIGINT, ctrl_c)
    with show:
        while not ctrl_c.pressed:
            try:
                show.state(api.get(at("rollouts", rollout)))
            except Unreachable as error:
                show.silent(str(error))
            time.sleep(interval)
    raise KeyboardInterrupt


class _CtrlC:
    """Interrupts, and remembers it: an exception raised while Python frees an object is lost."""

    pressed = False

    def __call__(self, *_: object) -> None:
        self.pressed = True
        raise KeyboardInterrupt


class _Lines:
    """A line for each change, or with JSON an object a look."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._last = ""

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def state(self, state: State) -> None:
        """Say what is new."""
        if self._as_json:
            import msgspec

            typer.echo(msgspec.json.encode(state).decode())
            return
        gates = ", ".join(f"{g['name']} {g['verdict']}" for g in state["gates"])
        fired = ", ".join(t["name"] for t in state["triggers"] if t["verdict"] == "fail")
        line = place(state) + (f"; gates: {gates}" if gates else "")
        line += f"; FIRES: {fired}" if fired else ""
        self._say(line, err=False)

    def silent(self, why: str) -> None:
        """Say that Molt does not answer, once."""
        self._say(why, err=True)

    def _say(self, line: str, *, err: bool) -> None:
        if line != self._last:
            self._last = line
            typer.echo(line, err=err)


class _Live:
    """The whole screen, drawn anew at each look; the last one stays when it ends."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console()
        self._state: State | None = None
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> "_Live":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def state(self, state: State) -> None:
        """Draw the state."""
        self._state = state
        self._draw("")

    def silent(self, why: str) -> None:
        """Keep the last state on the screen and say that it is the last one known."""
        self._draw(why)

    def _draw(self, problem: str) -> None:
        from rich.console import Group
        from rich.text import Text

        from molt.apps.cli.screen import rollout_panel

        height = self._live.console.height - 1
        below = Text(f"LAST KNOWN STATE. {problem}" if problem else "", "bold red")
        above = [rollout_panel(self._state, height - bool(problem) * 2)] if self._state else []
        self._live.update(Group(*above, *([below] if problem else [])), refresh=True)
