"""Roles: what the columns of samples are named for, and which two of these no column can be at once.

What is a feature, a :class:`Roles` says by the key that lists it, and all else by the key that names it. A column may
be several features (a number and an id, a category and an id), the user or the item and a feature, and the time of an
event may be that of its label.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations

from gbdtlr.errors import ConfigError

_ABOUT = ("label", "event_time", "label_time", "label_deadline", "weight")
_MAY_BE_ONE = {
    ("event_time", "label_time"),  # of labels that are known as their row happens
    ("event_time", "label_deadline"),
    ("label_time", "label_deadline"),
}


@dataclass(frozen=True)
class Roles:
    """Columns by the keys of ``[samples]``.

    Attributes
    ----------
    named : the column of each key that names one, if it does
    listed : the columns of each key that lists features, of crosses those that are crossed
    """

    named: Mapping[str, str | None]
    listed: Mapping[str, Collection[str]]

    def check(self) -> None:
        """Nothing, if no column is named for two things that cannot both be meant.

        Raises
        ------
        ConfigError
            One is; the message names it, both keys, and what to change.
        """
        self._check_about()
        self._check_key()
        self._check_ids()
        self._check_score()
        self._check_features()

    def _listing(self, column: str) -> str:
        """The keys that list the column, in words; empty if none does."""
        return " and ".join(key for key, columns in self.listed.items() if column in columns)

    def _naming(self, column: str) -> str:
        """The keys of label, times and weight that name the column, in words; empty if none does."""
        return " and ".join(key for key in _ABOUT if self.named[key] == column)

    def _check_about(self) -> None:
        """Label, times and weight are each a column of their own."""
        for one, other in combinations(_ABOUT, 2):
            column = self.named[one]
            if column is not None and column == self.named[other] and (one, other) not in _MAY_BE_ONE:
                raise ConfigError(f"[samples] {one} and {other} are both {column!r}; name the column of each")

    def _check_key(self) -> None:
        """A key is in one impression alone: nothing is learned of it, and no one has many."""
        key = self.named["key"]
        if key is None:
            return
        if naming := self._naming(key):
            raise ConfigError(f"[samples] key = {key!r} is {naming} too; name the column of the impression's id")
        if listing := self._listing(key):
            raise ConfigError(
                f"[samples] key = {key!r} is listed under {listing} too, though no other impression has that id, so "
                "that nothing can be learned from it; remove it there"
            )
        for other in ("user", "item", "user_score"):
            if key == self.named[other]:
                raise ConfigError(
                    f"[samples] key and {other} are both {key!r}, and a key is the id of one impression; name the "
                    "column of each"
                )

    def _check_ids(self) -> None:
        """User and item are two columns of ids."""
        user, item = self.named["user"], self.named["item"]
        if user is not None and user == item:
            raise ConfigError(f"[samples] user and item are both {user}; name the column of each")
        for key, column in (("user", user), ("item", item)):
            if column is None:
                continue
            if naming := self._naming(column):
                raise ConfigError(f"[samples] {key} = {column!r} is {naming} too; name a column of ids")
            if column in self.listed["dense"] or column == self.named["user_score"]:
                where = "under dense" if column in self.listed["dense"] else "as user_score"
                raise ConfigError(
                    f"[samples] {key} = {column!r} is an id, and a number {where}; list ids under wide or categorical"
                )

    def _check_score(self) -> None:
        """The user's score enters the head as it is, and as nothing else."""
        score = self.named["user_score"]
        if score is None:
            return
        if listing := self._listing(score):
            raise ConfigError(
                f"[samples] user_score = {score!r} is a feature too, though it enters the head as it is; "
                f"remove it from {listing}"
            )
        if naming := self._naming(score):
            raise ConfigError(
                f"[samples] user_score = {score!r} is {naming} too; name the column of the score as it was served"
            )

    def _check_features(self) -> None:
        """No feature says what is predicted, and no number that goes into the head is a category or an id."""
        texts = {*self.listed["categorical"], *self.listed["wide"]}
        for name in self.listed["dense"]:
            if name in texts:
                other = " and ".join(key for key in ("categorical", "wide") if name in self.listed[key])
                raise ConfigError(
                    f"[samples] {name} is a number under dense, and a category or an id under {other}; "
                    f"remove it from dense, or from {other}"
                )
        for name in dict.fromkeys(name for columns in self.listed.values() for name in columns):
            if naming := self._naming(name):
                raise ConfigError(
                    f"[samples] {naming} = {name!r} cannot be a feature too; remove it from {self._listing(name)}"
                )
