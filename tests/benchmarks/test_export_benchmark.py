"""The benchmark of exports: our graphs are right on its rows, and a peer that is not there is told."""

import numpy as np
import pytest

from benchmarks import export
from benchmarks.harness import OURS, Bench


def test_rows_off_are_counted(monkeypatch):
    bench = Bench("export", n_threads=1, repeats=1, scale=0.01)
    monkeypatch.setattr(export, "N_TRAINING", 5000)
    monkeypatch.setattr(export, "flights", export.amounts)
    monkeypatch.setattr(export, "_onnxmltools", lambda *_: None)
    export.run(bench)
    told = {(row["case"].split(", ")[1], row["system"]): row for row in bench.rows}
    assert len(told) == 6
    for case in ("amounts", "flights"):
        assert told[case, OURS]["rows off"] == told[case, "gbdtlr float32"]["rows off"] == 0
        assert told[case, "onnxmltools"]["absent"]


@pytest.mark.parametrize(("system", "expected"), [(OURS, 2), ("onnxmltools", 1)])
def test_a_row_is_off_by_what_its_numbers_allow(system, expected):
    tell = export._teller(np.zeros(3))
    assert tell(system, np.array([[0.0], [1e-6], [-0.5]]))["rows off"] == expected
