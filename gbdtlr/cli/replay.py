"""``replay``: what each cadence would have given on one's own history."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from gbdtlr import tables
from gbdtlr.cli.explain import check_page, write_page
from gbdtlr.cli.session import Session, duration, durations, engine, with_config
from gbdtlr.config import ONLINE, Config

_ENDS = ("published", "unchanged", "superseded", "refused", "failed")
_FIGURES = {"ne": "NE", "log_loss": "log loss", "calibration": "calibration", "auc": "AUC"}


@click.command("replay")
@click.option("--start", metavar="TIME", required=True, help="First moment that is judged.")
@click.option("--end", metavar="TIME", required=True, help="End of the period, not part of it.")
@durations("--trees-every", default="1d", show_default=True, help="How often trees are trained; several: 1d,7d.")
@durations("--lr-every", default="3h", show_default=True, help="How often the head is refitted; several: 1h,3h,6h.")
@duration("--embeddings-every", help="How often vectors of items are made, by train-embeddings; never, if not given.")
@duration(
    "--user-state-age",
    "user_state_ages",
    multiple=True,
    help="Score once more with users' states so old, such as 1h; may be repeated.",
)
@click.option("--strategy", "strategies", multiple=True, metavar="NAME", help="Only this one; may be repeated.")
@click.option("--also", multiple=True, metavar="FILE", help="Further config to compare; may be repeated.")
@click.option("--method", "methods", multiple=True, metavar="NAME", help="Further head method; may be repeated.")
@click.option("--report", metavar="FILE", help="HTML page to write, with charts; it needs no network.")
@click.option("--out", metavar="FOLDER", help="Keep finished steps here, and go on from them.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Side by side.")
@engine
@with_config
def replay(
    session: Session,
    start: str,
    end: str,
    trees_every: tuple[timedelta, ...],
    lr_every: tuple[timedelta, ...],
    embeddings_every: timedelta | None,
    user_state_ages: tuple[timedelta, ...],
    strategies: tuple[str, ...],
    also: tuple[str, ...],
    methods: tuple[str, ...],
    report: str | None,
    out: str | None,
    workers: int,
    engine: str | None,
) -> None:
    """Show what each cadence would have given on past data.

    Runs the jobs over the period, in stores of its own, scores every row with what was live when it happened, and
    compares. Strategies are compared at the first of the cadences.

    \b
    Example:
      gbdtlr replay -c configs/flights.toml --start 2013-02-01 --end 2013-03-15 --trees-every 1d --lr-every 3h
      gbdtlr replay -c configs/flights.toml --start 2013-02-01 --end 2013-02-15 --lr-every 3h,6h --report replay.html
      gbdtlr replay -c shop.toml --start 2024-03-01 --end 2024-03-15 --embeddings-every 1d --user-state-age 1h
    """
    from gbdtlr.replay import replay

    if report:
        check_page(report)
    try:
        with session.engine(engine) as working:
            result = replay(
                session.config,
                session.moment("--start", start),
                session.moment("--end", end),
                trees_every,
                lr_every,
                strategies=strategies or None,
                out=out,
                progress=session.log.progress("replay.progress"),
                others=_others(session.config, also, methods),
                workers=workers,
                engine=working,
                embeddings_every=embeddings_every,
                user_state_ages=user_state_ages,
            )
    except KeyboardInterrupt:
        if out:
            session.log.event("replay.stopped", message=f"the same command goes on with what is in {out}")
        raise
    values = result.as_dict()
    if report:
        from gbdtlr.report import replay_page

        write_page(report, replay_page(values, shlex.join(["gbdtlr", *sys.argv[1:]])))
    session.result(values, lambda: _text(values, session))


def _others(config: Config, files: tuple[str, ...], methods: tuple[str, ...]) -> dict[str, Config]:
    """Further configs by name: whole files, and this config with another method of its head.

    What has no meaning for that method is left out.
    """
    others = {Path(file).stem: Config.load(file) for file in files}
    for method in methods:
        online = config.head.online
        others[f"two-speed-{method}"] = config.replace(
            head=dataclasses.replace(
                config.head,
                method=method,
                full_every=None if method == "refit" else config.head.full_every,
                online=online if method in ONLINE else dataclasses.replace(online, min_occurrences=1),
            )
        )
    return others


def _text(values: dict[str, Any], session: Session) -> str:
    from gbdtlr.report import headline

    rows = [
        [each["name"], *_figures(each), tables.cell(each.get("difference")), _interval(each), _seconds(each)]
        for each in values["strategies"]
    ]
    header = ["strategy", *_FIGURES.values(), "NE - two-speed", "95% interval", "training s"]
    period = f"{values['start']} to {values['end']}, trees every {values['trees_every']}, head {values['lr_every']}"
    if values["embeddings_every"]:
        period += f", embeddings {values['embeddings_every']}"
    parts = [headline(values), f"{tables.count(values['rows'], 'row')}, {period}", session.table(header, rows)]
    if "labels" in values:
        rows = [[each["name"], f"{each['unfinal']:.1%}", *_ends_of(each)] for each in values["labels"]]
        header = ["labels", "weight not final", "lowest calibration of an hour of the day", "highest"]
        parts.append(session.table(header, rows))
    if len(values["cadences"]) > 1:
        rows = [
            [each["trees_every"], each["lr_every"], *_figures(each), tables.cell(each["jobs"]), _seconds(each)]
            for each in values["cadences"]
        ]
        parts.append(session.table(["trees every", "head every", *_FIGURES.values(), "jobs", "all jobs s"], rows))
    if values["enough"]:
        said = (
            "enough: trees every {trees_every}, head every {lr_every}; no other has an NE more than {worth:.2%} lower"
        )
        parts.append(said.format_map({**values["enough"], "worth": values["worth"]}))
    for what, said in (("release", "head's age, both jobs stopped"), ("trees", "trees' age, no head")):
        curve = values["freshness"][what]
        if len(curve) > 1:
            rows = [[tables.age(point["age_s"]), tables.cell(point["ne"])] for point in curve]
            parts.append(session.table([said, f"NE on {tables.count(curve[0]['rows'], 'row')}"], rows))
    parts.append(_cost(values))
    return "\n\n".join(parts)


def _ends_of(values: dict[str, Any]) -> list[str]:
    """The lowest and the highest calibration of an hour of the day."""
    there = [each for each in values["calibration_by_hour"] if each is not None]
    return [tables.cell(min(there)), tables.cell(max(there))] if there else [tables.NONE] * 2


def _cost(values: dict[str, Any]) -> str:
    """How the jobs ended, what one takes, and what the replay adds."""
    ends = ", ".join(f"{values['jobs'][end]:,} {end}" for end in _ENDS if values["jobs"][end])
    cost = values["cost"]
    told = ("train-trees", "train-embeddings", "update-lr")
    each = ", ".join(f"{job} {cost[job]:.2f} s" for job in told if cost[job] is not None)
    return f"jobs: {ends or 'none'}; mean time of one: {each}; the replay adds {cost['replay']:.3f} s to each"


def _figures(values: dict[str, Any]) -> list[str]:
    return [tables.cell(values.get(figure)) for figure in _FIGURES]


def _seconds(values: dict[str, Any]) -> str:
    return f"{values['seconds']:,.1f}"


def _interval(values: dict[str, Any]) -> str:
    if values.get("low") is None:
        return tables.NONE
    return f"{tables.cell(values['low'])} to {tables.cell(values['high'])}"


COMMANDS = (replay,)
