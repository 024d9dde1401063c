"""A user's state on the client: scored and stepped at once, without the server. Needs nothing but Python.

The formulas are those of docs/users.md, in double precision; the server comes to the same.
"""

from __future__ import annotations

import base64
import math
import struct

METHODS = {1: "regression", 2: "mean"}
MOST = 65504.0  # largest float of 16 bits


def vector(text: str) -> list[float]:
    """Numbers of a packed vector: whole numbers of 8 bits, then their scale."""
    data = base64.b64decode(text, validate=True)
    (scale,) = struct.unpack("<f", data[-4:])
    return [number * scale for number in struct.unpack(f"<{len(data) - 4}b", data[:-4])]


def sigmoid(margin: float) -> float:
    """Probability of log-odds."""
    e = math.exp(-abs(margin))
    return 1.0 / (1.0 + e) if margin >= 0 else e / (1.0 + e)


class User:
    """State and rule as the server's answer has them, ``User(answer["user"], **answer["rule"])``."""

    def __init__(self, state: str, alpha: float = 0.5, l2: float = 0.0, weight: float = 1.0) -> None:
        data = base64.b64decode(state, validate=True)
        if len(data) < 6 or data[0] not in METHODS:
            raise ValueError("a state of another kind; one that is signed learns on the server")
        self.alpha, self.l2, self.weight, self._head = alpha, l2, weight, data[:4]
        numbers = list(struct.unpack(f"<{(len(data) - 4) // 2}e", data[4:]))
        self.is_mean = METHODS[data[0]] == "mean"
        n = len(numbers) if self.is_mean else len(numbers) // 2
        self.weights, self.squares = numbers[:n], numbers[n:]

    def score(self, vector: list[float]) -> float:
        """Log-odds that the user adds to an item."""
        total = 0.0
        for w, x in zip(self.weights, vector, strict=True):
            total += w * x
        return total

    def probability(self, vector: list[float], margin: float) -> float:
        """Probability of an item whose log-odds without the user's score are ``margin``."""
        return sigmoid(margin + self.weight * self.score(vector))

    def learn(self, vector: list[float], label: int, margin: float) -> None:
        """Take in one event; raise ValueError for another label than 0 and 1, and a margin that is no finite number."""
        try:
            is_sound = label in (0, 1) and math.isfinite(margin)
        except TypeError:
            is_sound = False
        if not is_sound:
            raise ValueError(f"a label is 0 or 1 and a margin a finite number, not {label!r} and {margin!r}")
        residual = sigmoid(margin + self.score(vector)) - label
        for k, x in enumerate(vector if any(vector) else []):  # an item without a vector says nothing
            if not self.is_mean:
                g = residual * x + self.l2 * self.weights[k]
                self.squares[k] += g * g
                self.weights[k] -= self.alpha / (1.0 + math.sqrt(self.squares[k])) * g
            elif label:
                self.weights[k] += self.alpha * (x - self.weights[k])

    def __str__(self) -> str:
        numbers = [min(max(x, -MOST), MOST) for x in (*self.weights, *self.squares)]
        return base64.b64encode(self._head + struct.pack(f"<{len(numbers)}e", *numbers)).decode()
