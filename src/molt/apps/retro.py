"""The retrospective as one HTML page that needs nothing else: for mail, print and the board."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Final

from markdown_it import MarkdownIt

from molt.control.retro import COURSE
from molt.control.retro_course import Leg

_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")

STYLE: Final = """
:root { color-scheme: light dark; --text: #1c2430; --back: #fff; --line: #d5dae1; --soft: #f4f6f8; --soft-text: #566070; --main: #0b5c8a; --warn: #b26a00; --bad: #b3261e; }
@media screen and (prefers-color-scheme: dark) { :root { --text: #e6eaf0; --back: #12161c; --line: #38414d; --soft: #1b212a; --soft-text: #a3adba; --main: #7cc4ee; --warn: #f0b254; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 72rem; background: var(--back); color: var(--text); font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; } h2 { margin-top: 2.25rem; font-size: 1.25rem; border-bottom: 2px solid var(--main); padding-bottom: .25rem; }
.table { overflow-x: auto; } .table + .table { margin-top: 1.25rem; } table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .45rem .6rem; border-bottom: 1px solid var(--line); }
th { background: var(--soft); } td:first-child { white-space: nowrap; } code { background: var(--soft); padding: .1em .3em; border-radius: .25em; overflow-wrap: anywhere; }
.amount { white-space: nowrap; } .bar { display: inline-block; width: 5rem; height: .6rem; vertical-align: baseline; } .track { display: block; width: 100%; height: 1.5rem; }
.room { fill: var(--line); } .used, .real { fill: var(--main); } .much { fill: var(--warn); } .over, .incident { fill: var(--bad); } .planned { fill: none; stroke: var(--soft-text); stroke-width: 1.5; stroke-dasharray: 4 3; vector-effect: non-scaling-stroke; }
.course { display: grid; grid-template-columns: max-content 1fr; gap: .1rem .75rem; align-items: center; margin: 1rem 0; font-size: .9rem; font-variant-numeric: tabular-nums; } .course > :nth-child(4n+1), .course > :nth-child(4n+2) { background: var(--soft); } .course .axis { display: flex; justify-content: space-between; color: var(--soft-text); }
figure { margin: 0; } figcaption { color: var(--soft-text); font-size: .85rem; } .lead { font-size: 1.1rem; }
@media (max-width: 40rem) { body { padding: 1rem; } table { min-width: 42rem; } }
@media print { :root { color-scheme: light; } svg, th, .course > * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } th, td { padding: .3rem .4rem; } @page { size: A4; margin: 14mm; } table { font-size: 8pt; } .table { overflow: visible; } td:first-child { white-space: normal; }
 body { max-width: none; padding: 0; font-size: 10pt; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
"""


MUCH: Final = 0.8
"""The part of a limit from which on a bar warns."""

_BAR: Final = re.compile(r"[█░]{10} (?:(-?\d+)%|over)")


def as_html(markdown: str, legs: Sequence[Leg] = (), incidents: Sequence[datetime] = ()) -> str:
    """The page, with the course and the bars drawn; text in it is shown, never run."""
    title = markdown.partition("\n")[0].lstrip("# ")
    body = _markdown.render(markdown)
    body = _BAR.sub(_bar, body)
    body = body.replace("<table>", '<div class="table" tabindex="0"><table>')
    body = body.replace("</table>", "</table></div>")
    body = body.replace("<p>", '<p class="lead">', 1)
    body = body.replace(f"<h2>{COURSE}</h2>", f"<h2>{COURSE}</h2>{_drawn(legs, incidents)}", 1)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _bar(found: re.Match[str]) -> str:
    """The bar as a drawing, its figure beside it; a full red one from the limit on."""
    used = int(found[1]) / 100 if found[1] else 1.0
    kind = "over" if used >= 1 else "much" if used >= MUCH else "used"
    width = round(100 * min(1.0, max(0.0, used)), 1)
    figure = found[0].partition(" ")[2]
    return (
        '<span class="amount"><svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="room" width="100" height="10" rx="2"/>'
        f'<rect class="{kind}" width="{width}" height="10" rx="2"/></svg> {figure}</span>'
    )


def _drawn(legs: Sequence[Leg], incidents: Sequence[datetime]) -> str:
    """Each step on one scale of time: planned as an outline, real as a bar, incidents as lines."""
    instants = [
        at
        for leg in legs
        for at in (leg.due, leg.due + leg.step.pace, *(at for span in leg.spans for at in span))
    ]
    if not instants:
        return ""
    begin, end = min(instants), max(instants)
    whole = max(end - begin, timedelta(seconds=1))

    def place(at: datetime) -> float:
        return round(1000 * ((at - begin) / whole), 1)

    def box(kind: str, since: datetime, until: datetime, y: int, height: int) -> str:
        width = max(3.0, round(place(until) - place(since), 1))
        return (
            f'<rect class="{kind}" x="{place(since)}" y="{y}" width="{width}" height="{height}"/>'
        )

    marks = "".join(
        f'<rect class="incident" x="{place(at)}" width="3" height="24"/>' for at in incidents
    )
    rows: list[str] = []
    for leg in legs:
        planned = box("planned", leg.due, leg.due + leg.step.pace, 2, 20)
        real = "".join(box("real", *span, 7, 10) for span in leg.spans)
        rows.append(
            f'<span>{escape(leg.name)}</span><svg class="track" viewBox="0 0 1000 24" '
            f'preserveAspectRatio="none" aria-hidden="true">{planned}{real}{marks}</svg>'
        )
    axis = f'<span></span><span class="axis"><span>{begin:%d %b %H:%M}</span><span>{end:%d %b %H:%M}</span></span>'
    caption = "Dashed: as planned. Filled: as it went."
    caption += " Red lines: incidents." if incidents else ""
    return (
        f'<figure><div class="course">{"".join(rows)}{axis}</div>'
        f"<figcaption>{caption} Times in UTC.</figcaption></figure>"
    )
