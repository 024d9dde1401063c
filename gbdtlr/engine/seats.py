"""Seats: processes beside the workers that have something to do together, each step of it at the same time.

A seat is a part as any other, so a worker that is lost leaves it to another; but what sat on it is gone then, and the
others wait for it in vain. Whoever has them work together is told so, ends them all, and begins anew. None of them is
waited for without an end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

from gbdtlr.compute.parts import Parts
from gbdtlr.compute.threads import n_threads
from gbdtlr.engine.process import Process, ProcessEnded

Seed = TypeVar("Seed")

WAIT_S = 1.0
"""How long a worker waits for what is to be said on its seats before it can be asked for something else."""

_reached_at = "127.0.0.1"


def set_address(address: str) -> None:
    """Note where other machines reach this one."""
    global _reached_at
    _reached_at = address


def address() -> str:
    """Where other machines reach this one; itself only, if nobody has said so."""
    return _reached_at


class SeatLost(Exception):
    """What sat on a seat is gone, or has failed for reasons that may pass; the message says which, and how."""


class TooLate(Exception):
    """Not all have answered in time."""


class Seat(Generic[Seed]):
    """A place for a process beside the worker that holds it.

    Attributes
    ----------
    seed : what it was made of, such as the names of what is to be read there
    """

    def __init__(self, number: int, seed: Seed) -> None:
        self._number, self.seed = number, seed
        self._process: Process | None = None

    def begin(self, module: str) -> None:
        """Have a module run here, in place of what did."""
        self.end()
        self._process = Process(module, n_threads())

    def tell(self, value: Any) -> None:
        """Tell it a value; raise SeatLost if it is gone."""
        try:
            self._there().tell(value)
        except ProcessEnded as error:
            raise SeatLost(self._lost(error)) from None

    def hear(self, wait_s: float) -> tuple[Any, ...]:
        """As of :class:`Process`; raise SeatLost if it is gone."""
        try:
            return self._there().hear(wait_s)
        except ProcessEnded as error:
            raise SeatLost(self._lost(error)) from None

    def end(self) -> None:
        """End what runs here."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def _there(self) -> Process:
        if self._process is None:
            raise SeatLost(f"the worker of rank {self._number} was lost")
        return self._process

    def _lost(self, error: ProcessEnded) -> str:
        return f"the process of rank {self._number} on {address()} is gone: {error}"


def seats(seeds: Sequence[tuple[int, Seed]]) -> Iterator[Seat[Seed]]:
    """A seat for each seed, which comes with its number; nothing runs there yet."""
    for number, seed in seeds:
        yield Seat(number, seed)


class Together(Generic[Seed]):
    """All seats, seen from whoever has them work: the order of what they say is that of their numbers."""

    def __init__(self, parts: Parts[Seat[Seed]]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return len(self._parts)

    def do(self, function: Any, *broadcast: Any, each: Sequence[Any] | None = None) -> None:
        """``function(seat, ...)`` where each seat is; what it returns stays there."""
        self._parts.map(function, *broadcast, each=each)

    def tell(self, values: Sequence[Any]) -> None:
        """Tell each a value of its own; raise SeatLost if one is gone."""
        self._parts.map(_tell, each=values)

    def hear(self, limit_s: float) -> list[Any]:
        """What each says next.

        Raises
        ------
        SeatLost
            One is gone.
        TooLate
            One has said nothing for so long.
        """
        said: list[tuple[Any, ...]] = [()] * len(self._parts)
        deadline = time.monotonic() + limit_s
        while True:
            # Those that have spoken are asked again whether they are there, and for nothing else.
            for i, more in enumerate(self._parts.map(_hear, WAIT_S, each=[bool(each) for each in said])):
                said[i] = said[i] or more
            if all(said):
                return [value for (value,) in said]
            if time.monotonic() > deadline:
                silent = [str(i) for i, each in enumerate(said) if not each]
                raise TooLate(f"rank {', '.join(silent)} said nothing for {limit_s:g} s")

    def end(self) -> None:
        """End all of them."""
        self._parts.map(_end)


def _tell(seat: Seat[Any], value: Any) -> None:
    seat.tell(value)


def _hear(seat: Seat[Any], has_spoken: bool, wait_s: float) -> tuple[Any, ...]:
    return () if has_spoken else seat.hear(wait_s)


def _end(seat: Seat[Any]) -> None:
    seat.end()
