"""What is behind a release: ``report``, ``diff`` and ``explain``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from gbdtlr import tables
from gbdtlr.cli.session import Session, release, with_store
from gbdtlr.errors import ConfigError


@click.command("report")
@click.option("-o", "--output", metavar="FILE", required=True, help="HTML file to write.")
@click.option("--last", type=click.IntRange(min=1), default=500, show_default=True, metavar="N", help="Newest N only.")
@with_store
def report(session: Session, output: str, last: int) -> None:
    """Write a page on how the releases are doing.

    One HTML file that needs no network: progressive NE, calibration and volume over time, the blend, what the newest
    head changed, in words, and what the margin depends on.

    \b
    Example:
      gbdtlr report -c configs/flights.toml -o report.html
    """
    from gbdtlr.report import store_page

    check_page(output)
    write_page(output, store_page(session.store(), last))
    session.result({"output": output}, lambda: f"wrote {output}")


@click.command("diff")
@click.argument("a", type=click.IntRange(min=1), metavar="[A]", required=False)
@click.argument("b", type=click.IntRange(min=1), metavar="[B]", required=False)
@click.option("--top", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="Tell N moves.")
@with_store
def diff(session: Session, a: int | None, b: int | None, top: int) -> None:
    """Show which weights moved most from release A to B.

    B is the live one and A the one before it if not given. Leaves are told by the rules that lead to them, on the
    samples of B's window: how many rows a move touches, and what it does to the mean probability.

    \b
    Example:
      gbdtlr diff -c configs/flights.toml
      gbdtlr diff -c configs/flights.toml 2 4 --top 5
    """
    from gbdtlr.inspect.diff import diff

    found = diff(session.store(), a, b, top)
    session.result(found, lambda: _diff_text(found, session))


@click.command("explain")
@click.argument("source", metavar="INPUT")
@click.option("--row", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="Row, from 0.")
@release("Release to explain, or candidate, if not the live one.")
@click.option("--top", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="Tell N terms.")
@click.option("--by-tree", is_flag=True, help="Tell every tree's leaf by its number, and every id's bucket.")
@with_store
def explain(session: Session, source: str, row: int, release: int | str | None, top: int, by_tree: bool) -> None:
    """Show the terms that make the margin of one row.

    \b
    Example:
      gbdtlr explain -c configs/flights.toml data/flights/2013-02-15.parquet --row 7
      gbdtlr explain -c configs/flights.toml data/flights/2013-02-15.parquet --by-tree --json
    """
    from gbdtlr.inspect.explain import explain, row_of
    from gbdtlr.scoring import Scorer
    from gbdtlr.scoring.users import Users

    loaded = Scorer.open(session.store_url, release).loaded
    values = row_of(loaded.model, source, row)
    terms = explain(Users.of(loaded).model_for(values), values, by_tree)
    found = {"release": loaded.entry.number, **terms}
    session.result(found, lambda: _codes_text(found, session) if by_tree else _terms_text(found, top, session))


def check_page(output: str) -> None:
    """Make sure, before the work, that a page can be written when it is done.

    Raises
    ------
    ConfigError
        It is a folder, or nothing can be written beside it.
    """
    if Path(output).is_dir():
        raise ConfigError(f"cannot write {output}: it is a folder; name a file in it")
    temporary = Path(f"{output}.tmp")
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror}; name a file that can be written") from None


def write_page(output: str, text: str) -> None:
    """Write a page whole, or not at all; raises as :func:`check_page`."""
    check_page(output)
    temporary = Path(f"{output}.tmp")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, output)


def _diff_text(found: dict[str, Any], session: Session) -> str:
    parts = [f"release {found['a']} to {found['b']}, on {tables.count(found['rows'], 'sample')}"]
    if found["trees_differ"]:
        parts[0] += "; the trees are new, so their leaves cannot be compared"
    if found["embeddings"] is not None:
        from gbdtlr.inspect.embeddings import embeddings_in_words

        parts.append(embeddings_in_words(found["embeddings"]))
    if found["probability_a"] is not None and found["probability_b"] is not None:
        parts.append(f"mean probability {found['probability_a']:.4f} before, {found['probability_b']:.4f} after")
    for kinds, header in ((("leaf", "bias"), "where"), (("id",), "id"), (("dense",), "dense column")):
        rows = [
            [
                *(tables.signed(m[key], 4) for key in ("before", "after")),
                f"{m['rows']:,}",
                tables.signed(m["effect"], 5),
                m["what"],
            ]
            for m in found["moves"]
            if m["kind"] in kinds
        ]
        if rows:
            parts.append(session.table(["before", "after", "rows", "effect", header], rows))
    return "\n\n".join(parts)


def _terms_text(found: dict[str, Any], top: int, session: Session) -> str:
    terms = found["terms"]
    rows = [[tables.signed(term["weight"], 4), term["what"]] for term in terms[:top]]
    if len(terms) > top:
        rest = sum(term["weight"] for term in terms[top:])
        rows.append([tables.signed(rest, 4), tables.count(len(terms) - top, "smaller term")])
    return f"{_outcome(found)}\n\n{session.table(['log-odds', 'because'], rows)}"


def _codes_text(found: dict[str, Any], session: Session) -> str:
    rows = []
    for term in found["terms"]:
        code = f"tree {term['tree']}" if "tree" in term else term.get("column", "")
        place = f"leaf {term['leaf']}" if "leaf" in term else f"bucket {term['bucket']}" if "bucket" in term else ""
        rows.append([code, place, tables.signed(term["weight"], 4), term["what"]])
    return f"{_outcome(found)}\n\n{session.table(['code', 'at', 'log-odds', 'because'], rows)}"


def _outcome(found: dict[str, Any]) -> str:
    margin, probability = tables.signed(found["margin"], 4), tables.cell(found["probability"])
    return f"release {found['release']}: margin {margin}, probability {probability}"


COMMANDS = (report, diff, explain)
