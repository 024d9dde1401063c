"""What an operator looks at and tidies between the jobs: ``status``, ``releases``, ``verify`` and ``prune``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from gbdtlr import tables
from gbdtlr.cli import metrics
from gbdtlr.cli.session import Session, as_of, duration, wall_clock, with_store
from gbdtlr.times import format_duration

TOO_OLD, DAMAGED = 4, 1
_MOST_OF_REASON, _MOST_OF_WHO = 60, 24
WITH_A_PAIR = ("release", "candidate", None)  # None: an entry that cannot be read


@click.command("status")
@duration("--max-head-age", help="Exit with 4 if the live head is older, or dated as far ahead.")
@duration("--max-trees-age", help="Exit with 4 if the live trees are older, or dated as far ahead.")
@duration("--max-embeddings-age", help="Exit with 4 if the live embeddings are older, dated as far ahead, or none.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "prometheus"]),
    default="text",
    help="Text, or metrics for Prometheus.",
)
@as_of("Take ages at this time")
@with_store
def status(
    session: Session,
    max_head_age: timedelta | None,
    max_trees_age: timedelta | None,
    max_embeddings_age: timedelta | None,
    form: str,
    as_of: str | None,
) -> int:
    """Show the live release: its age, and how well it does.

    Then the candidate, and a hold, if they stand.

    \b
    Example:
      gbdtlr status -c configs/flights.toml
      gbdtlr status --store s3://models/ctr --max-head-age 30m --max-trees-age 36h
      gbdtlr status --store s3://models/ctr --format prometheus
    """
    from gbdtlr.operate.status import status

    store, now = session.store(), session.now(as_of)
    values = status(store, now)
    if form == "prometheus":
        from gbdtlr.operate.store_metrics import store_metrics

        session.print(store_metrics(store, now, session.store_url).rstrip("\n"))
    else:
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
    rows = [("release", str(values["release"])), *_facts(values)]
    if held := values["held"]:
        why = f": {held['reason']}" if held["reason"] else ""
        rows.append(("held", f"since {held['as_of']}{_who(held, ' by ')}{why}"))
    shown = dict(values["metrics"])
    if values["progressive"] and "progressive" not in shown:
        shown[f"progressive of release {values['progressive']['release']}"] = values["progressive"]
    parts = [metrics.text(rows, shown, values["reason"], session)]
    if candidate := values["candidate"]:
        rows = [("candidate", str(candidate["release"])), *_facts(candidate)]
        shown = {name: value for name, value in candidate["metrics"].items() if name != "progressive"}
        if candidate["progressive"]:
            shown["progressive in the shadow"] = candidate["progressive"]
        parts.append(metrics.text(rows, shown, candidate["reason"], session))
    return "\n\n".join(parts)


def _facts(values: dict[str, Any]) -> list[tuple[str, str]]:
    """What there is to say of a release or a candidate, beside its figures."""
    parts = ["trees", *(["embeddings"] if values["embeddings"] else []), "head"]
    return [
        ("as of", values["as_of"]),
        ("made by", values["why"] + (", forced" if values["forced"] else "") + _who(values, " by ")),
        *((part, f"{values[part]}, {tables.age(values[f'{part}_age_s'])} old") for part in parts),
    ]


def _who(values: dict[str, Any], before: str = "") -> str:
    """Who made an entry, and where; empty where nobody said."""
    who = "@".join(filter(None, [values["user"], values["host"]]))
    return before + who if who else ""


def _releases_text(entries: list[dict[str, Any]], session: Session) -> str:
    if not entries:
        return "no releases yet; gbdtlr train-trees makes the first"
    any_embeddings = any(entry["embeddings"] for entry in entries)
    parts = ["trees", *(["embeddings"] if any_embeddings else []), "head"]
    rows = [
        [
            str(entry["release"]),
            entry["as_of"] or "",
            entry["why"] + "".join(f", {word}" for word in ("forced", "pruned") if entry[word]) + _tried(entry),
            *(_hash(entry[part] if entry["kind"] in WITH_A_PAIR else "") for part in parts),
            metrics.progressive(entry["metrics"], "ne"),
            metrics.progressive(entry["metrics"], "calibration"),
            tables.shortened(_who(entry), _MOST_OF_WHO),
            tables.shortened(entry["reason"], _MOST_OF_REASON),
        ]
        for entry in entries
    ]
    header = ["release", "as of", "made by", *parts, "NE", "calibration", "by", "reason"]
    return session.table(header, rows)


def _tried(entry: dict[str, Any]) -> str:
    return ", candidate" if entry["kind"] == "candidate" else ""


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


COMMANDS = (status, releases, verify, prune)
