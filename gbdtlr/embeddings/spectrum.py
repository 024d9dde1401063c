"""Spectrum: the leading eigenvectors of a large sparse symmetric matrix, by blocks of its rows.

Subspace iteration (Rutishauser 1969; Halko, Martinsson and Tropp 2011) with a start that depends on nothing but the
items: what one block of rows gives is a block of rows, or a small sum that is added in a fixed order, so that the same
matrix has the same vectors whatever the number of threads. BLAS works with one thread meanwhile, as its own would
change the last bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbdtlr.compute.blas import single_threaded
from gbdtlr.compute.parts import Parts
from gbdtlr.embeddings.counts import I64
from gbdtlr.values.hashing import U64, mix

F64 = NDArray[np.float64]
MOST_ROUNDS = 100
TOLERANCE = 1e-9
"""Of the eigenvalues, relative; the error of a vector is about its square root."""


@dataclass(frozen=True)
class Rows:
    """A block of rows of a sparse matrix, compressed.

    Attributes
    ----------
    start : its first row
    starts : int64 (n_rows + 1,), where each row's entries begin
    columns : int64 (n_entries,)
    values : float64 (n_entries,)
    n : columns of the matrix
    """

    start: int
    starts: I64
    columns: I64
    values: F64
    n: int

    def __len__(self) -> int:
        return len(self.starts) - 1


def factors(blocks: Parts[Rows], keys: U64, dimensions: int) -> F64:
    """``U sqrt(S)`` of the matrix's largest eigenvalues S above zero, in falling order; columns of zeros beyond them.

    Parameters
    ----------
    blocks : of the matrix, (n, n), symmetric
    keys : uint64 (n,), of its rows: what the iteration starts from

    Returns
    -------
    vectors : float64 (n, dimensions); the entry of each column that is largest in size is above zero
    """
    n = len(keys)
    width = min(n, 2 * dimensions + 16)
    with single_threaded():
        basis = _orthonormal(_start(keys, width), blocks)
        before = np.zeros(dimensions)
        for _ in range(MOST_ROUNDS):
            image = _times(blocks, basis)
            values, turn = _ritz(basis, image, blocks)
            largest = np.pad(values, (0, dimensions))[:dimensions]
            if np.all(np.abs(largest - before) <= TOLERANCE * largest[0]):
                break
            before = largest
            basis = _orthonormal(image, blocks)
        kept = min(dimensions, int((values > 0).sum()))
        found = _signed(basis @ turn[:, :kept]) * np.sqrt(values[:kept])
    return np.pad(found, ((0, 0), (0, dimensions - kept)))


def _start(keys: U64, width: int) -> F64:
    """A block of signs, (n, width), from the keys' own bits."""
    columns = np.arange(1, width + 1, dtype=np.uint64) * np.uint64(0xD6E8FEB86659FD93)
    bits = mix(mix(keys)[:, None] ^ columns)
    return np.where(bits >> np.uint64(63), 1.0, -1.0)


def times(rows: Rows, basis: F64) -> F64:
    """A block of rows times a dense matrix (n, width): (n_rows, width)."""
    from scipy.sparse import csr_array

    matrix = csr_array((rows.values, rows.columns, rows.starts), shape=(len(rows), rows.n))
    return np.asarray(matrix @ basis)


def product(rows: Rows, left: F64, right: F64) -> F64:
    """What a block's rows add to ``left^T right``."""
    own = slice(rows.start, rows.start + len(rows))
    result: F64 = left[own].T @ right[own]
    return result


def _times(blocks: Parts[Rows], basis: F64) -> F64:
    return np.concatenate(blocks.map(times, basis))


def _orthonormal(basis: F64, blocks: Parts[Rows]) -> F64:
    """An orthonormal basis of the columns' span; what lies within it by rounding alone is left out."""
    for _ in range(2):  # once is not orthonormal to the last bits where columns are nearly alike
        values, vectors = np.linalg.eigh(blocks.sum(product, basis, basis))
        kept = values > 1e-13 * values[-1]
        basis = basis @ (vectors[:, kept] / np.sqrt(values[kept]))
    return basis


def _ritz(basis: F64, image: F64, blocks: Parts[Rows]) -> tuple[F64, F64]:
    """Eigenvalues, falling, and eigenvectors of the matrix within the basis."""
    within = blocks.sum(product, basis, image)
    values, vectors = np.linalg.eigh((within + within.T) / 2)
    return values[::-1], vectors[:, ::-1]


def _signed(columns: F64) -> F64:
    """Columns with their entry that is largest in size above zero: an eigenvector's sign is anybody's choice."""
    largest = columns[np.abs(columns).argmax(axis=0), np.arange(columns.shape[1])]
    return columns * np.where(largest < 0, -1.0, 1.0)
