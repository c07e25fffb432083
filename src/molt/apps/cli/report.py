"""`molt report`: the agent against the existing system, in figures and in sentences."""

import sys
from collections.abc import Callable
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import typer

from molt.apps.cli.client import at, connect, pick
from molt.apps.cli.options import Json, Rollout, Token, Url
from molt.apps.cli.show import print_json, printable
from molt.core.phrases import VERDICTS, level, percent

if TYPE_CHECKING:
    from rich.table import Table

State = dict[str, Any]

BAR: Final = 21
"""Characters of the drawn interval, an odd number: its middle is "no difference"."""
WIDEST: Final = 1.0
"""The largest relative change that is drawn."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    rollout: Rollout = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Compare the agent with the existing system.

    Both arms, the difference with an interval that holds however often one looks, the ruling of the
    plan's gates, what settled users show (novelty), each agent type, and what it all means in
    words. Look as often as you like: that makes no false alarm more likely.
    """
    with connect(url, token) as api:
        found = printable(api.get(at("rollouts", pick(api, rollout), "report")))
    if as_json:
        print_json(found)
    elif sys.stdout.isatty():
        _print_rich(found)
    else:
        typer.echo("\n".join(report_lines(found)))


def report_lines(found: State) -> list[str]:
    """The report as plain lines: one sentence a fact."""
    lines = [f"rollout {found['rollout']}, {_users(found)}", found["headline"], ""]
    for row in found["metrics"]:
        lines.append(f"{VERDICTS[row['verdict']]}: {row['sentence']}")
        lines += [f"  {text}" for text in _details(row)]
    return [*lines, "", _split(found["sample_ratio"])]


def _users(found: State) -> str:
    share = f"{found['share']:g}% on the agent"
    return (
        f"{found['phase']}, {share}; {found['subjects']:,} users seen, "
        f"about {found['candidate_subjects']:,} of them with the agent"
    )


def _details(row: State) -> list[str]:
    """What is worth a line of its own: CUPED, and agent types where there are several."""
    lines: list[str] = []
    if row["variance_reduction"] >= 0.005:
        share = f"{100 * row['variance_reduction']:.0f}%"
        lines.append(f"shadow data of the same users took {share} off the variance (CUPED)")
    if len(row["agents"]) > 1:
        lines += [
            f"{agent}: {_both(row, effect)}, {_change(effect)}"
            for agent, effect in row["agents"].items()
        ]
    return lines


def _both(row: State, effect: State) -> str:
    return (
        f"{level(row['kind'], effect['candidate'])} against {level(row['kind'], effect['control'])}"
    )


def _change(effect: State) -> str:
    if effect["relative"] is None:
        return "-"
    low, high = effect["relative_low"], effect["relative_high"]
    interval = "" if low is None or high is None else f" ({percent(low)} to {percent(high)})"
    return f"{percent(effect['relative'])}{interval}"


def _point(effect: State) -> str:
    return "-" if effect["relative"] is None else percent(effect["relative"])


def _split(ratio: State) -> str:
    if ratio["mismatch"]:
        return (
            f"SAMPLE RATIO MISMATCH, at odds of {ratio['bayes_factor']:.3g}: trust no figure here"
        )
    if not ratio["steps"]:
        return "sample ratio: nobody new seen yet"
    steps = "; ".join(
        f"{100 * s['share']:g}%: {s['candidate']:,} and {s['control']:,}" for s in ratio["steps"]
    )
    return f"sample ratio as planned (new users on the agent and without, by share: {steps})"


PLAIN: Final = str.maketrans("━┼┿●•", "-++o*")
"""For terminals without Unicode."""


def drawn(effect: State | None, margin: float | None) -> str:
    """The interval on a line: `:` the margin, `|` no difference, `●` the estimate, `━` the interval."""
    line = [" "] * BAR
    if effect is None or effect["relative"] is None:
        return "".join(line)
    reach = min(WIDEST, 2 * margin) if margin else WIDEST

    def place(value: float) -> int:
        inside = max(-reach, min(reach, value))
        return round((inside / reach + 1) / 2 * (BAR - 1))

    low, high = effect["relative_low"], effect["relative_high"]
    for i in range(
        place(-reach if low is None else low), place(reach if high is None else high) + 1
    ):
        line[i] = "━"
    if margin:
        for edge in (-margin, margin):
            line[place(edge)] = "┼" if line[place(edge)] == "━" else ":"
    middle = BAR // 2
    line[middle] = "┿" if line[middle] == "━" else "|"
    line[place(effect["relative"])] = "●"
    return "".join(line)


_STYLES: Final = {"pass": "green", "fail": "bold red", "wait": "yellow", "none": "dim"}


def _table(found: State, wide: bool, signs: Callable[[str], str]) -> "Table":
    """A row a metric; where the screen is wide, with a drawing of the interval."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("metric", overflow="fold")
    for name in ("agent", "existing"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("change", no_wrap=True)
    if wide:
        table.add_column("worse or better, : margin", no_wrap=True)
    for row in found["metrics"]:
        effect, style = row["effect"], _STYLES[row["verdict"]]
        cells = ["-", "-", "-"]
        if effect:
            cells = [level(row["kind"], effect[arm]) for arm in ("candidate", "control")]
            cells.append(_change(effect) if wide else _point(effect))
        drawing = [Text(signs(drawn(effect, row["margin"])), "cyan")] if wide else []
        verdict = Text(VERDICTS[row["verdict"]], style)
        table.add_row(verdict, Text(row["title"], "bold"), *cells, *drawing)
    return table


def _print_rich(found: State) -> None:
    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.text import Text

    console = Console()
    unicode = (console.encoding or "").startswith("utf")

    def signs(text: str) -> str:
        return text if unicode else text.translate(PLAIN)

    table = _table(found, console.width >= 96, signs)
    words: list[Text] = []
    for row in found["metrics"]:
        text = "\n  ".join([*wrap(row["sentence"], console.width - 8), *_details(row)])
        words.append(Text(signs("• "), _STYLES[row["verdict"]]).append(text, "default"))
    bad = found["sample_ratio"]["mismatch"]
    foot = Text(_split(found["sample_ratio"]), "bold red" if bad else "dim")
    head = Text(found["headline"], "bold red" if bad else "bold")
    body = Group(head, table, *words, Text(""), foot)
    console.print(
        Panel(
            body,
            title=f"[bold] {found['rollout']} [/]",
            subtitle=f"[dim] {_users(found)} [/]",
            title_align="left",
            subtitle_align="left",
        )
    )
