"""Folder: an exported model with its schema and golden rows, whole or not there at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.errors import ConfigError, MismatchError
from gbdtlr.export import graph
from gbdtlr.export.rows import Rows, is_number
from gbdtlr.export.schema import about, document, to_json
from gbdtlr.head import Codes, Head, Layout
from gbdtlr.metrics import sigmoid
from gbdtlr.model import Model
from gbdtlr.release import Release
from gbdtlr.trees import raw_score, text_with

FORMATS = ("lightgbm", "onnx")
RANDOM_ROWS = 1000
"""Rows that are asked beside the golden ones, which are eight, or none at all."""
TOLERANCE = 1e-12

Inputs = dict[str, Any] | list[Any]


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes
    ----------
    folder : where
    files : names in it
    release : number of the release
    rows : how many rows were replayed in the target runtime
    worst : largest difference of a margin from the release's
    """

    folder: str
    files: tuple[str, ...]
    release: int
    rows: int
    worst: float


@dataclass(frozen=True)
class _Target:
    """A runtime: the model in its form, what it is asked for some rows, and its margins."""

    file: str
    runtime: str
    data: bytes
    inputs: Callable[[Rows], Inputs]
    margins: Callable[[Rows], NDArray[np.float64]]


def export(
    release: Release,
    format: str,  # noqa: A002 - the word that its users know
    folder: str | os.PathLike[str],
    *,
    without_wide: bool = False,
    float32: bool = False,
) -> Export:
    """Write a release for another runtime, once that has given there what the release gives.

    Parameters
    ----------
    format : ``lightgbm``, one plain LightGBM model with the head in its leaves; or ``onnx``, one graph
    folder : one that is not there yet, or is empty; nothing but the whole export is ever seen under its name
    without_wide : leave out the weights of the wide columns, which a LightGBM model has no place for
    float32 : of ``onnx``, take and give float32; thresholds are rounded down, so that float32 numbers fall as they do

    Raises
    ------
    ConfigError
        The format is unknown or cannot hold the release; the folder has something in it; an extra is missing.
    MismatchError
        The runtime gives something else, on this machine; nothing was written.
    """
    if format not in FORMATS:
        raise ConfigError(f"format {format!r:.40} is not known; write {' or '.join(FORMATS)}")
    if float32 and format != "onnx":
        raise ConfigError("float32 is of the format onnx; LightGBM's models are float64")
    if release.head.dense.n:
        names = ", ".join(release.head.dense.names)
        raise ConfigError(f"heads with dense columns ({names}) are not exported: no format says them yet")
    path = _free(Path(folder))
    model = _without_wide(release.model) if without_wide else release.model
    target = _lightgbm(model) if format == "lightgbm" else _onnx(release, model, float32)
    rows = [Rows.random(model, RANDOM_ROWS, seed=0)]
    if release.golden.rows:
        rows.insert(0, Rows.of(model, release.golden.columns))
    if float32:
        rows = [each.rounded(is_number(model.trees)) for each in rows]
    worst = max(_check(target, model, each, float32) for each in rows)
    golden = _golden(target, model, rows[0] if len(rows) > 1 else None, release, float32)
    files = {target.file: target.data, "golden.json": to_json(golden)}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    more = {"target": format, "float32": float32}
    files["schema.json"] = to_json(document(release, model, hashes, more))
    _write(path, files)
    return Export(str(folder), tuple(sorted(files)), release.entry.number, sum(map(len, rows)), worst)


def _lightgbm(model: Model) -> _Target:
    head = model.head
    if head.wide.names:
        raise ConfigError(
            f"a LightGBM model has no place for the ids of {', '.join(head.wide.names)}: add --without-wide, which "
            "leaves their weights out, or take --format onnx"
        )
    values = head.leaf_weights.copy()
    values[: head.layout.offsets[1]] += head.bias
    text = text_with(model.trees, values)

    def inputs(rows: Rows) -> Inputs:
        return [_in_json(row) for row in rows.matrix]

    return _Target("model.txt", "LightGBM", text.encode(), inputs, lambda rows: raw_score(text, rows.matrix))


def _onnx(release: Release, model: Model, float32: bool) -> _Target:
    dtype = np.float32 if float32 else np.float64
    graph.onnxruntime()
    data = graph.build(model, dtype, about(release))
    feed = partial(graph.feed, model, dtype=dtype)

    def inputs(rows: Rows) -> Inputs:
        return {name: _in_json(values.reshape(-1)) for name, values in feed(rows).items()}

    return _Target("model.onnx", "onnxruntime", data, inputs, lambda rows: graph.run(data, feed(rows)))


def _without_wide(model: Model) -> Model:
    layout = Layout.of(model.trees)
    return model.with_head(Head(layout, layout.join(model.head.leaf_weights, (), model.head.bias)))


def _check(target: _Target, model: Model, rows: Rows, float32: bool) -> float:
    """Largest difference of a margin; ``MismatchError`` if one is more than rounding."""
    codes = rows.codes(model)
    margins = model.head.margin(codes)
    found = target.margins(rows)
    off = np.abs(found - margins)
    wrong = ~(off <= _tolerances(model, codes, margins, float32))
    if wrong.any():
        first = int(wrong.argmax())
        raise MismatchError(
            f"{target.runtime} gives {found[first]:.12g} for a row whose margin is {margins[first]:.12g}, and other "
            f"margins for {int(wrong.sum())} of {len(rows)} rows; nothing was written, please report this"
        )
    return float(off.max())


def _tolerances(model: Model, codes: Codes, margins: NDArray[np.float64], float32: bool) -> NDArray[np.float64]:
    """How far each margin may be off, (n,): by how a sum of these weights may be rounded."""
    if not float32:
        return TOLERANCE * np.maximum(1.0, np.abs(margins))
    head = model.head
    sizes = Head(head.layout, np.abs(head.weights)).margin(codes)
    n_terms = model.trees.n_trees + len(head.wide.names) + 1
    return sizes * n_terms * float(np.finfo(np.float32).eps) + float(np.finfo(np.float32).tiny)


def _golden(target: _Target, model: Model, rows: Rows | None, release: Release, float32: bool) -> dict[str, Any]:
    """What ``golden.json`` says: raw rows, the same as inputs of the exported model, and what it must give."""
    if rows is None:
        return {"format": 1, "rows": [], "inputs": [], "margin": [], "probability": [], "tolerance": TOLERANCE}
    codes = rows.codes(model)
    margins = model.head.margin(codes)
    return {
        "format": 1,
        "rows": release.golden.rows,
        "inputs": target.inputs(rows),
        "margin": margins.tolist(),
        "probability": sigmoid(margins).tolist(),
        "tolerance": float(_tolerances(model, codes, margins, float32).max()),
    }


def _in_json(values: NDArray[Any]) -> list[Any]:
    """Values in JSON's types: NaN as null, and what is infinite, as a large float64 is in float32, as a text."""
    return [
        None if value != value else str(value) if value in (np.inf, -np.inf) else value for value in values.tolist()
    ]


def _free(path: Path) -> Path:
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ConfigError(f"{path} is there already; name a folder that is not, or an empty one")
    return path


def _write(path: Path, files: dict[str, bytes]) -> None:
    """All files at once: they are written beside the folder and renamed."""
    beside = path.absolute().parent / f".{path.absolute().name}.{secrets.token_hex(8)}.tmp"
    try:
        beside.mkdir(parents=True)
        for name, data in files.items():
            (beside / name).write_bytes(data)
        os.rename(beside, path.absolute())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; name a folder that can be written") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
