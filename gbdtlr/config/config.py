"""Everything a job needs, in one file."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import typing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from gbdtlr.config.checks import at_least
from gbdtlr.config.embeddings import EmbeddingsConfig
from gbdtlr.config.guard import GuardConfig
from gbdtlr.config.head import HeadConfig
from gbdtlr.config.notify import NotifyConfig
from gbdtlr.config.outcomes import AT_ONCE, UNFINAL, OutcomesConfig
from gbdtlr.config.quotes import quotes_missing
from gbdtlr.config.samples import SamplesConfig
from gbdtlr.config.serve import ServeConfig
from gbdtlr.config.tables import build, plain
from gbdtlr.config.trees import TreesConfig
from gbdtlr.config.users import USER_SCORE, UsersConfig
from gbdtlr.errors import ConfigError
from gbdtlr.times import format_duration
from gbdtlr.values.crosses import parts_of

_ENGINE = re.compile(r"local|ray|ray://[^/\s:]+:\d+")


@dataclass(frozen=True)
class Config:
    """Everything a job needs; relative paths start at the current folder.

    ``engine`` is where samples are read, coded and learned: ``local``, ``ray`` or ``ray://host:port``, of which
    ``workers`` says how many processes there are at most, and ``threads`` how many threads each has.
    """

    samples: SamplesConfig
    outcomes: OutcomesConfig | None = None
    store: str = "store"
    engine: str = "local"
    threads: int | None = None
    workers: int | None = None
    trees: TreesConfig = field(default_factory=TreesConfig)
    embeddings: EmbeddingsConfig = field(default_factory=EmbeddingsConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    users: UsersConfig = field(default_factory=UsersConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)
    notify: NotifyConfig = field(default_factory=NotifyConfig)

    def __post_init__(self) -> None:
        for key, value in (("threads", self.threads), ("workers", self.workers)):
            if value is not None:
                at_least(key, value, 1)
        check_engine(self.engine)
        if self.workers is not None and self.engine == "local":
            raise ConfigError('workers has no meaning for engine = "local", which has threads; leave it out')
        if self.outcomes is not None and self.samples.key is None:
            raise ConfigError("[outcomes] needs [samples] key: the column that an impression and its outcome share")
        if self.outcomes is None and self.samples.key is not None:
            raise ConfigError("[samples] key needs a table [outcomes] with path, key, time and window")
        # Whoever reads samples needs both.
        object.__setattr__(self, "samples", dataclasses.replace(self.samples, outcomes=self.outcomes))
        for key, wait in (("[samples] label_window", self.samples.label_window), ("[outcomes] window", self._wait)):
            for section in ("trees", "head"):
                if wait is not None and wait >= getattr(self, section).window:
                    raise ConfigError(
                        f"{key} is {format_duration(wait)}, as long as [{section}] window or longer: no row in that "
                        "would be final; give it more time"
                    )
        if self.users.replay:
            self._check_replay()
        if strangers := sorted({*self.head.dense_anchor} - {*self.linear}):
            raise ConfigError(
                f"[head] dense_anchor names {', '.join(strangers)}, which [samples] dense does not list; "
                "list it there, or leave it out"
            )
        self._check_content()
        crosses = {name: len(parts_of(name)) > 1 for name in self.samples.wide}
        for key, ridges in self.head.fixed_ridges.items():
            for name in filter(None, ridges):
                if crosses.get(name) is not (key == "cross_l2"):
                    what = "cross" if key == "cross_l2" else "column"
                    raise ConfigError(f"[head] {key} names {name!r}, which is no {what} that [samples] wide lists")

    def _check_content(self) -> None:
        """Nothing, if what an item is known by says something of items."""
        for key, column in self.samples.of_rows.items():
            if column in self.embeddings.content:
                raise ConfigError(
                    f"[embeddings] content lists {column!r}, which is [samples] {key}; list columns that say what an "
                    "item is, such as its brand"
                )

    def _check_replay(self) -> None:
        """Nothing, if users' scores can be worked out of these samples."""
        samples = self.samples
        if missing := [key for key in ("user", "item") if getattr(samples, key) is None]:
            raise ConfigError(
                f"[users] replay needs [samples] {' and '.join(missing)}: the column that says "
                f"{'who was shown it' if missing == ['user'] else 'which item was shown'}"
            )
        if samples.user_score is not None:
            raise ConfigError(
                "[users] replay works users' scores out where none were logged, and [samples] user_score names those "
                "that were, which are better; remove replay"
            )
        if samples.negative_keep_rate < 1:
            raise ConfigError(
                "[users] replay needs every event, and [samples] negative_keep_rate leaves some out; set it to 1, or "
                "log the score and name it as [samples] user_score"
            )
        if USER_SCORE in samples.features:
            raise ConfigError(
                f"[users] replay gives the column {USER_SCORE}, which [samples] lists as a feature; rename it, or name "
                "it as [samples] user_score if it is the score as it was served"
            )

    @property
    def user_score(self) -> str | None:
        """The dense column of users' scores, logged or worked out; None where there is none."""
        return USER_SCORE if self.users.replay else self.samples.user_score

    @property
    def worked_out(self) -> tuple[str, ...]:
        """Dense columns that no file has: users' scores, where they are worked out."""
        return (USER_SCORE,) if self.users.replay else ()

    @property
    def linear(self) -> tuple[str, ...]:
        """Columns that go linearly into the head."""
        return (*self.samples.linear, *self.worked_out)

    @classmethod
    def load(cls, path: str | Path) -> Config:
        """Configuration in the TOML file ``path``.

        Raises
        ------
        ConfigError
            No such file, not TOML, or a key that is unknown, of the wrong type or impossible.
        """
        text = ""
        try:
            text = Path(path).read_bytes().decode("utf-8-sig")  # some editors begin a file with a mark
            table = tomllib.loads(text)
        except OSError as error:
            hint = "; gbdtlr init writes one" if isinstance(error, FileNotFoundError) else ""
            raise ConfigError(f"cannot read the config {path}: {error.strerror}{hint}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid TOML: {error}{quotes_missing(text, str(error))}") from None
        try:
            return cls.from_dict(table)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> Config:
        """Configuration from the nested tables of a TOML file."""
        config = typing.cast(Config, build(cls, table, ""))
        if config.samples.of_unfinal == AT_ONCE:
            raise ConfigError(f"unfinal is {AT_ONCE!r}; choose one of {', '.join(UNFINAL)}")
        return config

    def with_unfinal(self, unfinal: str) -> Config:
        """Copy in which something else becomes of rows that are not final."""
        if self.outcomes is not None:
            return self.replace(outcomes=dataclasses.replace(self.outcomes, unfinal=unfinal))
        return self.replace(samples=dataclasses.replace(self.samples, unfinal=unfinal))

    @property
    def _wait(self) -> timedelta | None:
        return None if self.outcomes is None else self.outcomes.window

    def as_dict(self) -> dict[str, Any]:
        """The same configuration, defaults included, in JSON's types; :meth:`from_dict` reads it back.

        Versions record it, so ``[serve]``, ``[notify]`` and the engine are left out: how a service listens, who is told
        of a job, and who worked, makes no other release. So is all that concerns dense columns where there are none,
        embeddings where no column says what an item is, and ``[users]`` that says nothing: versions before there were
        any had the same settings.
        """
        table = typing.cast(dict[str, Any], plain(self))
        for key in ("serve", "notify", "engine", "workers"):
            table.pop(key, None)
        if self.users == UsersConfig():
            del table["users"]
        if self.trees.learn_on == TreesConfig().learn_on:
            del table["trees"]["learn_on"]
        if not self.linear:
            del table["samples"]["dense"], table["head"]["dense_l2"], table["head"]["dense_anchor"]
            del table["guard"]["drift"], table["guard"]["leak"]
        if self.samples.item is None:
            del table["embeddings"], table["guard"]["vectors"], table["guard"]["cosine"]
        return table

    def replace(self, **changes: Any) -> Config:
        """Copy with some top-level fields changed."""
        return dataclasses.replace(self, **changes)


def check_engine(name: str) -> str:
    """The name of an engine, as it is; raise ConfigError if there is none of that name."""
    if not _ENGINE.fullmatch(name):
        raise ConfigError(f'engine is {name!r}; choose "local", "ray" or "ray://HOST:PORT"')
    return name
