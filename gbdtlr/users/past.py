"""Past: the scores that users had, worked out of all that happened since, event by event in order of time.

Each user begins new. A label teaches when it became known, not when its row happened; and an event is scored by what
had been taught before that moment: rows of one instant know nothing of each other. So the score of a row is a function
of its user, item and time and of the events before, whatever order these are given in.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from gbdtlr.users import kernels
from gbdtlr.users.packed import quantised
from gbdtlr.users.rule import MEAN, Rule

I64 = NDArray[np.int64]
NEVER = np.iinfo(np.int64).max
"""When an event teaches whose label is not known."""
NOW = timedelta()


@dataclass(frozen=True)
class Events:
    """What was shown to whom, and what came of it; in any order.

    Attributes
    ----------
    user : uint64 (n,), the users' keys
    vector : int64 (n,), of the item, as a row of the vectors; below zero where it has none
    event_us, taught_us : int64 (n,), when each happened, and when its label became known: ``NEVER`` teaches nothing
    label : int8 (n,)
    margin : float64 (n,), log-odds without the user's score
    salt : uint64 (n,), a hash of all that is in a row: of events that teach at one instant, the lower comes first
    """

    user: NDArray[np.uint64]
    vector: I64
    event_us: I64
    taught_us: I64
    label: NDArray[np.int8]
    margin: NDArray[np.float64]
    salt: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.user)

    def scores(self, vectors: NDArray[np.floating], rule: Rule, age: timedelta = NOW) -> NDArray[np.float64]:
        """The score each had, float64 (n,); zero of an item without a vector.

        Parameters
        ----------
        vectors : floats (m, d)
        rule : how users learn
        age : of the states at each event, which know nothing newer; zero for states that know all
        """
        age_us = age // timedelta(microseconds=1)
        out = np.empty(len(self))
        kernels.play(
            np.lexsort((self.event_us, self.user)),
            np.lexsort((self.salt, self.event_us, self.taught_us, self.user)),
            self.user,
            self.vector,
            self.event_us - age_us,
            self.taught_us,
            self.label,
            self.margin,
            *quantised(vectors),
            rule.method == MEAN,
            rule.alpha,
            rule.l2,
            out,
        )
        return out
