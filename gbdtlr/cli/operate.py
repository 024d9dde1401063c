"""What an operator does between the jobs: ``status``, ``releases``, ``rollback``, ``verify`` and ``prune``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from gbdtlr import tables
from gbdtlr.cli import metrics
from gbdtlr.cli.jobs import finish
from gbdtlr.cli.session import Session, as_of, duration, wall_clock, with_store
from gbdtlr.times import format_duration

TOO_OLD, DAMAGED = 4, 1
_MOST_OF_REASON = 60


@click.command("status")
@duration("--max-head-age", help="Exit with 4 if the live head is older, or dated as far ahead.")
@duration("--max-trees-age", help="Exit with 4 if the live trees are older, or dated as far ahead.")
@duration("--max-embeddings-age", help="Exit with 4 if the live embeddings are older, dated as far ahead, or none.")
@as_of("Take ages at this time")
@with_store
def status(
    session: Session,
    max_head_age: timedelta | None,
    max_trees_age: timedelta | None,
    max_embeddings_age: timedelta | None,
    as_of: str | None,
) -> int:
    """Show the live release: its age, and how well it does.

    \b
    Example:
      gbdtlr status -c configs/flights.toml
      gbdtlr status --store s3://models/ctr --max-head-age 30m --max-trees-age 36h
    """
    from gbdtlr.operate.status import status

    values = status(session.store(), session.now(as_of))
    session.result(values, lambda: _status_text(values, session))
    code = 0
    for part, limit, job in (
        ("head", max_head_age, "update-lr"),
        ("trees", max_trees_age, "train-trees"),
        ("embeddings", max_embeddings_age, "train-embeddings"),
    ):
        seconds = values[f"{part}_age_s"]
        if limit is None or (seconds is not None and abs(seconds) <= limit.total_seconds()):
            continue
        told = f"the live {part} of release {values['release']} {'are' if part == 'embeddings' else 'is'}"
        if seconds is None:
            told = f"release {values['release']} has no {part}; see why gbdtlr {job} did not publish"
        elif seconds > 0:
            allowed = tables.age(limit.total_seconds())
            told += f" {tables.age(seconds)} old, more than {allowed}; see why gbdtlr {job} did not publish"
        else:  # until then nothing newer is published, and it would never look too old
            told += f" dated {tables.age(-seconds)} ahead; set the clocks right, then gbdtlr rollback"
        session.log.error(told, TOO_OLD)
        code = TOO_OLD
    return code


@click.command("releases")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
@with_store
def releases(session: Session, last: int | None) -> None:
    """List the releases, newest last.

    Long reasons are cut; --json has them whole.

    \b
    Example:
      gbdtlr releases -c configs/flights.toml --last 20
    """
    from gbdtlr.operate.releases import releases

    entries = releases(session.store(), last)
    session.result(entries, lambda: _releases_text(entries, session))


@click.command("rollback")
@click.argument("number", type=click.IntRange(min=1), metavar="[N]", required=False)
@click.option("--reason", metavar="TEXT", default="", help="Why, for the log.")
@as_of("Time of the rollback")
@with_store
def rollback(session: Session, number: int | None, reason: str, as_of: str | None) -> int:
    """Make release N, or the one before the live one, live again.

    A rollback is a release too: nothing is lost, and it can be undone by another.

    \b
    Example:
      gbdtlr rollback -c configs/flights.toml 2 --reason "clicks were counted twice"
    """
    from gbdtlr.operate.rollback import rollback

    return finish(session, rollback(session.store(), number, session.now(as_of), reason))


@click.command("verify")
@with_store
def verify(session: Session) -> int:
    """Check every hash and golden row in the store.

    Exits with 1 if anything is damaged, and says what.

    \b
    Example:
      gbdtlr verify -c configs/flights.toml
    """
    from gbdtlr.operate.verify import verify

    report = verify(session.store())
    values = report.as_dict()
    session.result(values, lambda: _verify_text(values, session))
    return 0 if values["ok"] else DAMAGED


@click.command("prune")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    metavar="N",
    help="Newest releases to keep.",
)
@click.option("--keep-after", metavar="TIME", help="Keep releases with this as-of or a later one, too.")
@duration(
    "--min-age",
    default="1d",
    show_default=True,
    help="Remove nothing written more recently; longer than any job runs.",
)
@click.option("--dry-run", is_flag=True, help="Remove nothing, say what would be.")
@with_store
def prune(session: Session, keep: int, keep_after: str | None, min_age: timedelta, dry_run: bool) -> None:
    """Remove what no kept release needs.

    That is trees, embeddings, heads, and what killed jobs left behind. The log of releases stays whole.

    \b
    Example:
      gbdtlr prune -c configs/flights.toml --keep 100 --dry-run
    """
    from gbdtlr.operate.prune import prune

    after = session.moment("--keep-after", keep_after) if keep_after else None
    report = prune(session.store(), wall_clock(), keep, min_age, after, dry_run)
    versions = [str(version) for version in report.versions]
    unfinished = [str(version) for version in report.unfinished]
    values = {
        "dry_run": report.dry_run,
        "versions": versions,
        "unfinished": unfinished,
        "temporary": list(report.temporary),
        "bytes": report.n_bytes,
        "kept": report.n_kept,
        "needed": report.n_needed,
        "young": report.n_young,
    }
    session.result(values, lambda: _prune_text(values, format_duration(min_age), session))


def _status_text(values: dict[str, Any], session: Session) -> str:
    rows = [
        ("release", str(values["release"])),
        ("as of", values["as_of"]),
        ("made by", values["why"] + (", forced" if values["forced"] else "")),
        ("trees", f"{values['trees']}, {tables.age(values['trees_age_s'])} old"),
        ("head", f"{values['head']}, {tables.age(values['head_age_s'])} old"),
    ]
    if values["embeddings"]:
        rows.insert(4, ("embeddings", f"{values['embeddings']}, {tables.age(values['embeddings_age_s'])} old"))
    shown = dict(values["metrics"])
    if values["progressive"] and "progressive" not in shown:
        shown[f"progressive of release {values['progressive']['release']}"] = values["progressive"]
    return metrics.text(rows, shown, values["reason"], session)


def _releases_text(entries: list[dict[str, Any]], session: Session) -> str:
    if not entries:
        return "no releases yet; gbdtlr train-trees makes the first"
    any_embeddings = any(entry["embeddings"] for entry in entries)
    rows = [
        [
            str(entry["release"]),
            entry["as_of"] or "",
            entry["why"] + (", forced" if entry["forced"] else "") + (", pruned" if entry["pruned"] else ""),
            _hash(entry["trees"]),
            *([_hash(entry["embeddings"])] if any_embeddings else []),
            _hash(entry["head"]),
            metrics.progressive(entry["metrics"], "ne"),
            metrics.progressive(entry["metrics"], "calibration"),
            tables.shortened(entry["reason"], _MOST_OF_REASON),
        ]
        for entry in entries
    ]
    slow = ["trees", "embeddings"] if any_embeddings else ["trees"]
    return session.table(["release", "as of", "made by", *slow, "head", "NE", "calibration", "reason"], rows)


def _hash(version: str | None) -> str:
    """The part of a version's name that tells it from others; the rest is its as_of."""
    return (version or "").rpartition("-")[2]


def _verify_text(values: dict[str, Any], session: Session) -> str:
    told = [[each["what"], "ok" if each["ok"] else "DAMAGED", each["problem"]] for each in values["findings"]]
    notable = [row for row in told if row[1] != "ok" or row[2]]
    summary = f"{values['checked']:,} versions and releases checked, {values['damaged']:,} damaged"
    return "\n\n".join([*([session.table(["what", "state", "problem"], notable)] if notable else []), summary])


def _prune_text(values: dict[str, Any], min_age: str, session: Session) -> str:
    rows = [(kind, name) for kind in ("versions", "unfinished", "temporary") for name in values[kind]]
    verb = "would remove" if values["dry_run"] else "removed"
    summary = f"{verb} {len(rows):,} ({tables.size(values['bytes'])}); {_kept(values, min_age)}"
    return "\n\n".join([*([session.table(["kind", "name"], rows)] if rows else []), summary])


def _kept(values: dict[str, Any], min_age: str) -> str:
    """How many versions stay, and why."""
    stay = tables.count(values["kept"], "version") + (" stays" if values["kept"] == 1 else " stay")
    if values["kept"] and not values["needed"]:
        return f"{stay}, as no release in the log says which are needed"
    reasons = [(values["needed"], "needed by kept releases"), (values["young"], f"younger than --min-age {min_age}")]
    told = ", ".join(f"{n:,} {why}" for n, why in reasons if n)
    return f"{stay}: {told}" if told else stay


COMMANDS = (status, releases, rollback, verify, prune)
