"""What server and clients must come to: sequences of events, worked out in decimal numbers of 50 digits.

``PYTHONPATH=. python tests/users/golden_sequences.py`` writes ``clients/golden/events.json`` anew.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Decimal, getcontext
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).parents[2] / "clients" / "golden" / "events.json"
CASES: dict[str, dict[str, Any]] = {
    "regression": {"code": 1, "alpha": 0.5, "l2": 0.0, "weight": 1.0, "dimensions": 16},
    "regression with l2": {"code": 1, "alpha": 1.5, "l2": 0.01, "weight": 0.75, "dimensions": 16},
    "three numbers, wild margins": {"code": 1, "alpha": 0.1, "l2": 0.1, "weight": 1.25, "dimensions": 3, "wild": True},
    "one number": {"code": 1, "alpha": 2.0, "l2": 0.0, "weight": 1.0, "dimensions": 1},
    "mean": {"code": 2, "alpha": 0.1, "l2": 0.0, "weight": 2.0, "dimensions": 16},
}
N_EVENTS = 48
getcontext().prec = 50


def half(x: Decimal) -> Decimal:
    """The float of 16 bits that is nearest, ties to even."""
    size = min(abs(x), Decimal(65504))
    exponent = -14
    while size >= Decimal(2) ** (exponent + 1):
        exponent += 1
    step = Decimal(2) ** (exponent - 10)
    return ((size / step).quantize(Decimal(1), ROUND_HALF_EVEN) * step).copy_sign(x)


def sigmoid(margin: Decimal) -> Decimal:
    return 1 / (1 + (-margin).exp())


def events_of(case: dict[str, Any], rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Packed vectors with a taste behind the labels; the state is written and read after some of them."""
    d = case["dimensions"]
    taste = rng.normal(size=d)
    for i in range(N_EVENTS):
        vector = rng.normal(size=d) / d**0.5 * (10.0 ** rng.integers(-6, 3) if case.get("wild") else 1.0)
        scale = np.float32(np.abs(vector).max() / 127)
        numbers = np.rint(vector / float(scale)).clip(-127, 127).astype(np.int8)
        numbers[:] = 0 if i % 11 == 5 else numbers  # an item without a vector
        margin = float(np.round(rng.normal() * (100 if case.get("wild") else 1) - 1, 6))
        label = int(rng.random() < 1 / (1 + np.exp(-(margin + vector @ taste).clip(-50, 50))))
        packed = base64.b64encode(numbers.tobytes() + struct.pack("<f", scale)).decode()
        yield {"vector": packed, "label": label, "margin": margin, "written": i % 7 == 6}


def play(case: dict[str, Any], events: list[dict[str, Any]]) -> dict[str, Any]:
    """Scores and probabilities before each event was learned, and the last state."""
    d, alpha, l2, weight = case["dimensions"], *(Decimal(case[key]) for key in ("alpha", "l2", "weight"))
    w, n = [Decimal(0)] * d, [Decimal(0)] * (d if case["code"] == 1 else 0)
    scores, probabilities = [], []
    for event in events:
        data = base64.b64decode(event["vector"])
        scale = Decimal(struct.unpack("<f", data[-4:])[0])
        v = [number * scale for number in struct.unpack(f"<{d}b", data[:-4])]
        margin, label = Decimal(event["margin"]), event["label"]
        score = sum((a * b for a, b in zip(w, v, strict=True)), Decimal(0))
        scores.append(float(score))
        probabilities.append(float(sigmoid(margin + weight * score)))
        if not any(v):
            pass
        elif case["code"] == 1:
            residual = sigmoid(margin + score) - label
            g = [residual * x + l2 * a for x, a in zip(v, w, strict=True)]
            n = [a + b * b for a, b in zip(n, g, strict=True)]
            w = [a - alpha / (1 + b.sqrt()) * c for a, b, c in zip(w, n, g, strict=True)]
        elif label:
            w = [a + alpha * (x - a) for a, x in zip(w, v, strict=True)]
        if event["written"]:
            w, n = [half(x) for x in w], [half(x) for x in n]
    head = bytes([case["code"], 7, 8, 9])
    start = head + bytes(2 * (len(w) + len(n)))
    end = head + struct.pack(f"<{len(w) + len(n)}e", *(float(half(x)) for x in (*w, *n)))
    states = {key: base64.b64encode(data).decode() for key, data in (("start", start), ("end", end))}
    return {**states, "scores": scores, "probabilities": probabilities, "weights": [float(x) for x in w]}


def sequences() -> list[dict[str, Any]]:
    """All of them."""
    found = []
    for i, (name, case) in enumerate(CASES.items()):
        events = list(events_of(case, np.random.default_rng(i)))
        rule = {key: case[key] for key in ("alpha", "l2", "weight")}
        found.append({"name": name, "rule": rule, "events": events, **play(case, events)})
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps(sequences(), indent=1) + "\n")
