"""`molt demo`: the main job, from nothing to 100%, in a few minutes."""

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from molt.core.errors import OperatorError

CURL = """\
curl {gateway}/functions/v1/agent-chat -H 'content-type: application/json' \\
  -d '{{"message": "Show me your beers", "agent_type": "guest",
       "context": {{"venue_id": "venue-1", "user_id": "you"}}}}'
curl -H 'authorization: Bearer {token}' \\
  {api}/api/v1/rollouts     # or, with -N, {api}/api/v1/stream
open {api}/console and sign in with that token
the API is described at {api}/docs"""

Fault = Annotated[
    str | None,
    typer.Option(help="errors, slow, down, forbidden-tool, cost or complaints, at the 25% step."),
]


def demo(
    minutes: Annotated[float, typer.Option(min=1, help="About how long it takes.")] = 3.0,
    port: Annotated[int, typer.Option(help="The gateway's port; 0 takes a free one.")] = 8080,
    dialogues: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Real dialogues, JSON Lines.")
    ] = None,
    fault: Fault = None,
    agent_ignores_shadow: Annotated[
        bool,
        typer.Option(
            "--agent-ignores-shadow", help="The agent takes shadow requests for live ones."
        ),
    ] = False,
    keep: Annotated[bool, typer.Option(help="Leave everything running at the end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object at the end, and nothing else.")
    ] = False,
    rate: Annotated[
        float, typer.Option(min=1, help="Conversations a second when the agent serves them all.")
    ] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the guests.")] = 11,
    data: Annotated[
        Path | None, typer.Option(file_okay=False, help="Keep everything here; default: temporary.")
    ] = None,
    compare_dialogues: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Instead: play recorded dialogues (JSON Lines) in shadow, and compare what the "
            "agent would have done with what was recorded.",
        ),
    ] = None,
    at_most: Annotated[
        int, typer.Option(min=1, help="Dialogues to compare, from the beginning of the file.")
    ] = 200,
) -> None:
    """Roll an agent out in front of a bar, with guests, from shadow to 100%.

    Starts the reference bar (an order service, a tool server, an agent), Molt in front of it and
    guests who talk to it, and shows how the rollout climbs; with --fault, how it comes back.
    """
    try:
        from molt.apps.demo.director import FAULTS, Options
    except ImportError as error:
        raise OperatorError(
            f"The demo needs the extra `demo` ({error.name} is missing): "
            "pip install 'moltbot-rollout[demo]'"
        ) from None
    if fault is not None and fault not in FAULTS:
        raise typer.BadParameter(f"{fault!r}; expected one of {', '.join(FAULTS)}")
    if compare_dialogues is not None:
        with _folder(data) as folder:
            _compare(compare_dialogues, at_most, folder, port, as_json)
        return
    with _folder(data) as folder:
        options = Options(
            data=folder,
            minutes=minutes,
            port=port,
            dialogues=dialogues,
            fault=fault,
            rate=rate,
            seed=seed,
            ignore_shadow=agent_ignores_shadow,
        )
        summary = _run(_play(options, keep, as_json))
        if as_json:
            print(json.dumps(summary))
        raise typer.Exit(0 if summary["outcome"] != "timeout" else 1)


def _run(work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """What `work` gives; SIGTERM and a closed terminal end it as Ctrl-C does, with all it started."""
    told: list[int] = []

    async def until_told() -> dict[str, Any]:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def end(number: int) -> None:
            if not told:  # a second one must not cut the tidying up short
                told.append(number)
                task.cancel()

        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, end, number)
        return await work

    try:
        return asyncio.run(until_told())
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None
    except asyncio.CancelledError:
        raise typer.Exit(128 + told[0]) from None


def _compare(path: Path, most: int, folder: Path, port: int, as_json: bool) -> None:
    """Play dialogues in shadow; print the comparison."""
    from molt.apps.cli.shadow_screen import print_screen, summary_lines, summary_panel
    from molt.apps.demo.dialogues import Played, load
    from molt.apps.demo.stage import Stage

    console = Console(stderr=True)
    dialogues = load(path, most)

    async def play() -> dict[str, Any]:
        stage = Stage(folder, port=port)
        try:
            await stage.open()
            played = Played(stage, console.print)
            try:
                return await played.run(dialogues)
            finally:
                await played.close()
        finally:
            await stage.close()

    found = _run(play())
    if as_json:
        print(json.dumps(found))
        return
    if sys.stdout.isatty():
        print_screen(summary_panel(found))
    else:
        print("\n".join(summary_lines(found)))
    print(f"{found['dialogues']} dialogues, {found['turns']} sentences")


@contextlib.contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is not None:
        data.mkdir(parents=True, exist_ok=True)
        if any(data.iterdir()):
            raise OperatorError(f"{data} is not empty; the demo starts from nothing")
        yield data.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="molt-demo-", ignore_cleanup_errors=True) as name:
        yield Path(name)


async def _play(options: Any, keep: bool, as_json: bool) -> dict[str, Any]:
    from molt.apps.demo.director import Director
    from molt.apps.demo.stage import Stage

    console = Console(stderr=as_json)
    stage = Stage(options.data, port=options.port, ignore_shadow=options.ignore_shadow)
    console.print("Starting the bar, the agent and Molt ...")
    try:
        await stage.open()
        console.print(
            f"Gateway {stage.gateway}   control API {stage.api}   console {stage.api}/console"
        )
        screen = Screen(
            console, CURL.format(gateway=stage.gateway, api=stage.api, token=stage.token)
        )
        with screen:
            director = Director(options, stage, screen.show)
            summary = await director.run()
            await director.close()
        _print_summary(console, summary)
        if keep:
            console.print("Everything keeps running. Ctrl-C ends it.")
            console.print(Text(screen.hints), soft_wrap=True)
            await asyncio.Event().wait()
        return summary
    finally:
        await stage.close()


HINT_LINES = 12
"""Lines of the terminal that are kept for guests, news and the commands to try."""


class Screen:
    """The rollout, live in a terminal; without one, a line for each change."""

    def __init__(self, console: Console, hints: str) -> None:
        self.hints = hints
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, screen=True)
        self._last: tuple[object, ...] = ()
        self._told = 0

    def __enter__(self) -> "Screen":
        if self._console.is_terminal:
            self._live.start()
        else:
            self._console.print(Text(self.hints), soft_wrap=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, show: Any) -> None:
        """Draw what is new."""
        if not self._console.is_terminal:
            self._lines(show)
            return
        from molt.apps.cli.screen import rollout_panel

        guests = Text(_guests(show), style="bold")
        news = Text("\n".join(show.news[-3:]), style="cyan")
        self._live.update(
            Group(
                rollout_panel(show.state, self._console.height - HINT_LINES),
                guests,
                news,
                Text(self.hints, "dim"),
            )
        )

    def _lines(self, show: Any) -> None:
        state = show.state
        verdicts = tuple((g["name"], g["verdict"]) for g in state["gates"])
        now = (state["phase"], state["traffic_percent"], verdicts, len(state["incidents"]))
        if now != self._last:
            self._last = now
            gates = ", ".join(f"{g['name']}={g['verdict']}" for g in state["gates"])
            line = f"{state['phase']} {state['traffic_percent']:g}%  {gates}  [{_guests(show)}]"
            self._console.print(Text(line), soft_wrap=True)
        for line in show.news[self._told :]:
            self._console.print(Text(line), soft_wrap=True)
        self._told = len(show.news)


def _guests(show: Any) -> str:
    return f"guests: {show.requests} requests, {show.failed} failed for users, {show.orders} orders"


def _print_summary(console: Console, summary: dict[str, Any]) -> None:
    console.print(Text(f"\n{summary['outcome'].upper()} after {summary['seconds']:.0f} s", "bold"))
    steps = Table.grid(padding=(0, 2), pad_edge=True)
    for step in summary["steps"]:
        passed = ", ".join(r["name"] for r in step["rulings"] if r["verdict"] == "pass")
        steps.add_row(step["phase"], Text(f"{step['share']:g}%", justify="right"), Text(passed))
    console.print(steps)
    if summary["trigger"]:
        reason = summary["incident"]["ruling"]["reason"]
        console.print(Text(f"  trigger {summary['trigger']} -> {summary['action']}: {reason}"))
    if summary["time_to_safe_ms"] is not None:
        safe = summary["time_to_safe_ms"]
        console.print(Text(f"  back on control within {safe:.0f} ms of the trigger"))
    console.print(
        Text(
            f"  {summary['requests']} requests, {summary['requests_failed_for_users']} failed for "
            f"users; {summary['orders']} orders, {summary['orders_by_agent']} of them by the agent, "
            f"{summary['orders_by_shadow_runs']} by shadow runs"
        )
    )


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(demo)
