"""Server, Python and JavaScript come to the same, and all of them to what decimal numbers of 50 digits give."""

from __future__ import annotations

import base64
import importlib.util
import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from golden_sequences import FILE, sequences

from gbdtlr.users import Rule, State, unpack
from gbdtlr.users.rule import MEAN, REGRESSION, sigmoid
from gbdtlr.users.state import SIGNED

CLIENTS = FILE.parents[1]
MODULE = CLIENTS / "js" / "gbdtlr-user.js"
HERE = Path(__file__).parent
NODE = shutil.which("node")
GOLDEN: list[dict[str, Any]] = json.loads(FILE.read_text())
TOLERANCE = 1e-12


def client() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gbdtlr_user", CLIENTS / "python" / "gbdtlr_user.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def node(*args: str) -> str:
    assert NODE is not None
    return subprocess.run([NODE, *args], capture_output=True, text=True, check=True, timeout=60).stdout


needs_node = pytest.mark.skipif(NODE is None, reason="no Node here")


def by_the_server(golden: dict[str, Any]) -> dict[str, Any]:
    start = base64.b64decode(golden["start"])
    method = {1: REGRESSION, 2: MEAN}[start[0]]
    rule = Rule(method, golden["rule"]["alpha"], golden["rule"]["l2"])
    size = len(unpack(base64.b64decode(golden["events"][0]["vector"])))
    tags = [start[1:4]]
    state = State.from_text(golden["start"], rule, size, tags)
    scores, probabilities = [], []
    for event in golden["events"]:
        vector = unpack(base64.b64decode(event["vector"]))
        scores.append(state.score(vector))
        probabilities.append(sigmoid(event["margin"] + golden["rule"]["weight"] * scores[-1]))
        state.learn(vector, event["label"], event["margin"])
        if event["written"]:
            state = State.from_text(state.to_text(), rule, size, tags)
    return {"scores": scores, "probabilities": probabilities, "weights": state.weights, "end": state.to_text()}


def by_python(golden: dict[str, Any]) -> dict[str, Any]:
    module = client()
    user = module.User(golden["start"], **golden["rule"])
    scores, probabilities = [], []
    for event in golden["events"]:
        vector = module.vector(event["vector"])
        scores.append(user.score(vector))
        probabilities.append(user.probability(vector, event["margin"]))
        user.learn(vector, event["label"], event["margin"])
        if event["written"]:
            user = module.User(str(user), **golden["rule"])
    return {"scores": scores, "probabilities": probabilities, "weights": user.weights, "end": str(user)}


def assert_golden(played: dict[str, Any], golden: dict[str, Any]) -> None:
    assert played["end"] == golden["end"]
    for key in ("scores", "probabilities", "weights"):
        np.testing.assert_allclose(played[key], golden[key], rtol=TOLERANCE, atol=TOLERANCE)


def test_the_golden_sequences_are_those_of_the_formulas() -> None:
    assert sequences() == GOLDEN


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden["name"])
def test_the_server_comes_to_them(golden: dict[str, Any]) -> None:
    assert_golden(by_the_server(golden), golden)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden["name"])
def test_the_python_client_comes_to_them(golden: dict[str, Any]) -> None:
    assert_golden(by_python(golden), golden)


@needs_node
def test_the_javascript_client_comes_to_them() -> None:
    played = json.loads(node(str(HERE / "play.mjs"), str(MODULE), str(FILE)))
    assert len(played) == len(GOLDEN)
    for each, golden in zip(played, GOLDEN, strict=True):
        assert_golden(each, golden)


@needs_node
def test_clients_write_every_half_as_it_was_and_round_what_lies_between_alike() -> None:
    """All 31,744 finite halves, and doubles beside and between them."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    between = (halves[:-1] + halves[1:]) / 2
    doubles = np.concatenate([halves, -halves, between, np.nextafter(between, 0), np.nextafter(between, 1e9), [7e4]])
    expected = doubles.clip(-65504, 65504).astype("<f2").tobytes()
    script = f"""
    import {{ User }} from {json.dumps(MODULE.as_uri())};
    import {{ readFileSync }} from "node:fs";
    const numbers = JSON.parse(readFileSync(0, "utf8"));
    for (let i = 0; i < numbers.length; i += 1000) {{
      const some = numbers.slice(i, i + 1000);
      const user = new User(btoa(String.fromCharCode(2, 0, 0, 0) + "\\0".repeat(2 * some.length)));
      some.forEach((x, k) => {{ user.weights[k] = x; }});
      console.log(JSON.stringify([String(user), [...new User(String(user)).weights]]));
    }}"""
    assert NODE is not None
    ran = subprocess.run(
        [NODE, "--input-type=module", "-e", script],
        input=json.dumps(doubles.tolist()),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    written = [json.loads(line) for line in ran.stdout.splitlines()]
    assert b"".join(base64.b64decode(text)[4:] for text, _ in written) == expected
    numbers = [number for _, some in written for number in some]
    np.testing.assert_array_equal(numbers, np.frombuffer(expected, "<f2").astype(np.float64))
    user = client().User(base64.b64encode(bytes([2, 0, 0, 0]) + bytes(2 * len(doubles))).decode())
    user.weights = doubles.tolist()
    assert base64.b64decode(str(user))[4:] == expected


def test_clients_refuse_what_they_cannot_learn() -> None:
    signed = base64.b64encode(bytes([1 | SIGNED]) + bytes(19)).decode()
    for text in (signed, base64.b64encode(bytes([3]) + bytes(7)).decode(), "AQ=="):
        with pytest.raises(ValueError, match="another kind"):
            client().User(text)
        if NODE is not None:
            told = node(
                "--input-type=module",
                "-e",
                f"""import {{ User }} from {json.dumps(MODULE.as_uri())};
                try {{ new User({json.dumps(text)}); }} catch (error) {{ console.log(error.message); }}""",
            )
            assert "another kind" in told


@pytest.mark.parametrize(
    ("label", "margin"), [("null", "0"), ("2", "0"), ("0.5", "0"), ("1", "null"), ("1", "NaN"), ("0", "Infinity")]
)
def test_what_would_undo_a_state_is_refused_and_changes_nothing(label: str, margin: str) -> None:
    state = base64.b64encode(bytes([1, 0, 0, 0]) + bytes(8)).decode()
    values = {"null": None, "NaN": math.nan, "Infinity": math.inf}
    given = [values.get(each, float(each) if each not in values else None) for each in (label, margin)]
    user = client().User(state)
    server = State.from_text(state, Rule(), 2, [bytes(3)])
    for one in (user, server):
        with pytest.raises(ValueError, match=r"label is 0 or 1|margin is a finite number"):
            one.learn([0.5, 0.5], *given)
        assert list(one.weights) == [0.0, 0.0]
    if NODE is not None:
        told = node(
            "--input-type=module",
            "-e",
            f"""import {{ User }} from {json.dumps(MODULE.as_uri())};
            const user = new User({json.dumps(state)});
            try {{ user.learn([0.5, 0.5], {label}, {margin}); }} catch (error) {{ console.log(error.message); }}
            console.log(String(user));""",
        )
        assert told.splitlines()[0].startswith("a label is 0 or 1")
        assert told.splitlines()[1] == state


def test_clients_are_short_and_need_nothing() -> None:
    javascript, python = MODULE.read_text(), (CLIENTS / "python" / "gbdtlr_user.py").read_text()
    assert "import " not in javascript
    assert set(re.findall(r"^(?:import|from) (\w+)", python, re.MULTILINE)) <= {
        "__future__",
        "base64",
        "math",
        "struct",
    }
    types = (CLIENTS / "js" / "gbdtlr-user.d.ts").read_text()
    assert set(re.findall(r"^export (?:const|function|class) (\w+)", javascript, re.MULTILINE)) <= set(
        re.findall(r"^export (?:function|class|interface) (\w+)", types, re.MULTILINE)
    )


def test_no_event_moves_a_weight_by_more_than_alpha() -> None:
    rng = np.random.default_rng(3)
    state = State.new(Rule(REGRESSION, 0.5, 1e6), b"abc", 4)
    for _ in range(300):
        before = list(state.weights)
        state.learn((rng.normal(size=4) * 10 ** rng.uniform(-8, 8)).tolist(), int(rng.integers(2)), rng.normal() * 50)
        assert all(abs(a - b) <= 0.5 for a, b in zip(state.weights, before, strict=True))
        assert all(map(math.isfinite, state.weights))
