"""What a method is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from gbdtlr.compute.parts import Chain, Parts
from gbdtlr.head import Codes, Head
from gbdtlr.jobs.then import Served
from gbdtlr.release import Fits, Release
from gbdtlr.trees import FrozenTrees


@dataclass(frozen=True)
class Fitted:
    """A head ready to be written.

    Attributes
    ----------
    files : what the next update starts from
    metrics : what the method says about itself
    unlearned : the head, had it learned nothing; None where that is the bare trees
    """

    head: Head
    files: dict[str, bytes]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    unlearned: Head | None = None


Continue = Callable[[Parts[Codes], datetime, Sequence[Served], Parts[Codes]], Fitted]
"""Learns samples the head before has not, up to a moment, of which is known what served them; and on top of all, for
what is published alone, weighed rows that are not final."""
NOTHING: Parts[Codes] = Parts()


@dataclass(frozen=True)
class Lesson:
    """What a head is learned from in full.

    Attributes
    ----------
    rows : the samples of the window, in pieces
    trees : that have coded them
    as_of : the moment to learn for
    base : the live release, or None before the first
    served : samples whose labels ``base``'s head had not learned, and what was live when they happened
    unfinal : weighed rows that are not final, as extra rows of what is published
    past : what is known of the candidates, where ``base`` has nothing to go on from
    """

    rows: Parts[Codes]
    trees: FrozenTrees
    as_of: datetime
    base: Release | None = None
    served: Sequence[Served] = ()
    unfinal: Parts[Codes] = NOTHING
    past: Fits | None = None

    @property
    def all(self) -> Parts[Codes]:
        """The samples, and after them the weighed rows."""
        return Chain(self.rows, self.unfinal) if len(self.unfinal) else self.rows


class Method(Protocol):
    """How a head learns."""

    def full(self, lesson: Lesson) -> Fitted:
        """Head learned from all samples of the window; without samples, exactly the trees."""

    def on(self, base: Release) -> Continue | None:
        """What learns new samples on top of the live head; None where only a full fit will do.

        It takes codes of the live head's own wide columns, and keeps their hash: a full fit moves on to the newest.

        Raises
        ------
        DamagedError
            What the head before left for this cannot be read.
        """
