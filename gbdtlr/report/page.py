"""The page: one HTML file that needs nothing else, for screens wide and narrow, light and dark, and for paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib import resources

from gbdtlr.report.chart import swatch

NUMBER = re.compile(r"[-+]?[\d.,]+%?|-")


def page(title: str, body: Sequence[str]) -> str:
    """The whole file."""
    script = _beside("page.js")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'; img-src data:\">"
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{style()}</style></head>\n<body>\n'
        + "\n".join(body)
        + f'\n<div id="tip" role="status"></div><script>{script}</script></body></html>\n'
    )


def style() -> str:
    """What gives page and charts their looks."""
    return _beside("page.css")


def heading(text: str) -> str:
    """A section's heading."""
    return f"<h2>{escape(text)}</h2>"


def words(text: str, kind: str = "") -> str:
    """A paragraph."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def figure(title: str, note: str, svg: str, legend: Sequence[tuple[int, str]] = ()) -> str:
    """A chart with its title, what it shows, and whose line is whose."""
    entries = "".join(f"<li>{swatch(style)}<span>{escape(name)}</span></li>" for style, name in legend)
    return (
        f"<figure><figcaption><h3>{escape(title)}</h3><p>{escape(note)}</p></figcaption>{svg}"
        + (f'<ul class="legend">{entries}</ul>' if entries else "")
        + "</figure>"
    )


def figures(all_figures: Sequence[str]) -> str:
    """Charts beside each other where there is room."""
    return f'<div class="grid-of-charts">{"".join(each for each in all_figures if each)}</div>'


def table(header: Sequence[str], rows: Sequence[Sequence[str]], first_bold: bool = False) -> str:
    """A table that scrolls by itself on a phone; columns of numbers to the right."""
    numeric = [bool(rows) and all(_is_number(row[j]) for row in rows) for j in range(len(header))]

    def cells(row: Sequence[str], tag: str) -> str:
        kinds = (' class="n"' if right else "" for right in numeric)
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for cell, kind in zip(row, kinds, strict=True))

    marks = [' class="first"' if first_bold and i == 0 else "" for i in range(len(rows))]
    lines = [f"<tr{mark}>{cells(row, 'td')}</tr>" for mark, row in zip(marks, rows, strict=True)]
    head = f"<thead><tr>{cells(header, 'th')}</tr></thead>"
    return f'<div class="scroll" tabindex="0"><table>{head}<tbody>{"".join(lines)}</tbody></table></div>'


def folded(summary: str, text: str) -> str:
    """Text that opens when asked for."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def _is_number(text: str) -> bool:
    return NUMBER.fullmatch(text) is not None


def _beside(name: str) -> str:
    return resources.files("gbdtlr.report").joinpath(name).read_text("utf-8")
