"""The picture: a replay's two most telling charts as one SVG, to show where a page cannot go."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from gbdtlr.report import chart, page
from gbdtlr.report.replay_charts import age_chart, so_far_chart
from gbdtlr.report.replayed import headline

WIDTH, LEGEND_STEP = 1000, 165


def replay_picture(found: Mapping[str, Any]) -> str:
    """One SVG file: NE so far of every strategy, and NE against the age of the release.

    Parameters
    ----------
    found : what ``ReplayResult.as_dict`` holds
    """
    names = [each["name"] for each in found["strategies"]]
    legend = "".join(
        f'<g transform="translate({10 + LEGEND_STEP * i} 436)">{chart.swatch(i)}'
        f'<text x="40" y="12" class="small">{escape(name)}</text></g>'
        for i, name in enumerate(names)
    )
    left, right = so_far_chart(found), age_chart(found, "release")
    width = max(WIDTH, 20 + LEGEND_STEP * len(names))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 466" role="img" '
        f'aria-label="{escape(headline(found), quote=True)}"><style>{page.style()}'
        f"svg.chart{{width:{chart.WIDTH}px;height:{chart.HEIGHT}px}}.title{{font-weight:700;font-size:20px}}"
        ".sub{font-size:15px}.small{font-size:13px}.paper{fill:var(--paper)}</style>"
        f'<rect class="paper" width="{width}" height="466" rx="8"/>'
        f'<text class="title" x="16" y="34">{escape(headline(found))}</text>'
        f'<text class="sub" x="16" y="62">{found["rows"]:,} rows; normalised entropy, lower is better</text>'
        f'<text class="sub" x="84" y="94">NE so far</text>{_at(left, 6, 100)}'
        f'<text class="sub" x="{chart.WIDTH + 98}" y="94">NE had both jobs stopped so long before</text>'
        f"{_at(right, chart.WIDTH + 20, 100)}{legend}</svg>\n"
    )


def _at(svg: str, x: int, y: int) -> str:
    size = f'x="{x}" y="{y}" width="{chart.WIDTH}" height="{chart.HEIGHT}"'
    return svg.replace("<svg ", f"<svg {size} ", 1)
