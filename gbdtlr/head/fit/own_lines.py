"""Own lines: what parts found for the wide parameters that occur in them, on their way to one line for each parameter.

A part has a line for each parameter of each of its tiles, which are fewer than all parameters, and more than it needs
to have if they travel. So the lines of neighbours are kept as they came until a bunch of parts is together, and are
then added, in the parts' order, to lines of all parameters, which add up among each other::

    parts        0 ... 15     16 ... 31     32 ...
                  \\ | /         \\ | /
    all lines      sum    +     sum     +   ...

Bunches are whole subtrees of the fixed tree (see ``compute.sums``), so that whoever adds up which of them gives the
same bytes; and those of one machine are added up there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute import threads
from gbdtlr.head.fit.groups import Groups
from gbdtlr.head.fit.lines import lines as new_lines
from gbdtlr.head.fit.tile_kernels import add_own
from gbdtlr.head.fit.tiles import SPANS, Tiles

BUNCH = 16
"""Parts of a bunch, a power of two: all lines are written and read once for each of them."""

Floats = NDArray[np.float32]
Found = tuple[NDArray[np.int32], NDArray[np.int64], Floats]
"""The own wide parameters of a part's tiles, where each tile's begin, and their lines"""


@dataclass
class OwnLines:
    """Lines that add up, by ``+``, in the order of the parts they are of.

    Attributes
    ----------
    n : how many wide parameters there are
    width : of a line
    parts : what each found, where there are no more of them than a bunch has
    whole : float32 (n, width), of all parameters, where there are more, or they have been added up
    pool : where memory comes from and is given back to, if there is such a place
    """

    n: int
    width: int
    parts: list[Found] = field(default_factory=list)
    whole: Floats | None = None
    pool: Groups | None = None

    @classmethod
    def of(cls, tiles: Tiles, lines: Floats, n: int, pool: Groups | None = None) -> OwnLines:
        """What one part found, (n_own, width)."""
        return cls(n, lines.shape[1], [(tiles.own, tiles.first, lines)] if n else [], None, pool)

    def __add__(self, other: OwnLines) -> OwnLines:
        """The sum; neither of the two can be used afterwards."""
        if self.whole is None and other.whole is None and len(self.parts) + len(other.parts) <= BUNCH:
            return OwnLines(self.n, self.width, self.parts + other.parts, None, self.pool)
        total, more = self._summed(), other._summed()
        total += more
        if other.pool is not None:
            other.pool.give_back(more)
        return OwnLines(self.n, self.width, [], total, self.pool)

    def __reduce__(self) -> tuple[Any, ...]:
        if len(self.parts) == BUNCH:
            return OwnLines, (self.n, self.width, [], self._summed())
        return OwnLines, (self.n, self.width, self.parts, self.whole)

    def into(self, out: Floats) -> None:
        """Write one line for each parameter, (n, width); afterwards there are no lines here."""
        if self.whole is None:
            self._sum_into(out)
            return
        out[:] = self.whole
        if self.pool is not None:
            self.pool.give_back(self.whole)
        self.whole = None

    def _summed(self) -> Floats:
        if self.whole is None:
            total = (new_lines if self.pool is None else self.pool.lines)(self.n, self.width)
            self._sum_into(total)
            self.whole = total
        return self.whole

    def _sum_into(self, out: Floats) -> None:
        bounds = [self.n * s // SPANS for s in range(SPANS + 1)]

        def work(span: int) -> None:
            low, high = bounds[span : span + 2]
            out[low:high] = 0
            for own, first, lines in self.parts:
                add_own(own, first, lines, low, high, tuple(range(self.width)), out)

        threads.run(SPANS, work)
        if self.pool is not None:
            self.pool.give_back(*(lines for _, _, lines in self.parts))
        self.parts = []
