"""A rollout on one screen: where it stands, what each gate says and why, and how both arms do.

The state is what `GET /api/v1/rollouts/{id}` answers, as JSON or with real datetimes. Colour only
repeats what a word says.
"""

from collections.abc import Iterator
from datetime import timedelta
from textwrap import wrap
from typing import Any, Final

from rich.console import (
    Console,
    ConsoleOptions,
    Group,
    OverflowMethod,
    RenderableType,
    RenderResult,
)
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from molt.apps.cli.show import HALTS, held_back_line, instant, moment, printable, span
from molt.core.quantities import show_duration

State = dict[str, Any]

VERDICTS: Final = {"pass": ("pass", "green"), "wait": ("wait", "yellow"), "fail": ("FAIL", "red")}
WATCH: Final = {"pass": ("ok", "green"), "wait": ("no data", "dim"), "fail": ("FIRES", "bold red")}
ENDS: Final = {
    "complete": ("COMPLETE: all traffic is on the candidate", "bold green"),
    "rolled_back": (
        "ROLLED BACK: all traffic is on control. Go on: molt resume --phase P -m WHY",
        "bold red",
    ),
    "aborted": ("ABORTED: all traffic is on control, for good", "bold red"),
}
INCIDENTS_SHOWN: Final = 3
BAR_WIDTH: Final = 24
LINES: Final = 16
"""Lines that the screen takes beside gates, fired triggers, incidents and alarms."""


def rollout_panel(state: State, height: int | None = None) -> RenderableType:
    """The whole screen of one rollout; it fits 80 columns and 30 lines.

    Reasons of gates that have not passed are written out where `height` lines (default: those of
    the terminal) leave room for it.
    """
    return _Screen(printable(state), height)


class _Screen:
    def __init__(self, state: State, height: int | None) -> None:
        self._state = state
        self._height = height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        state = self._state
        height = self._height or options.height or options.max_height
        whole = _written_out(state, options.max_width, height)
        cut: OverflowMethod = "crop" if options.ascii_only else "ellipsis"
        parts: list[RenderableType] = [
            _ladder(state, ("*", "!") if options.ascii_only else ("✓", "✗")),
            _progress(state),
            Text(),
            _gates(state, whole, cut),
            Text(),
            _triggers(state),
            Text(),
            _arms(state),
            *_troubles(state, cut),
        ]
        yield Panel(
            Group(*parts),
            title=Text(f" {state['rollout']} ", "bold"),
            title_align="left",
            subtitle=Text(_fine_print(state), "dim"),
            subtitle_align="left",
            border_style=_border(state),
        )


def _fine_print(state: State) -> str:
    version = state["candidate_version"] or "not reported"
    return f" playbook {state['playbook']}, version {state['version']}, candidate {version} "


def _border(state: State) -> str:
    if state["phase"] in ("rolled_back", "aborted"):
        return "red"
    if state["phase"] == "complete":
        return "green"
    return "yellow" if state["halt"] else "cyan"


# --- where it is


def _ladder(state: State, marks: tuple[str, str]) -> Text:
    """`shadow 0✓  canary 1✓ [2%] 5  progressive 10 25 ...  complete`."""
    text, phase = Text(), None
    done, lost = marks
    rows = state["ladder"]
    here = (state["plan_phase"], state["step"])
    position = next((i for i, row in enumerate(rows) if (row["phase"], row["step"]) == here), -1)
    complete = state["phase"] == "complete"
    for i, row in enumerate(rows):
        if row["phase"] != phase:
            phase = row["phase"]
            text.append(
                ("  " if text else "") + phase, "bold" if state["phase"] == phase else "dim"
            )
        share = f"{row['share']:g}"
        text.append(" ")
        if i < position or complete:
            text.append(f"{share}{done}" if row["entered"] else share, "green")
        elif i > position:
            text.append(share, "dim")
        elif state["phase"] in ENDS:
            text.append(f"{share}{lost}", "bold red")
        else:
            text.append(f"[{share}%]", "bold reverse")
    return text.append("  ").append(
        *(("[complete]", "bold reverse") if complete else ("complete", "dim"))
    )


def _progress(state: State) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=8, style="bold")
    grid.add_column(width=BAR_WIDTH)
    grid.add_column(ratio=1)
    share = state["traffic_percent"]
    grid.add_row("traffic", _bar(share, 100), Text(_share(state), "bold"))
    hold = _hold(state)
    if hold is not None:
        held, wanted = hold
        left = f", {span(wanted - held)} left" if held < wanted else ", over"
        total = show_duration(timedelta(seconds=wanted))
        grid.add_row("hold", _bar(held, wanted), f"{span(min(held, wanted))} of {total}{left}")
    outer = Table.grid()
    outer.add_column()
    outer.add_row(grid)
    outer.add_row(_verdict(state))
    if held := held_back_line(state):
        outer.add_row(Text(held, "bold yellow"))
    return outer


def _bar(done: float, total: float) -> ProgressBar:
    return ProgressBar(total=total or 1, completed=min(done, total or 1), width=BAR_WIDTH)


def _share(state: State) -> str:
    mode = ", the candidate gets copies" if state["phase"] == "shadow" else " on the candidate"
    return f"{state['traffic_percent']:g}%{mode}"


def _hold(state: State) -> tuple[float, float] | None:
    """How long the step was held and must be, in seconds; None when no hold runs."""
    for gate in state["gates"]:
        if gate["name"] == "hold" and "hold_s" in gate["numbers"] and state["next"]:
            return state["held_seconds"], gate["numbers"]["hold_s"]
    return None


def _verdict(state: State) -> Text:
    """What happens next, or why nothing does."""
    if state.get("closed"):
        return Text(
            "CLOSED: all traffic is on the candidate, and every task is signed", "bold green"
        )
    if state["phase"] in ENDS:
        return Text(*ENDS[state["phase"]])
    if halt := state["halt"]:
        word = str(HALTS.get(halt["kind"], halt["kind"])).upper()
        return Text(
            f"{word}: {halt['reason'] or 'no reason given'}. Go on: molt resume -m WHY",
            "bold yellow",
        )
    return Text(_next(state))


def _next(state: State) -> str:
    following, hold = state["next"], _hold(state)
    if not following:
        return ""
    target = "complete" if following["phase"] == "complete" else f"{following['share']:g}%"
    earliest, by_person = instant(following["earliest"]), instant(following["earliest_by_person"])
    if earliest is None or by_person is None or hold is None:
        return f"next: {target}"
    by_hand = hold[1] - hold[0]
    by_itself = by_hand + (earliest - by_person).total_seconds()
    when = f"in {span(by_itself)}" if by_itself > 0 else "as soon as all gates pass"
    text = f"next: {target} {when}"
    if by_itself > 0 and earliest != by_person:
        waits = any(g["verdict"] != "pass" for g in state["gates"] if g["name"] != "hold")
        early = "once all gates pass" if waits else "now"
        text += f", or molt promote {f'in {span(by_hand)}' if by_hand > 0 else early}"
    return text


# --- what the gates and triggers say


def _written_out(state: State, width: int, height: int) -> set[str]:
    """The gates whose reasons may take more than a line while there is room, failed ones first."""
    gates = state["gates"]
    fired = sum(1 for t in state["triggers"] if t["verdict"] == "fail")
    troubles = len(state["incidents"][-INCIDENTS_SHOWN:]) + len(state["alarms"])
    troubles += len(wrap(held_back_line(state), max(20, width - 4)))
    troubles += len(anomaly_lines(state)) + len(undelivered_lines(state))
    spare = height - LINES - len(gates) - fired - troubles
    room = max(20, width - 10 - max((len(g["name"]) for g in gates), default=0))
    whole: set[str] = set()
    for gate in sorted(gates, key=lambda g: g["verdict"] != "fail"):
        more = len(wrap(gate["reason"], room)) - 1
        if gate["verdict"] != "pass" and 0 < more <= spare:
            spare -= more
            whole.add(gate["name"])
    return whole


def _gates(state: State, whole: set[str], cut: OverflowMethod) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for gate in state["gates"]:
        word, style = VERDICTS[gate["verdict"]]
        one_line = gate["name"] not in whole
        reason = Text(gate["reason"], no_wrap=one_line, overflow=cut if one_line else "fold")
        table.add_row(Text(word, style), Text(gate["name"], "bold"), reason)
    if not state["gates"]:
        table.add_row("", Text("no gate to pass in this phase", "dim"), "")
    return table


def _triggers(state: State) -> RenderableType:
    """All triggers on a line; those that fire with their action and reason below it."""
    line = Text("triggers ", "bold")
    for i, trigger in enumerate(state["triggers"]):
        word, style = WATCH[trigger["verdict"]]
        line.append(", " if i else "", "dim").append(f"{trigger['name']} ").append(word, style)
    if not state["triggers"]:
        line.append("not watched in this phase", "dim")
    fired = [
        Text(f"  {t['name']} -> {t['action']}: {t['reason']}", "red")
        for t in state["triggers"]
        if t["verdict"] == "fail"
    ]
    return Group(line, *fired)


# --- both arms


COLUMNS: Final = ("requests", "errors", "p50", "p95", "$ per 1000")


def _arms(state: State) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("this step", style="bold", no_wrap=True)
    for column in columns(state):
        table.add_column(column, justify="right", no_wrap=True)
    for name, arm in state["arms"].items():
        title = f"{name} (shadow)" if arm["mode"] == "shadow" else name
        table.add_row(title, *arm_cells(arm, state.get("counted")))
    return table


def columns(state: State) -> tuple[str, ...]:
    """What is shown of each arm: `COLUMNS`, and the outcome that the plan's first metric counts."""
    kind = state.get("counted")
    return (*COLUMNS, kind.replace("_", " ")) if kind else COLUMNS


def arm_cells(arm: State, counted: str | None = None) -> tuple[str, ...]:
    """An arm's figures as text, in the order of `columns`; `-` where there is no data."""
    outcome = [_shown(arm["outcomes"].get(counted), lambda n: f"{n:,}")] if counted else []
    return (
        f"{arm['requests']:,}",
        _shown(arm["error_rate"], lambda rate: f"{100 * rate:.2f}%"),
        _shown(arm["p50_ms"], latency),
        _shown(arm["p95_ms"], latency),
        _shown(arm["cost_per_1000"], lambda cost: f"{cost:,.2f}"),
        *outcome,
    )


def _shown(value: Any, form: Any) -> str:
    return "-" if value is None else form(value)


def latency(ms: float) -> str:
    """`8.3 ms`, `310 ms`, `2.45 s`."""
    if ms >= 1000:
        return f"{ms / 1000:.2f} s"
    return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"


# --- what is wrong


def _troubles(state: State, cut: OverflowMethod) -> Iterator[RenderableType]:
    for incident in state["incidents"][-INCIDENTS_SHOWN:]:
        style = "bold red" if incident["open"] else "dim"
        yield Text(incident_line(incident), style, no_wrap=True, overflow=cut)
    for line in anomaly_lines(state):
        yield Text(line, "yellow", no_wrap=True, overflow=cut)
    for line in undelivered_lines(state):
        yield Text(line, "bold red", no_wrap=True, overflow=cut)
    for name, text in state["alarms"].items():
        yield Text(f"alarm {name}: {text}", "bold yellow", no_wrap=True, overflow=cut)


ANOMALIES_SHOWN: Final = 2


def anomaly_lines(state: State) -> list[str]:
    """The latest anomalies: alerts, which decide nothing."""
    return [
        f"anomaly {a['anomaly']} at {moment(a['at'])}: {a['text']}"
        for a in state.get("anomalies", [])[-ANOMALIES_SHOWN:]
    ]


UNDELIVERED_SHOWN: Final = 2


def undelivered_lines(state: State) -> list[str]:
    """Alerts that on-call has not got, the latest first; how many more there are."""
    alerts = state.get("alerts_undelivered", [])
    lines = [
        f"UNDELIVERED alert {a['id']} at {moment(a['last_at'])}: {a['title']}: {a['detail']}"
        for a in alerts[:UNDELIVERED_SHOWN]
    ]
    more = len(alerts) - UNDELIVERED_SHOWN
    return [*lines, f"and {more} more that nobody got: molt alerts list"] if more > 0 else lines


def incident_line(incident: State) -> str:
    """`incident wf-11-1 OPEN since ...: error_rate -> roll_back, 3 steps done: reason`."""
    since = f"OPEN since {moment(incident['opened_at'])}" if incident["open"] else "closed"
    steps = f" ({len(incident['steps'])} steps done)" if incident["procedure"] else ""
    return (
        f"incident {incident['id']} {since}: {incident['trigger']} -> {incident['action']}{steps}: "
        f"{incident['ruling']['reason']}"
    )


# --- without a terminal


def state_lines(state: State) -> list[str]:
    """The same as plain lines, one fact each."""
    state = printable(state)
    hold = _hold(state)
    lines = [
        f"rollout {state['rollout']}:{_fine_print(state).rstrip()}",
        f"phase: {state['phase']}, step {state['step'] + 1}, {_share(state)}",
        _ladder(state, ("*", "!")).plain,
        *(
            [f"hold: {span(min(hold))} of {show_duration(timedelta(seconds=hold[1]))}"]
            if hold
            else []
        ),
        _verdict(state).plain,
        held_back_line(state),
        *(f"gate {g['name']}: {g['verdict']}: {g['reason']}" for g in state["gates"]),
        *(
            f"trigger {t['name']}: {WATCH[t['verdict']][0]}: {t['reason']} (action {t['action']})"
            for t in state["triggers"]
        ),
    ]
    for name, arm in state["arms"].items():
        pairs = zip(columns(state), arm_cells(arm, state.get("counted")), strict=True)
        lines.append(f"{name} ({arm['mode']}): " + ", ".join(f"{k} {v}" for k, v in pairs))
    lines += [incident_line(i) for i in state["incidents"]]
    lines += anomaly_lines(state)
    lines += undelivered_lines(state)
    lines += [f"alarm {name}: {text}" for name, text in state["alarms"].items()]
    return [line for line in lines if line]
