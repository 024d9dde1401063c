"""No request waits for a compilation: all that requests need is compiled before the first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ASK = """
import json, sys
sys.path[:0] = json.loads(sys.argv[2])
import pyarrow as pa
from serving_kit import ARROW, ROWS, application, ask, stream_of, values_of

app = application(sys.argv[1])
from gbdtlr.compute.compiled import KERNELS

before = {kernel.__name__: [*kernel.signatures] for kernel in KERNELS}
tensors = [
    {"name": name, "datatype": kind, "shape": [2], "data": [row[name] for row in ROWS[:2]]}
    for name, kind in {"x": "FP64", "y": "FP64", "colour": "BYTES", "shop": "INT64"}.items()
]
for path, body, kind in (
    ("/score", ROWS[0], "application/json"),
    ("/score?unknown=ignore", {**ROWS[0], "more": 1}, "application/json"),
    ("/score", {"rows": ROWS * 5}, "application/json"),
    ("/score", {"columns": values_of(ROWS[:2])}, "application/json"),
    ("/score", stream_of(pa.table(values_of(ROWS[:2]))), ARROW),
    ("/explain", ROWS[0], "application/json"),
    ("/v2/models/gbdtlr/infer", {"inputs": tensors}, "application/json"),
    ("/invocations", {"instances": ROWS[:2]}, "application/json"),
    ("/invocations", b"x,y,colour,shop\\n1,2,red,3\\n", "text/csv"),
):
    assert ask(app, path, body, kind).status == 200, path
app.close()
found = {kernel.__name__: [*kernel.signatures] for kernel in KERNELS}
print(json.dumps(sorted(name for name in found if len(found[name]) > len(before.get(name, [])))))
"""


def test_no_request_compiles_a_kernel(store: str, child_env: dict[str, str]) -> None:
    command = [sys.executable, "-c", ASK, store, json.dumps([str(Path(__file__).parent)])]
    done = subprocess.run(command, capture_output=True, text=True, env=child_env, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
