"""``score``: a file's rows with their probabilities."""

from __future__ import annotations

import click

from gbdtlr import tables
from gbdtlr.cli.session import Session, engine, release, with_store


@click.command("score")
@click.argument("source", metavar="INPUT")
@click.option(
    "-o", "--output", metavar="OUTPUT", required=True, help="File to write: .parquet, .csv, .jsonl, or .gz/.zst."
)
@release("Release to score with, or candidate, if not the live one.")
@engine
@with_store
def score(session: Session, source: str, output: str, release: int | str | None, engine: str | None) -> None:
    """Add a probability to every row of INPUT.

    OUTPUT has all columns of INPUT, the probability, and the release it came from. Files may be
    larger than memory. Nothing but a complete OUTPUT is ever seen under its name.

    \b
    Example:
      gbdtlr score -c configs/flights.toml data/flights/2013-02-15.parquet -o scores/2013-02-15.parquet
      gbdtlr score -c configs/flights.toml data/flights/2013-02-15.parquet -o shadow.parquet --release candidate
    """
    from gbdtlr.scoring import Scorer, score_file

    scorer = Scorer.open(session.store_url, release)
    with session.engine(engine) as working:
        n_rows = score_file(scorer, source, output, engine=working)
    values = {"rows": n_rows, "release": scorer.release, "output": output}
    session.result(values, lambda: f"scored {tables.count(n_rows, 'row')} with release {scorer.release} into {output}")


COMMANDS = (score,)
