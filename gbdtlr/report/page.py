"""The page: one HTML file that needs nothing else, for screens wide and narrow, light and dark, and for paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib import resources

from gbdtlr.report.chart import swatch

LONG = 34
NUMBER = re.compile(r"[-+]?[\d.,]+(e[-+]\d+)?%?|-")


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


def table(header: Sequence[str], rows: Sequence[Sequence[str]], first_bold: bool = False, lead: bool = False) -> str:
    """A table that scrolls by itself on a phone; columns of numbers to the right, long texts broken.

    Parameters
    ----------
    first_bold : whether the first row stands out
    lead : whether on a phone the first cell of each row stands above the others, which go with it
    """
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(header)
    kinds = ["n" if _are_numbers(column) else "w" if _are_long(column) else "" for column in columns]

    def cells(row: Sequence[str], tag: str) -> str:
        marks = (f' class="{kind}"' if kind else "" for kind in kinds)
        return "".join(f"<{tag}{mark}>{escape(cell)}</{tag}>" for cell, mark in zip(row, marks, strict=True))

    marks = [' class="first"' if first_bold and i == 0 else "" for i in range(len(rows))]
    lines = [f"<tr{mark}>{cells(row, 'td')}</tr>" for mark, row in zip(marks, rows, strict=True)]
    head = f"<thead><tr>{cells(header, 'th')}</tr></thead>"
    name = ' class="lead"' if lead else ""
    return f'<div class="scroll" tabindex="0"><table{name}>{head}<tbody>{"".join(lines)}</tbody></table></div>'


def folded(summary: str, text: str) -> str:
    """Text that opens when asked for."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def _are_numbers(column: Sequence[str]) -> bool:
    return bool(column) and all(NUMBER.fullmatch(cell) for cell in column)


def _are_long(column: Sequence[str]) -> bool:
    return any(len(cell) > LONG for cell in column)


def _beside(name: str) -> str:
    return resources.files("gbdtlr.report").joinpath(name).read_text("utf-8")
