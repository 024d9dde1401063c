"""Two-speed training: LightGBM trees frozen daily, a logistic regression refitted on their leaves.

The names a user imports; each loads what it needs when it is first used::

    import gbdtlr

    config = gbdtlr.Config.load("configs/flights.toml")
    gbdtlr.train_trees(config)
    gbdtlr.update_lr(config)
    scorer = gbdtlr.Scorer.open(config.store)
    probability = scorer.score(frame)
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know the name; importing typing would take longer than all the rest here
if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from datetime import datetime
    from typing import Any

    from gbdtlr.config import Config
    from gbdtlr.errors import GbdtlrError
    from gbdtlr.jobs.result import JobResult, OnEvent
    from gbdtlr.scoring import Scorer, score_file

__version__ = "0.1.0"
__all__ = [
    "Config",
    "GbdtlrError",
    "Scorer",
    "__version__",
    "score_file",
    "train_embeddings",
    "train_trees",
    "update_lr",
]

_HOMES = {
    "Config": "gbdtlr.config",
    "GbdtlrError": "gbdtlr.errors",
    "Scorer": "gbdtlr.scoring",
    "score_file": "gbdtlr.scoring",
}


def train_trees(
    config: Config | str | os.PathLike[str],
    as_of: datetime | str | None = None,
    *,
    force: bool = False,
    candidate: bool = False,
    reason: str = "",
    on_event: OnEvent | None = None,
) -> JobResult:
    """Publish new trees with a head that knows at least as much as the live one; the slow job.

    Parameters
    ----------
    config : the configuration, or the TOML file it is in
    as_of : the moment the job pretends is now, a datetime or ISO 8601, in the config's time zone where it has none;
        the clock's if not given
    force : publish although a guard refuses, and say so in the release
    candidate : publish to be tried in the shadow, and not to go live
    reason : why, for the log
    on_event : ``on_event(name, **fields)`` whenever something was done

    Returns
    -------
    result : its ``status`` is ``published``, ``superseded`` or ``refused``

    Raises
    ------
    GbdtlrError
        Config, samples or store cannot be used; nothing was published.
    """
    from gbdtlr.jobs.train_trees import train_trees

    return _run(train_trees, config, as_of, reason, force=force, on_event=on_event, candidate=candidate)


def train_embeddings(
    config: Config | str | os.PathLike[str],
    as_of: datetime | str | None = None,
    *,
    force: bool = False,
    candidate: bool = False,
    reason: str = "",
    on_event: OnEvent | None = None,
) -> JobResult:
    """Publish vectors of items, rotated onto the live ones, with the live trees and head; the third job.

    Parameters are those of :func:`train_trees`.

    Returns
    -------
    result : its ``status`` is ``published``, ``superseded`` or ``refused``

    Raises
    ------
    NoReleaseError
        There are no trees yet.
    GbdtlrError
        Config, samples, vectors or store cannot be used; nothing was published.
    """
    from gbdtlr.jobs.train_embeddings import train_embeddings

    return _run(train_embeddings, config, as_of, reason, force=force, on_event=on_event, candidate=candidate)


def update_lr(
    config: Config | str | os.PathLike[str],
    as_of: datetime | str | None = None,
    *,
    force: bool = False,
    candidate: bool = False,
    reason: str = "",
    on_event: OnEvent | None = None,
) -> JobResult:
    """Publish a head that knows every label known by ``as_of``, on the live trees; the fast job.

    Parameters are those of :func:`train_trees`.

    Returns
    -------
    result : its ``status`` is ``published``, ``unchanged``, ``superseded`` or ``refused``

    Raises
    ------
    NoReleaseError
        There are no trees yet.
    GbdtlrError
        Config, samples or store cannot be used; nothing was published.
    """
    from gbdtlr.jobs.update_lr import update_lr

    return _run(update_lr, config, as_of, reason, force=force, on_event=on_event, candidate=candidate)


def _run(
    job: Callable[..., JobResult],
    config: Config | str | os.PathLike[str],
    as_of: datetime | str | None,
    reason: str,
    **options: Any,
) -> JobResult:
    """A job with what its caller has said, as it wants it."""
    from gbdtlr.jobs.by import By

    config = _config(config)
    return job(config, _moment(as_of, config), by=By.here(reason), **options)


def _config(config: Config | str | os.PathLike[str]) -> Config:
    from gbdtlr.config import Config

    return config if isinstance(config, Config) else Config.load(str(config))


def _moment(as_of: datetime | str | None, config: Config) -> datetime:
    """The moment in UTC; where none is given, this is the door at which the clock is read."""
    from datetime import UTC, datetime

    from gbdtlr.errors import ConfigError
    from gbdtlr.times import check_moment, in_utc, parse_time

    if as_of is None:
        return datetime.now(UTC)
    try:
        if isinstance(as_of, str):
            return check_moment(parse_time(as_of, config.samples.timezone))
        return check_moment(in_utc(as_of, config.samples.timezone))
    except OverflowError:
        raise ConfigError(f"as_of: {as_of} is outside of the years 1 to 9999 in UTC") from None
    except ConfigError as error:
        raise ConfigError(f"as_of: {error}") from None


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
