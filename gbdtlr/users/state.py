"""State: a user's weights, and the bytes they travel in.

68 bytes at 16 dimensions: one for the method, three that tell the embeddings, then weights and sums of squared
gradients, each as little-endian floats of 16 bits. The weights are doubles while events are learned and are rounded
when they are written. ``mean`` has no squares. Behind a signed state stand 16 bytes of its HMAC-SHA256.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
import struct
from collections.abc import Collection, Sequence

from gbdtlr.users.rule import MEAN, REGRESSION, Rule, score

CODES = {REGRESSION: 1, MEAN: 2}
"""First byte of a state; numbers of later formats follow these."""
SIGNED = 0x80
"""Bit of the first byte: a signature follows."""
TAG_BYTES, SIGNATURE_BYTES = 3, 16
HALF_MOST = 65504.0
"""Largest float of 16 bits."""


class Unusable(Exception):
    """A state that is none here.

    Attributes
    ----------
    reason : ``damaged``, ``signature`` (not signed with the key here), ``foreign`` (another method, format or number of
        dimensions) or ``older`` (of embeddings that the live ones were not turned onto)
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def tag_of(embeddings: str) -> bytes:
    """Three bytes that stand for a version of embeddings."""
    return hashlib.sha256(embeddings.encode()).digest()[:TAG_BYTES]


class State:
    """A user's weights; changed by what is learned.

    Attributes
    ----------
    rule : how they move
    tag : of the embeddings that their vectors are of
    weights : (n,)
    squares : sums of squared gradients, (n,); empty for ``mean``
    """

    def __init__(self, rule: Rule, tag: bytes, weights: list[float], squares: list[float]) -> None:
        self.rule, self.tag, self.weights, self.squares = rule, tag, weights, squares

    @classmethod
    def new(cls, rule: Rule, tag: bytes, dimensions: int) -> State:
        """That of a user of whom nothing is known, whose score of everything is zero."""
        return cls(rule, tag, [0.0] * dimensions, [0.0] * (dimensions if rule.method == REGRESSION else 0))

    def score(self, vector: Sequence[float]) -> float:
        """Log-odds that the user adds to an item of this vector, (n,)."""
        return score(self.weights, vector)

    def learn(self, vector: Sequence[float], label: int, margin: float = 0.0) -> None:
        """Take in one event.

        Parameters
        ----------
        vector : of the item, (n,)
        label : 1 if it was clicked, else 0
        margin : its log-odds without the user's score

        Raises
        ------
        ValueError
            Another label, or log-odds that are not finite.
        """
        if label not in (0, 1):
            raise ValueError(f"a label is 0 or 1, not {label!r:.60}")
        if not _is_finite(margin):
            raise ValueError(f"a margin is a finite number, not {margin!r:.60}")
        self.rule.learn(self.weights, self.squares, vector, int(label), float(margin))

    def to_bytes(self, key: bytes | None = None) -> bytes:
        """The state for :meth:`from_bytes`, signed if there is a key."""
        code = CODES[self.rule.method] | (SIGNED if key else 0)
        numbers = [min(max(x, -HALF_MOST), HALF_MOST) for x in (*self.weights, *self.squares)]
        data = bytes([code]) + self.tag + struct.pack(f"<{len(numbers)}e", *numbers)
        return data + _signature(key, data) if key else data

    def to_text(self, key: bytes | None = None) -> str:
        """:meth:`to_bytes` in base64."""
        return base64.b64encode(self.to_bytes(key)).decode()

    @classmethod
    def from_bytes(
        cls, data: bytes, rule: Rule, dimensions: int, tags: Collection[bytes], key: bytes | None = None
    ) -> State:
        """The state that was written, its weights rounded to 16 bits.

        Parameters
        ----------
        dimensions : of the live embeddings
        tags : of the embeddings whose vectors lie as the live ones do; the first is the live one's, and the state's
        key : that it must be signed with, if there is one

        Raises
        ------
        Unusable
        """
        if not data:
            raise Unusable("damaged")
        if bool(data[0] & SIGNED) != bool(key):
            raise Unusable("signature")
        if key:
            data, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
            if not data or not hmac.compare_digest(_signature(key, data), signature):
                raise Unusable("signature")
        if data[0] & ~SIGNED != CODES[rule.method]:
            raise Unusable("foreign")
        n_numbers, odd = divmod(len(data) - 1 - TAG_BYTES, 2)
        if odd or n_numbers < 1:
            raise Unusable("damaged")
        state = cls.new(rule, next(iter(tags)), dimensions)
        if n_numbers != dimensions + len(state.squares):
            raise Unusable("foreign")
        numbers = struct.unpack(f"<{n_numbers}e", data[1 + TAG_BYTES :])
        state.weights[:], state.squares[:] = numbers[:dimensions], numbers[dimensions:]
        if not all(map(math.isfinite, numbers)) or min(state.squares, default=0.0) < 0:
            raise Unusable("damaged")
        if data[1 : 1 + TAG_BYTES] not in tags:
            raise Unusable("older")
        return state

    @classmethod
    def from_text(
        cls, text: str, rule: Rule, dimensions: int, tags: Collection[bytes], key: bytes | None = None
    ) -> State:
        """:meth:`from_bytes` of what :meth:`to_text` gave."""
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise Unusable("damaged") from None
        return cls.from_bytes(data, rule, dimensions, tags, key)


def _signature(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")[:SIGNATURE_BYTES]


def _is_finite(margin: object) -> bool:
    try:
        return math.isfinite(margin)  # type: ignore[arg-type]  # which is what is asked
    except TypeError:
        return False
