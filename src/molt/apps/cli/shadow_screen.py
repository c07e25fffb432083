"""Shadow comparison in the terminal: one pair side by side, and the summary by kind."""

from typing import Any, Final

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from molt.apps.cli.screen import latency
from molt.apps.cli.show import moment

View = dict[str, Any]

STYLES: Final = {"acceptable": "green", "unacceptable": "bold red", "pending": "yellow"}
RULED: Final = {"accepted": "accepted", "flagged": "flagged", None: ""}


def print_screen(screen: RenderableType) -> None:
    """Print it as wide as the terminal."""
    Console().print(screen)


# --- one pair


def pair_panel(pair: View) -> RenderableType:
    """Both answers side by side, and below them each difference, the worst first."""
    title = f" {pair['agent']}: {pair['asked']} "
    fine = f" pair {pair['id']}, {moment(pair['at'])} UTC, {pair['method']} {pair['path']} "
    word = Text(pair["verdict"].upper(), STYLES[pair["verdict"]])
    if pair["reasons"]:
        word.append(f"  {', '.join(pair['reasons'])}", "red")
    return Panel(
        Group(word, Text(), _sides(pair), Text(), *_differences(pair), *_beside(pair)),
        title=Text(title, "bold"),
        title_align="left",
        subtitle=Text(fine, "dim"),
        subtitle_align="left",
        border_style=STYLES[pair["verdict"]].removeprefix("bold "),
    )


def _sides(pair: View) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, expand=True, header_style="bold")
    table.add_column("", style="dim", no_wrap=True)
    table.add_column("control", ratio=1, overflow="fold")
    table.add_column("candidate (shadow)", ratio=1, overflow="fold")
    control, candidate = pair["control"], pair["candidate"]
    rows = (
        ("status", _status),
        ("latency", lambda side: latency(side.get("latency_ms", 0.0))),
        ("tokens", lambda side: _number(side.get("tokens"))),
        ("cost", lambda side: _number(side.get("cost"), "$")),
        ("said", lambda side: side.get("text") or side.get("mark") or "-"),
        ("data", lambda side: _json(side["data"]) if side.get("data") is not None else ""),
        ("calls", _calls),
    )
    for name, cell in rows:
        ours, theirs = cell(control), cell(candidate)
        if ours or theirs:
            table.add_row(name, Text(ours), Text(theirs))
    return table


def _status(side: View) -> str:
    outcome = side.get("outcome", "ok")
    return str(side["status"]) if outcome == "ok" else outcome.replace("_", " ")


def _number(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{unit}{value:g}"


def _calls(side: View) -> str:
    calls = side.get("calls")
    if calls is None:
        return "not known"
    lines = [f"{call['tool']} {_json(call['arguments'])}" for call in calls]
    return "\n".join(lines) or "none"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _differences(pair: View) -> list[RenderableType]:
    if pair["differences"] == [] and pair["verdict"] != "pending":
        return [Text("no difference", "green")]
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(ratio=1)
    for found in pair["differences"]:
        mark = Text("blocks", "red") if found["blocking"] else Text("", "dim")
        table.add_row(mark, found["kind"], Text(found["text"]))
    return [table]


def _beside(pair: View) -> list[RenderableType]:
    lines: list[RenderableType] = []
    if noise := pair.get("noise"):
        lines.append(Text(f"no more than control differs from itself: {', '.join(noise)}", "dim"))
    if judged := pair.get("judged"):
        text = f"judge {judged['model']}: {judged['score']:g} - {judged['reason']}"
        lines.append(Text(text, "dim"))
    return lines


# --- the summary


def summary_panel(found: View) -> RenderableType:
    """The rate, and a row for each kind of difference."""
    parts: list[RenderableType] = [Text(line, "bold") for line in _head(found)]
    if found["kinds"]:
        parts += [Text(), _kinds(found)]
    parts += [Text(line, "dim") for line in _foot(found)]
    return Panel(
        Group(*parts),
        title=Text(f" {found['rollout']}: the agent's answers in shadow ", "bold"),
        title_align="left",
        border_style="cyan",
    )


def _head(found: View) -> list[str]:
    if not found["enabled"]:
        return ["comparison is off in this playbook: comparison.enabled"]
    everything = found["all"]
    if not everything["pairs"]:
        waits = f"; {found['pending']} wait to be compared" if found["pending"] else ""
        return [f"no pair has been compared yet{waits}"]
    lines = [f"acceptable: {_rate(everything)}"]
    if found["limit"] is not None:
        lines[0] += f", limit {100 * found['limit']:g}%"
    lines.append(f"identical in all that is compared: {everything['identical']:,}")
    if (acted := found["actions"])["control"] or acted["candidate"]:
        lines.append(actions_line(acted))
    return lines


def actions_line(acted: View) -> str:
    """`actions: the agent would have made 90 of control's 100 (90.0%), 80 with equal arguments; ...`."""
    ours, matched, equal = acted["control"], acted["matched"], acted["equal"]
    share = f" ({100 * matched / ours:.1f}%)" if ours else ""
    return (
        f"actions: the agent would have made {matched:,} of control's {ours:,}{share}, {equal:,} of "
        f"them with equal arguments; and {acted['candidate'] - matched:,} that control did not make"
    )


def _rate(rate: View) -> str:
    low, high = 100 * rate["low"], 100 * rate["high"]
    return (
        f"{rate['acceptable']:,} of {rate['pairs']:,} pairs, {100 * rate['rate']:.1f}% "
        f"({low:.1f} to {high:.1f})"
    )


def _kinds(found: View) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True)
    table.add_column("kind", style="bold", no_wrap=True)
    table.add_column("pairs", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("worst example", overflow="fold")
    for row in found["kinds"]:
        mark = Text("blocks", "red") if row["blocking"] else Text(RULED[row["ruled"]], "dim")
        example = row["example"]
        text = Text("no longer kept", "dim")
        if example:
            text = Text(example["text"]).append(f"  [{example['id']}] {example['asked']}", "dim")
        table.add_row(mark, row["kind"], f"{row['pairs']:,}", f"{100 * row['share']:.1f}%", text)
    return table


def _foot(found: View) -> list[str]:
    lines = [
        f"{'accepted' if r['acceptable'] else 'flagged'} by a person: {r['kind']}"
        for r in found["ruled"]
    ]
    for row in found["noise"][:10]:
        word = "not counted" if row["drowned"] else "counted: above the noise"
        lines.append(
            f"noise {row['field']}: control differs from itself in {row['control']} of "
            f"{row['pairs']} twice-asked requests, the candidate in {row['candidate']}; {word}"
        )
    kept = f"{found['kept']:,} pairs kept"
    more = [
        f"{found['pending']} wait to be compared" if found["pending"] else "",
        f"{found['dropped']} dropped under load" if found["dropped"] else "",
    ]
    lines.append(", ".join(filter(None, [kept, *more])))
    return lines


def summary_lines(found: View) -> list[str]:
    """The same as plain lines, one fact each."""
    lines = [f"{found['rollout']}: the agent's answers in shadow", *_head(found)]
    for row in found["kinds"]:
        marks = [m for m in ("blocks" if row["blocking"] else "", RULED[row["ruled"]]) if m]
        mark = f" ({', '.join(marks)})" if marks else ""
        line = f"{row['kind']}{mark}: {row['pairs']} pairs, {100 * row['share']:.1f}%"
        if example := row["example"]:
            line += f"; worst [{example['id']}]: {example['text']}"
        lines.append(line)
    return lines + _foot(found)
