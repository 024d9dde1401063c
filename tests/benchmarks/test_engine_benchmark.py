"""The benchmark of engines: what is added up for clusters that are not here, and the rows it draws."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks import engine
from benchmarks.harness import Bench

MEASURED = engine.Measured(read_s=4e-6, pass_s=2e-7, passes=20, sent=4e5, received=8e5, trip_s=0.002)


def simulated(measured):
    bench = Bench("engine", n_threads=1, repeats=1, scale=1.0)
    engine.simulation(bench, measured)
    return bench.rows


def test_more_machines_take_less_time_until_they_wait_for_each_other():
    one, some, many = simulated(MEASURED)
    assert one["read s"] == pytest.approx(500)
    assert one["read s"] > some["read s"] > many["read s"]
    assert one["fit s"] > some["fit s"] > many["fit s"]
    assert one["of it waiting s"] < some["of it waiting s"] < many["of it waiting s"]
    assert one["GB a machine"] == pytest.approx(248)
    slow = dataclasses.replace(MEASURED, sent=4e9)
    assert simulated(slow)[2]["fit s"] > simulated(slow)[1]["fit s"]


def test_rows_are_the_same_wherever_they_are_drawn():
    sizes = np.array([3, 5])
    first, second = (next(engine.drawn([seed], 50, sizes, 2)) for seed in (4, 4))
    (one, *_), (other, *_) = first.slices(0, 50)[0], second.slices(0, 50)[0]
    np.testing.assert_array_equal(one.leaves, other.leaves)
    assert (one.leaves < sizes[:, None]).all()
    assert one.buckets.shape == (2, 50)
