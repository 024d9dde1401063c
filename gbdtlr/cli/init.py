"""``init``: a config written after a look at the files."""

from __future__ import annotations

import click

from gbdtlr.cli.session import Session, alone


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-o", "--output", default="gbdtlr.toml", show_default=True, metavar="FILE", help="Config to write.")
@click.option("--label", metavar="COLUMN", help="The column of the label; found by its values if not given.")
@click.option("--event-time", metavar="COLUMN", help="The column of the time of the event; found if not given.")
@alone
def init(session: Session, paths: tuple[str, ...], output: str, label: str | None, event_time: str | None) -> None:
    """Look at files and write a commented config for them.

    It says which column is the time, the label, the weight, a number, a category or an id; what it was unsure of; and
    which command to run next. The config trains as it stands.

    \b
    Example:
      gbdtlr init data/flights -o flights.toml
      gbdtlr init 'logs/*.csv' --label clicked
      gbdtlr init logs/impressions logs/clicks
    """
    from gbdtlr.guess.writing import write_config

    found = write_config(paths, output, label, event_time)
    session.result(found.as_dict(), found.text)


COMMANDS = (init,)
