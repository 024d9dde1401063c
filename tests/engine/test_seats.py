"""Seats: processes that work together are heard in order, and missed at once when one of them is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from engine_kit import pretended

from gbdtlr.engine import LOCAL
from gbdtlr.engine.process import Process, ProcessEnded
from gbdtlr.engine.seats import Seat, SeatLost, Together, TooLate, seats

LONG_S = 60.0


def begin(seat: Seat[str]) -> None:
    seat.begin("seat_child")


def kill(seat: Seat[str], which: str) -> None:
    """Kill one of them, as memory that runs out does."""
    seat.tell(("say",))
    (said,) = seat.hear(LONG_S)
    if seat.seed == which:
        os.kill(said[0], signal.SIGKILL)


def together(engine, n: int = 3) -> Together[str]:
    found = Together(engine.parts([*enumerate("abcdef"[:n])], seats))
    found.do(begin)
    return found


def test_a_process_hears_and_says_values_and_ends_when_it_is_told_to():
    process = Process("seat_child", 1)
    try:
        assert process.hear(0.0) == ()
        array = np.arange(300_000.0)
        process.tell(("say", array))
        ((pid, back),) = process.hear(LONG_S)
        assert back.tobytes() == array.tobytes()
        assert pid != os.getpid()
        process.tell(("exit",))
        for _ in range(2):
            with pytest.raises(ProcessEnded, match="exit code 3"):
                process.hear(LONG_S)
        with pytest.raises(ProcessEnded, match="exit code 3"):
            process.tell(("say", array))
    finally:
        process.end()


def test_a_process_that_waits_for_ever_ends_with_whoever_began_it():
    code = "from gbdtlr.engine.process import Process\np = Process('seat_child', 1)\np.tell(('say',))\n"
    code += "print(p.hear(60)[0][0], flush=True)\np.tell(('spin',))\np.hear(60)\nprint('spins', flush=True)\ninput()\n"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
    ) as parent:
        pid = int(parent.stdout.readline())
        assert parent.stdout.readline() == "spins\n"
        parent.kill()
        parent.wait()
        # What the child prints goes elsewhere; it holds on to nothing of its parent's but stderr.
        deadline = time.monotonic() + LONG_S
        while is_there(pid):
            assert time.monotonic() < deadline


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("workers", [0, 2])
def test_all_are_heard_in_order(workers):
    ranks = together(pretended(workers) if workers else LOCAL)
    assert len(ranks) == 3
    ranks.tell([("say", each) for each in "xyz"])
    said = ranks.hear(LONG_S)
    assert [each for _, each in said] == ["x", "y", "z"]
    assert len({pid for pid, _ in said}) == 3
    ranks.end()
    with pytest.raises(SeatLost, match="rank 0"):
        ranks.hear(LONG_S)


def test_one_that_is_killed_is_missed_though_the_others_go_on_for_ever():
    ranks = together(LOCAL)
    ranks.do(kill, "b")
    with pytest.raises(SeatLost, match=r"rank 1 on 127\.0\.0\.1 is gone: it was killed by signal 9"):
        ranks.hear(LONG_S)
    ranks.do(begin)
    ranks.tell([("spin",)] * 3)
    assert ranks.hear(LONG_S) == ["spinning"] * 3
    with pytest.raises(TooLate, match="rank 0, 1, 2 said nothing for 0 s"):
        ranks.hear(0.0)
    ranks.end()


def test_a_lost_worker_leaves_its_seats_empty_to_others():
    engine = pretended(3)
    ranks = together(engine)
    engine.crew._cluster.workers[1] = None
    with pytest.raises(SeatLost, match="the worker of rank 1 was lost"):
        ranks.hear(LONG_S)
    ranks.do(begin)
    ranks.tell([("say", each) for each in "xyz"])
    assert [each for _, each in ranks.hear(LONG_S)] == ["x", "y", "z"]
    ranks.end()
