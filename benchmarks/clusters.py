"""Clusters that are not here: what was measured on this machine, added up for many machines and many rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.harness import Bench

MACHINES, PROCESSORS, BYTES_A_SECOND = (1, 16, 64), 8, 1.25e9
MANY = 1_000_000_000
"""Rows"""
ASSUMED = f"""assumed of the simulated clusters:
- each machine has {PROCESSORS} processors; each is as fast as one here, beside others as alone; one worker a machine
- rows are dealt out evenly; the kernels of reading and of a pass take as long for each row as here
- a fit takes as many passes as here; what the job does between them alone takes as long as here, times how many more
  rows stand for the curvature
- a round trip takes what a call that does nothing takes here to all workers, and as much again for each doubling
- the job's machine sends and receives {BYTES_A_SECOND / 1e9:g} GB a second: what each machine is sent, and what each
  gives, one after the other
- as many ids as here, where there are ids"""


@dataclass(frozen=True)
class Measured:
    """What is added up.

    Attributes
    ----------
    read_s, pass_s : seconds of one processor for a row, to read and code it, and to pass over it
    own_s : of the job itself for a fit
    passes : of a fit
    sent, received : bytes of a pass, to one worker and from it
    trip_s : round trip of nothing to all workers
    row_bytes : of a row in memory
    """

    read_s: float
    pass_s: float
    own_s: float
    passes: int
    sent: float
    received: float
    trip_s: float
    row_bytes: float


def simulate(bench: Bench, what: str, each: Measured) -> None:
    """What a job of so many rows would take, by what was measured."""
    for machines in MACHINES:
        processors = machines * PROCESSORS
        reading = MANY * each.read_s / processors
        working = each.passes * MANY * each.pass_s / processors
        trips = each.passes * each.trip_s * (1 + math.log2(machines))
        moving = each.passes * machines * (each.sent + each.received) / BYTES_A_SECOND
        own = each.own_s / PROCESSORS
        bench.add(
            f"simulated: {MANY} rows{what}",
            f"{machines} machines of {PROCESSORS}",
            [],
            None,
            {
                "read s": round(reading, 1),
                "fit s": round(working + own + trips + moving, 1),
                "of it the job's own s": round(own, 1),
                "waiting s": round(trips, 2),
                "moving s": round(moving, 2),
                "GB a machine": round(MANY * each.row_bytes / machines / 1e9, 1),
            },
        )
