"""The page of a replay: what freshness is worth on one's own data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from gbdtlr import tables
from gbdtlr.report import page
from gbdtlr.report import replay_charts as charts
from gbdtlr.report.figures import fixed, percent, seconds
from gbdtlr.times import parse_time, zone

EXPLAINED = {
    "two-speed": "trees on schedule, the head refitted at each update",
    "trees-on-schedule": "the same trees without a head",
    "stale-trees": "the first trees, for ever",
    "wait": "two-speed, no label learned before it is final",
    "weigh": "two-speed, rows whose label may still change weighed by how likely that is",
    "no-user-states": "two-speed, all users new",
    "user-states-live": "two-speed, users' states that know all that was known then",
    "labels-at-once": "two-speed that knows every label as its row happens, which nobody can",
    "trees-every-update": "trees trained anew at each update",
    "lightgbm-refit": "the schedule's trees, their leaves refitted by Booster.refit at each update, best decay so far",
    "plain-gbdt-lr": "scikit-learn's logistic regression on one-hot leaves at each update, best C so far",
}


def headline(found: Mapping[str, Any]) -> str:
    """What the replay says, in one sentence."""
    by_name = {each["name"]: each for each in found["strategies"]}
    ours, bare = by_name.get("two-speed"), by_name.get("trees-on-schedule")
    if ours is None or ours["ne"] is None:
        return "All labels were of one class: there is nothing to compare."
    update = found["cost"]["update-lr"]
    price = f" for {seconds(update)} per update" if update is not None else ""
    if bare is None or bare["ne"] is None:
        return f"Two-speed training reached an NE of {ours['ne']:.4f}{price}."
    change = 100 * (bare["ne"] - ours["ne"]) / bare["ne"]
    verb = "cut" if change >= 0 else "raised"
    if bare.get("low") is None:
        return f"The head {verb} NE by {abs(change):.1f}%{price}, on too little data to rule out chance."
    if bare["low"] <= 0 <= bare["high"]:
        return f"The head {verb} NE by {abs(change):.1f}%{price}, which may be chance: replay a longer period."
    if change < 0:
        return f"The head did not pay here: it raised NE by {-change:.1f}%{price}."
    return f"The head cut NE by {change:.1f}%{price}."


def standing(found: Mapping[str, Any]) -> str:
    """Where two-speed training stands among the others, in one sentence; empty if there are none."""
    ours, *others = found["strategies"]
    judged = [each for each in others if each.get("difference") is not None]
    if not judged:
        return ""
    best = min(judged, key=lambda each: each["ne"])
    interval = f" (95% interval {best['low']:+.4f} to {best['high']:+.4f})" if best.get("low") is not None else ""
    spent = f"{seconds(best['seconds'])} of training against {seconds(ours['seconds'])}"
    if best["difference"] > 0:
        return (
            f"Two-speed has the lowest NE of the {len(judged) + 1} compared; the next, {best['name']}, is "
            f"{best['difference']:.4f} above it{interval} after {spent}."
        )
    return (
        f"The lowest NE of the {len(judged) + 1} compared is that of {best['name']}, {-best['difference']:.4f} below "
        f"two-speed{interval} after {spent}."
    )


def replay_page(found: Mapping[str, Any], command: str = "") -> str:
    """One HTML file, without network or libraries, of what ``ReplayResult.as_dict`` holds.

    Parameters
    ----------
    command : the command line that was run, to be told on the page
    """
    period = f"{_local(found['start'], found)} to {_local(found['end'], found)} ({found['timezone']})"
    body = [
        f"<header><small>gbdtlr replay</small><h1>{escape(headline(found))}</h1>",
        *([page.words(standing(found))] if standing(found) else []),
        page.words(
            f"{found['rows']:,} rows from {period}, {percent(found['rate'])} of them positive. Trees every "
            f"{found['trees_every']}, head every {found['lr_every']}{_embeddings(found)}. Each row was scored "
            "by what was live when it happened, before its label was known.",
            "soft",
        ),
        "</header>",
        page.heading("Strategies on identical rows"),
        _strategies(found),
        page.words(_what_each_is(found), "note"),
        page.words(
            "NE, normalised entropy: mean log loss over the entropy of the share of positives; lower is better, and 1 "
            "is what knowing that share alone would give. Calibration: sum of the probabilities over the number of "
            f"positives; 1 is right. Intervals are paired: blocks of {found['block']} resampled, 95%.",
            "note",
        ),
        *_labels(found),
        page.heading("Over time"),
        page.figures(_over_time(found)),
        page.heading("Are the probabilities right, and how fast do they age?"),
        page.figures([_reliability(found), *_freshness(found)]),
        *_cadences(found),
        page.heading("What was run"),
        *_run(found, command),
    ]
    return page.page(f"gbdtlr replay: {headline(found)}", body)


def _strategies(found: Mapping[str, Any]) -> str:
    rows = []
    for each in found["strategies"]:
        difference = each.get("difference")
        against = tables.NONE if difference is None else f"{difference:+.4f}"
        if each.get("low") is not None:
            against += f" ({each['low']:+.4f} to {each['high']:+.4f})"
        rows.append(
            [
                each["name"],
                *(fixed(each[key]) for key in ("ne", "log_loss")),
                fixed(each["calibration"], 3),
                fixed(each["auc"]),
                against,
                f"{each['seconds']:,.1f}",
            ]
        )
    header = ["strategy", "NE", "log loss", "calibration", "AUC", "NE against two-speed (95%)", "training, s"]
    return page.table(header, rows, first_bold=True)


def _what_each_is(found: Mapping[str, Any]) -> str:
    told = [f"{e['name']}: {EXPLAINED[e['name']]}" for e in found["strategies"] if e["name"] in EXPLAINED]
    told += [f"{e['name']}: states {age} old" for e in found["strategies"] if (age := _state_age(e["name"]))]
    told += [f"{name}: trees and head of a further config" for name in found["others"]]
    return "; ".join(told) + "."


def _embeddings(found: Mapping[str, Any]) -> str:
    return f", embeddings every {found['embeddings_every']}" if found["embeddings_every"] else ""


def _state_age(name: str) -> str:
    """How old users' states were, of a strategy that is named for it; empty for others."""
    return "" if name in EXPLAINED or not name.startswith("user-states-") else name.removeprefix("user-states-")


def _labels(found: Mapping[str, Any]) -> list[str]:
    """What waiting for labels costs, hour by hour of the day; nothing where rows have no deadlines."""
    if "labels" not in found:
        return []
    hours = range(24)
    rows = [
        [each["name"], percent(each["unfinal"]), *(fixed(each["calibration_by_hour"][hour], 2) for hour in hours)]
        for each in found["labels"]
    ]
    header = ["labels", "weight not final", *(f"{hour} h" for hour in hours)]
    said = "Share of the fits' weight whose label could still change, and calibration by the hour of the day."
    return [page.heading("Labels that are not final"), page.words(said, "note"), page.table(header, rows)]


def _over_time(found: Mapping[str, Any]) -> list[str]:
    legend, pair, each = _legend(found), _legend(found, charts.PAIR), charts.span(found)
    so_far, spans = charts.so_far_chart(found), charts.span_chart(found)
    calibration, volume = charts.calibration_chart(found), charts.volume_chart(found)
    return [
        page.figure("NE so far", "All rows from the start to that moment; lower is better.", so_far, legend),
        page.figure(f"NE of each {each}", "Hard times are hard for all; the gap is what counts.", spans, pair),
        page.figure("Calibration", "On the dotted line probabilities add up to what came.", calibration, pair),
        page.figure(f"Rows of each {each}", "How many rows were judged.", volume),
    ]


def _reliability(found: Mapping[str, Any]) -> str:
    note = "Rows in ten groups by probability, each as large; on the dotted line what was said is what came."
    return page.figure("Reliability", note, charts.reliability_chart(found), _legend(found, charts.PAIR))


def _freshness(found: Mapping[str, Any]) -> list[str]:
    told = (
        ("release", "Age of the head", "NE had both jobs stopped so long before, each age on the same"),
        ("trees", "Age of the trees", "NE of bare trees, had they been trained so long before, on the same"),
    )
    return [
        page.figure(title, f"{note} {found['freshness'][what][0]['rows']:,} rows.", svg)
        for what, title, note in told
        if (svg := charts.age_chart(found, what))
    ]


def _legend(found: Mapping[str, Any], names: Sequence[str] | None = None) -> list[tuple[int, str]]:
    return [(style, name) for name, style in charts.styles(found).items() if names is None or name in names]


def _cadences(found: Mapping[str, Any]) -> list[str]:
    cadences = found["cadences"]
    if len(cadences) < 2:
        return []
    rows = [
        [
            each["trees_every"],
            each["lr_every"],
            fixed(each["ne"]),
            fixed(each["calibration"], 3),
            f"{each['jobs']:,}",
            f"{each['seconds']:,.1f}",
        ]
        for each in cadences
    ]
    svg, legend = charts.cadence_chart(found)
    costs = page.figure("What a cadence costs", "NE against the time all jobs took.", svg, legend)
    enough = found["enough"]
    said = ""
    if enough:
        said = (
            f"Enough here: trees every {enough['trees_every']}, head every {enough['lr_every']}. No other cadence "
            f"tried has an NE more than {found['worth']:.2%} lower."
        )
    return [
        page.heading("How often is enough?"),
        page.words(said),
        page.table(["trees every", "head every", "NE", "calibration", "jobs", "jobs, s"], rows),
        "<br>",
        page.figures([costs]),
    ]


def _run(found: Mapping[str, Any], command: str) -> list[str]:
    jobs, cost = found["jobs"], found["cost"]
    ends = ", ".join(f"{jobs[end]:,} {end}" for end in ("published", "unchanged", "superseded", "refused", "failed"))
    told = ("train-trees", "train-embeddings", "update-lr")
    spent = "; ".join(f"{job} {seconds(cost[job])}" for job in told if cost[job] is not None)
    parts = [
        page.words(f"Jobs: {ends}."),
        page.words(f"Mean time of a whole job: {spent}; the replay adds {seconds(cost['replay'])} to each."),
    ]
    if jobs["kept"]:
        kept = [[_local(e["at"], found), e["job"], e["status"], e["reason"]] for e in jobs["kept"][:20]]
        parts += [page.words("Jobs that kept the old release live:"), page.table(["at", "job", "end", "reason"], kept)]
    if command:
        parts.append(f"<pre>{escape(command)}</pre>")
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    parts.append(page.words(versions, "note"))
    parts.append(page.folded("Config", _toml(found["config"])))
    parts += [page.folded(f"Config {name}", _toml(other)) for name, other in found["others"].items()]
    return parts


def _toml(config: Mapping[str, Any], above: str = "") -> str:
    """A config as its file would say it; JSON's texts, numbers and lists are TOML's too."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in config.items() if not isinstance(value, Mapping)]
    tables_ = [
        f"\n[{above}{key}]\n{_toml(value, f'{above}{key}.')}"
        for key, value in config.items()
        if isinstance(value, Mapping)
    ]
    return "\n".join([*plain, *tables_])


def _local(text: str, found: Mapping[str, Any]) -> str:
    return f"{parse_time(text).astimezone(zone(found['timezone'])):%Y-%m-%d %H:%M}".removesuffix(" 00:00")
