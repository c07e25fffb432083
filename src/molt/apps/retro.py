"""The retrospective as one HTML page that needs nothing else: for mail, print and the board."""

from html import escape
from typing import Final

from markdown_it import MarkdownIt

_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")

STYLE: Final = """
:root { color-scheme: light dark; --text: #1c2430; --back: #fff; --line: #d5dae1; --soft: #f4f6f8; --main: #0b5c8a; }
@media (prefers-color-scheme: dark) { :root { --text: #e6eaf0; --back: #12161c; --line: #38414d; --soft: #1b212a; --main: #7cc4ee; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 72rem; background: var(--back); color: var(--text); font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; } h2 { margin-top: 2.25rem; font-size: 1.25rem; border-bottom: 2px solid var(--main); padding-bottom: .25rem; }
.table { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .45rem .6rem; border-bottom: 1px solid var(--line); }
th { background: var(--soft); } td:first-child { white-space: nowrap; } code { background: var(--soft); padding: .1em .3em; border-radius: .25em; overflow-wrap: anywhere; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
"""


def as_html(markdown: str) -> str:
    """The page; text in it is shown, never run."""
    title = markdown.partition("\n")[0].lstrip("# ")
    body = _markdown.render(markdown)
    body = body.replace("<table>", '<div class="table" tabindex="0"><table>')
    body = body.replace("</table>", "</table></div>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )
