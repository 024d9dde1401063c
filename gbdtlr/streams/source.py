"""The source of a stream: what hands out lines as they come, and can say up to where it has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gbdtlr.samples import Joined
from gbdtlr.streams.places import Places

Line = bytes | str


@dataclass(frozen=True)
class Piece:
    """What has come since the last piece; maybe nothing, so that time is looked at while nothing comes.

    Attributes
    ----------
    lines : JSON objects, or what should be; an empty one counts as blank
    labels : 0 or 1 for each line, (n,), where they do not say so themselves
    factors : what the weight of each line is multiplied by, (n,), beside ``labels``
    refused : why each message that came beside the lines is none
    """

    lines: Sequence[Line] = ()
    labels: Sequence[int] | None = None
    factors: Sequence[float] | None = None
    refused: Sequence[str] = ()


class Source(ABC):
    """Where lines come from. Whoever asks for the next piece has learned all before it.

    Attributes
    ----------
    joins : whether its labels come from outcomes
    joined : what it came across in joining since it began; None where it joins nothing
    """

    joins = False
    joined: Joined | None = None

    @abstractmethod
    def pieces(self) -> Iterator[Piece]:
        """The lines as they come; ends with the source, or when it is stopped.

        Raises
        ------
        StreamError
            It cannot be read any more; what was handed out stands.
        """

    @abstractmethod
    def begin(self, places: Places | None, as_of: datetime) -> None:
        """Go on from the places that a head was published with.

        Parameters
        ----------
        places : those of the live head, None where it has none
        as_of : the moment up to which it knows labels

        Raises
        ------
        StreamError
            What follows the places is not there any more.
        """

    @abstractmethod
    def places(self) -> Places | None:
        """Up to where all is handed out, to be published with what was learned of it; None where nobody can go back."""

    @abstractmethod
    def began_at(self, places: Places | None) -> bool:
        """Whether a head with these places goes on where this source began, or was published last."""

    @abstractmethod
    def published(self) -> None:
        """Note that a head with :meth:`places` is live."""

    @abstractmethod
    def metrics(self) -> Mapping[str, Any]:
        """What it says of itself, for results and releases."""


class Pipe(Source):
    """Lines that come by a pipe: what is read is gone from it."""

    def __init__(self, pieces: Iterable[Sequence[Line]]) -> None:
        self._pieces = pieces

    def pieces(self) -> Iterator[Piece]:
        """The lines as they come."""
        return map(Piece, self._pieces)

    def begin(self, places: Places | None, as_of: datetime) -> None:
        """Nothing: a pipe goes on where it is."""

    def places(self) -> None:
        """None: nobody can go back in a pipe."""

    def began_at(self, places: Places | None) -> bool:  # noqa: ARG002 - wherever that is
        """Always."""
        return True

    def published(self) -> None:
        """Nothing to note."""

    def metrics(self) -> Mapping[str, Any]:
        """Nothing but its lines, which are counted where they are learned."""
        return {}
