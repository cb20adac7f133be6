"""One HTML page: headings, sentences, tables and plots, readable by eye, ear and phone."""

import html
from collections.abc import Sequence

from secateur_server.pruning.report.svg import number

STYLE = """
:root{color-scheme:light dark;--ink:#1c2126;--soft:#5b6570;--paper:#fff;--line:#d8dde2;
--c0:#1f6fb2;--c1:#c8601a;--c2:#2e8540;--c3:#8b4bb0;--c4:#a8851b;--c5:#c43b5c;--c6:#20808d;
--c7:#6b7682}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ec;--soft:#9aa5b1;--paper:#14181c;
--line:#343c45;--c0:#63b0ee;--c1:#f0995a;--c2:#74c686;--c3:#c795e6;--c4:#dcc065;--c5:#f0879f;
--c6:#62c6d2;--c7:#a4afba}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:1rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}
h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.2rem 0 .3rem}
p,li{max-width:44rem}
.soft,caption,figcaption{color:var(--soft);font-size:.875rem;text-align:left}
code{font-family:ui-monospace,monospace;font-size:.9em;background:color-mix(in srgb,
var(--line) 45%,transparent);padding:.1em .3em;border-radius:3px}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums;
overflow-wrap:normal}
th,td{padding:.25rem .75rem .25rem 0;text-align:left;vertical-align:top;
border-bottom:1px solid var(--line)}
td.n,th.n{text-align:right}
td.n,th.n,td.s{white-space:nowrap}
td.name{max-width:22rem;overflow-wrap:anywhere;min-width:8rem}
figure{margin:1rem 0}
svg{display:block;width:100%;max-width:40rem;height:auto}
svg text{fill:var(--ink);font:11px system-ui,sans-serif}
svg text.small{font-size:9.5px;fill:var(--soft)}
.grid{stroke:var(--line);fill:none}
.line{fill:none;stroke-width:1.8}
.faint{stroke-opacity:.35}
summary{cursor:pointer;color:var(--soft);padding:.4rem 0}
""" + "".join(
    f".c{k}{{fill:var(--c{k})}}.line.c{k}{{fill:none;stroke:var(--c{k})}}" for k in range(8)
)

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The page loads nothing and runs nothing, whatever names a model holds."""

SHORT = 26
"""Letters of a cell that is not broken into lines."""

Cell = str | int | float | None
"""A number is put to the right; ``None`` is a dash."""


def page(title: str, *parts: str) -> str:
    """Give a whole document; the parts are HTML already, the title is not."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{html.escape(title)}</h1>{''.join(parts)}</main></body></html>\n"
    )


def section(heading: str, *parts: str) -> str:
    """Give a part of the page with a heading; nothing, if there is nothing in it."""
    inside = "".join(parts)
    return f"<section><h2>{html.escape(heading)}</h2>{inside}</section>" if inside else ""


def heading(text: str) -> str:
    """Give a heading inside a section."""
    return f"<h3>{html.escape(text)}</h3>"


def paragraph(text: str, *, is_soft: bool = False) -> str:
    """Give a paragraph."""
    return f"<p{_kind('soft' if is_soft else '')}>{html.escape(text)}</p>"


def code(text: str) -> str:
    """Give a paragraph with a command line."""
    return f"<p><code>{html.escape(text)}</code></p>"


def bullets(texts: Sequence[str]) -> str:
    """Give a list; nothing, if it is empty."""
    if not texts:
        return ""
    return f"<ul>{''.join(f'<li>{html.escape(text)}</li>' for text in texts)}</ul>"


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Give a table that scrolls sideways where it is too wide; the first column is a name."""
    if not rows:
        return ""
    numeric = [
        any(isinstance(row[k], int | float) for row in rows) for k in range(len(columns))
    ]
    head = "".join(
        f'<th scope="col"{_kind("n" if is_number else "")}>{html.escape(name)}</th>'
        for name, is_number in zip(columns, numeric, strict=True)
    )
    body = "".join(f"<tr>{_cells(row, numeric)}</tr>" for row in rows)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{html.escape(caption)}">'
        f"<table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def figure(drawing: str, caption: str, fallback: str = "") -> str:
    """Give a plot with what it says in words, and its numbers as a table to open."""
    more = f"<details><summary>The numbers</summary>{fallback}</details>" if fallback else ""
    return f"<figure>{drawing}<figcaption>{html.escape(caption)}</figcaption>{more}</figure>"


def _kind(name: str) -> str:
    return f' class="{name}"' if name else ""


def _cells(row: Sequence[Cell], numeric: Sequence[bool]) -> str:
    told = []
    for k, (cell, is_number) in enumerate(zip(row, numeric, strict=True)):
        text = _written(cell)
        is_short = len(text) <= SHORT
        kind = "n" if is_number else "s" if is_short else "name" if k == 0 else ""
        told.append(f"<td{_kind(kind)}>{html.escape(text)}</td>")
    return "".join(told)


def _written(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return number(cell)
    return f"{cell:,}" if isinstance(cell, int) else cell
