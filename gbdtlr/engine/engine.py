"""The engine: where the parts of a job are, and who works on them; the one behind it here is this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from gbdtlr.compute.parts import Parts

Seed = TypeVar("Seed")
Part = TypeVar("Part")
Item = TypeVar("Item")

OnEvent = Callable[..., None]
"""``on_event(name, **fields)``: something happened that a log tells"""


class Engine(Protocol):
    """What holds the parts of a job for as long as it lasts.

    Attributes
    ----------
    n_workers : how many processes beside this one hold parts; those that were lost count too, as others stand in
    """

    @property
    def n_workers(self) -> int: ...

    def parts(self, seeds: Sequence[Seed], function: Callable[..., Iterator[Part]], *broadcast: Any) -> Parts[Part]:
        """Parts made of seeds where they are to stay.

        What must travel are the seeds, such as the names of files; what is made of them is read there.

        Parameters
        ----------
        seeds : one of each part
        function : called with several seeds in a row and the broadcast values; gives their parts, one by one and in
            order, so that it may begin with the next before it is asked. The same seeds must give the same parts: they
            are made anew where a worker was lost
        """

    def stream(
        self, seeds: Sequence[Seed], function: Callable[..., Iterator[Item]], *broadcast: Any
    ) -> Iterator[Iterator[Item]]:
        """For each seed, in order, what ``function(seed, *broadcast)`` gives, one item after the other.

        Several seeds are worked on side by side, each a few items ahead. Those of one must be used up before the next.
        The same seed must give the same items: it is begun again where a worker was lost.
        """

    def close(self) -> None:
        """Let go of all parts and of whoever holds them."""


class Local:
    """Parts in this process, whose threads work on them."""

    n_workers = 0

    def parts(self, seeds: Sequence[Seed], function: Callable[..., Iterator[Part]], *broadcast: Any) -> Parts[Part]:
        """As of :class:`Engine`."""
        return Parts(list(function(seeds, *broadcast)))

    def stream(
        self, seeds: Sequence[Seed], function: Callable[..., Iterator[Item]], *broadcast: Any
    ) -> Iterator[Iterator[Item]]:
        """As of :class:`Engine`."""
        return (function(seed, *broadcast) for seed in seeds)

    def close(self) -> None:
        """Nothing."""


LOCAL = Local()
