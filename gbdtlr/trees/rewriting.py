"""Rewriting: LightGBM's text of the same trees with other outputs at their leaves."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from gbdtlr.trees.frozen import FrozenTrees


def text_with(trees: FrozenTrees, leaf_values: npt.NDArray[np.float64]) -> str:
    """LightGBM's model text of these trees, whose raw score is the sum of ``leaf_values``, (n_codes,), over a row.

    Outputs of inner nodes, which only plots show, become the means of what is below them.
    """
    text = trees.to_files()["booster.txt"].decode()
    end = text.index("\nend of trees") + 1
    header, *blocks = re.split(r"^(?=Tree=)", text[:end], flags=re.MULTILINE)
    blocks = [
        _with_values(block, leaf_values[trees.offsets[t] : trees.offsets[t + 1]]) for t, block in enumerate(blocks)
    ]
    sizes = " ".join(str(len(block.encode())) for block in blocks)
    header = re.sub(r"^tree_sizes=.*$", f"tree_sizes={sizes}", header, flags=re.MULTILINE)
    header = re.sub(r"^average_output\n", "", header, flags=re.MULTILINE)  # a sum now, as of all boosters
    return "".join([header, *blocks, text[end:]])


def raw_score(text: str, matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What LightGBM itself gives for a model text: float64 (n_rows,).

    Parameters
    ----------
    matrix : (n_rows, n_features), as ``schema.matrix`` gives it
    """
    import lightgbm as lgb

    scores = lgb.Booster(model_str=text).predict(matrix, raw_score=True, num_threads=1)
    return np.asarray(scores, np.float64)


def _with_values(block: str, values: npt.NDArray[np.float64]) -> str:
    lines = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    changed = {"leaf_value": values}
    if "internal_value" in lines and len(values) > 1 and "leaf_count" in lines:
        changed["internal_value"] = _means(lines, values)
    for key, numbers in changed.items():
        written = " ".join(repr(number) for number in numbers.tolist())
        block = re.sub(rf"^{key}=.*$", f"{key}={written}", block, flags=re.MULTILINE)
    return block


def _means(lines: dict[str, str], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean output of the training rows below each split, (n_splits,)."""
    left, right, count = (np.array(lines[key].split(), np.int64) for key in ("left_child", "right_child", "leaf_count"))
    rows = np.zeros(len(left))
    means = np.zeros(len(left))
    for split in range(len(left) - 1, -1, -1):  # a child's number is above its parent's
        sides = [
            (float(count[~child]), float(values[~child])) if child < 0 else (rows[child], means[child])
            for child in (int(left[split]), int(right[split]))
        ]
        rows[split] = sum(n for n, _ in sides)
        means[split] = sum(n * mean for n, mean in sides) / max(rows[split], 1.0)
    return means


def same_everywhere(text: str) -> str:
    """A model's text without what is another on each machine and changes nothing in the trees."""
    usual = {"num_threads": "0", "machines": "", "local_listen_port": "12400", "time_out": "120"}
    lines = text.split("\n")
    for i, line in enumerate(lines):
        name = line[1:].partition(":")[0] if line.startswith("[") else ""
        if name in usual:
            lines[i] = f"[{name}: {usual[name]}]"
    return "\n".join(lines)
