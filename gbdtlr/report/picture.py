"""The picture: a replay's two most telling charts as one SVG, to show where a page cannot go."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from gbdtlr.report import chart, page
from gbdtlr.report.replay_charts import age_chart, so_far_chart
from gbdtlr.report.replayed import headline

WIDTH, HEIGHT = 1000, 456
LETTER = 7.6
"""Width of a letter of the legend, on the wide side: which font draws it is not known here."""
TITLE_LETTER = 0.7
"""The same of the title, as a share of its size: a long one is smaller."""


def replay_picture(found: Mapping[str, Any]) -> str:
    """One SVG file: NE so far of every strategy, and NE against the age of the head.

    It is light or dark as the page around it, and has its own ground where that page does not say.

    Parameters
    ----------
    found : what ``ReplayResult.as_dict`` holds
    """
    left, right = so_far_chart(found), age_chart(found, "release")
    legend, width = _legend([each["name"] for each in found["strategies"]])
    width = max(WIDTH, width)
    title = headline(found)
    size = min(20.0, (width - 32) / (TITLE_LETTER * len(title)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" role="img" '
        f'aria-label="{escape(title, quote=True)}"><style>{page.style()}'
        f"svg.chart{{width:{chart.WIDTH}px;height:{chart.HEIGHT}px}}.title{{font-weight:700;font-size:{size:.1f}px}}"
        ".sub{font-size:15px}.small{font-size:13px}.paper{fill:var(--paper)}</style>"
        f'<rect class="paper" width="{width}" height="{HEIGHT}" rx="8"/>'
        f'<text class="title" x="16" y="34">{escape(title)}</text>'
        f'<text class="sub" x="16" y="60">{found["rows"]:,} rows; normalised entropy (NE), lower is better; '
        f"trees every {found['trees_every']}, head every {found['lr_every']}</text>"
        f'<text class="sub" x="84" y="94">NE of all rows so far</text>{_at(left, 6, 100)}'
        f'<text class="sub" x="{chart.WIDTH + 98}" y="94">NE had both jobs stopped so long before</text>'
        f"{_at(right, chart.WIDTH + 20, 100)}{legend}</svg>\n"
    )


def _legend(names: Sequence[str]) -> tuple[str, int]:
    """Swatches with names in a row, and where the row ends."""
    x, parts = 16.0, []
    for style, name in enumerate(names):
        parts.append(
            f'<g transform="translate({x:.0f} {HEIGHT - 30})">{chart.swatch(style)}'
            f'<text x="40" y="12" class="small">{escape(name)}</text></g>'
        )
        x += 40 + LETTER * len(name) + 14
    return "".join(parts), math.ceil(x)


def _at(svg: str, x: int, y: int) -> str:
    svg = re.sub(r'<circle class="hit".*?</circle>', "", svg)  # nobody points at a picture
    size = f'x="{x}" y="{y}" width="{chart.WIDTH}" height="{chart.HEIGHT}"'
    return svg.replace("<svg ", f"<svg {size} ", 1)
