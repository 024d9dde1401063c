"""Hashes of ids, nanoseconds each: ours beside XXH64 and BLAKE2b, the hash of heads of the first kind.

*many* hashes a column of texts at once; the peers, which take one text at a time, are called for each. *one* is what a
service does: a text at a time, each call on its own. *to buckets* is the whole way of a wide column, from values as a
file has them to buckets, by either hash of a head; ids there are all different, as nothing is dearer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.harness import OURS, Bench, Work, installed
from gbdtlr.head import WideColumns
from gbdtlr.values.hashing import BLAKE2B, CURRENT, hash_of, hash_texts

N = 1_000_000
N_ONE = 100_000
One = Callable[[str], int]


def run(bench: Bench) -> None:
    n = bench.size(N)
    for kind, column in columns(n).items():
        text = pc.cast(column, pa.string())
        few = text.slice(0, bench.size(N_ONE)).to_pylist()
        check(few)
        peers = {name: each for name, each in peers_of().items() if each is not None}
        absent = dict.fromkeys(name for name, each in peers_of().items() if each is None)
        begin = len(bench.rows)
        if column.type == pa.string():
            work: dict[str, Work | None] = {OURS: lambda text=text: hash_texts(text, 0)}
            texts = text.to_pylist()
            work |= {name: lambda one=one, texts=texts: list(map(one, texts)) for name, one in peers.items()}
            bench.compare(f"{n} {kind}, many", {**work, **absent})
            tell_ns(bench, begin, n)
            begin = len(bench.rows)
            ones = {OURS: hash_of(CURRENT), **peers}
            bench.compare(
                f"{len(few)} {kind}, one",
                {**{name: lambda one=one, few=few: all_of(one, few) for name, one in ones.items()}, **absent},
            )
            tell_ns(bench, begin, len(few))
            begin = len(bench.rows)
        bench.compare(
            f"{n} {kind}, to buckets",
            {OURS: to_buckets(column, CURRENT), f"{OURS}, {BLAKE2B}": to_buckets(column, BLAKE2B)},
        )
        tell_ns(bench, begin, n)


def to_buckets(column: pa.Array, algorithm: str) -> Work:
    """The whole way of a wide column."""
    wide = WideColumns(("id",), 2**22, algorithm)
    return lambda: wide.buckets({"id": column})


def columns(n: int) -> dict[str, pa.Array]:
    """Ids of several kinds, (n,) each, no two alike."""
    number = pa.array(np.random.default_rng(1).permutation(n) * 7919 + 100_000_000)
    digits = pc.cast(number, pa.string())
    raw = hashlib.shake_128(b"ids").hexdigest(16 * min(n, 1000))
    uuids = [f"{raw[32 * (i % 1000) :][:20]}{i:012x}" for i in range(n)]
    return {
        "numbers": number,
        "numbers as texts": digits,
        "UUIDs": pa.array([f"{u[:8]}-{u[8:12]}-{u[12:16]}-{u[16:20]}-{u[20:32]}" for u in uuids]),
        "addresses": pc.binary_join_element_wise("https://shop.example/item/", digits, "?ref=mail", ""),
    }


def peers_of() -> dict[str, One | None]:
    """What hashes one text, by name; None where it is not installed."""
    peers: dict[str, One | None] = {"hashlib.blake2b": hash_of(BLAKE2B), "xxhash.xxh64": None}
    if installed("xxhash"):
        import xxhash

        peers["xxhash.xxh64"] = lambda text: xxhash.xxh64_intdigest(text.encode())
    return peers


def check(texts: Sequence[str]) -> None:
    """One text and many give the same.

    Raises
    ------
    SystemExit
        They do not; their speed is of no interest.
    """
    if hash_texts(pa.array(texts), 0).tolist() != list(map(hash_of(CURRENT), texts)):
        raise SystemExit("one text and many give different hashes")


def all_of(one: One, texts: Sequence[str]) -> None:
    """Hash each text by a call of its own."""
    for text in texts:
        one(text)


def tell_ns(bench: Bench, begin: int, n: int) -> None:
    """Note nanoseconds an id in the lines since ``begin``."""
    for row in bench.rows[begin:]:
        if row["seconds"]:
            row["ns"] = round(1e9 * row["seconds"] / n, 1)
