"""What is done to live embeddings by hand: ``embeddings drop``."""

from __future__ import annotations

import click

from gbdtlr.cli.jobs import finish
from gbdtlr.cli.session import Session, as_of, by, reason, with_store
from gbdtlr.errors import ConfigError


@click.group("embeddings", no_args_is_help=False)
def embeddings() -> None:
    """Change the live embeddings by hand: delete items.

    \b
    Example:
      gbdtlr embeddings drop -c configs/shop.toml --items withdrawn.txt
    """


@embeddings.command("drop")
@click.option("--items", metavar="FILE", required=True, help="Text file of items as the samples have them, one a line.")
@reason
@as_of("Time of the deletion")
@with_store
def drop(session: Session, items: str, reason: str, as_of: str | None) -> int:
    """Publish the live embeddings without some items.

    The versions before keep them until gbdtlr prune removes these; the samples are not touched.

    \b
    Example:
      gbdtlr embeddings drop -c configs/shop.toml --items withdrawn.txt
    """
    from gbdtlr.jobs.drop_items import drop_items

    return finish(session, drop_items(session.store(), _lines(items), session.now(as_of), by(reason)))


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            found = [line for text in file if (line := text.strip())]
    except OSError as error:
        raise ConfigError(f"cannot read the items {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text in UTF-8") from None
    if not found:
        raise ConfigError(f"{path} has no items; write one a line")
    return found


COMMANDS = (embeddings,)
