"""The text format is read exactly, and nothing but whole, summable boosters gets through."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees_kit import grow, training_rows

from gbdtlr.errors import DamagedError, TreesError
from gbdtlr.trees import FrozenTrees
from gbdtlr.trees.forest import Forest

MATRIX, LABEL = training_rows(31, 300, (20,), 0.05)
TEXT = grow(MATRIX, LABEL, 3, [4], num_leaves=6).model_to_string()
BODY = TEXT.index("end of trees") + len("end of trees")


def replaced(pattern: str, by: str, text: str = TEXT) -> str:
    changed, n = re.subn(pattern, by, text, count=1, flags=re.MULTILINE)
    assert n == 1
    return changed


def test_every_value_is_lightgbms_own() -> None:
    import lightgbm as lgb

    forest = Forest.parse(TEXT)
    model = lgb.Booster(model_str=TEXT).dump_model()
    assert forest.n_trees == len(model["tree_info"]) == 3
    for t, info in enumerate(model["tree_info"]):
        todo = [info["tree_structure"]]
        while todo:
            node = todo.pop()
            if "leaf_index" in node:
                assert forest.leaf_value[forest.offsets[t] + node["leaf_index"]] == node["leaf_value"]
                continue
            j = forest.splits[t] + node["split_index"]
            assert forest.split_feature[j] == node["split_feature"]
            assert forest.is_categorical[j] == (node["decision_type"] == "==")
            assert forest.default_left[j] == node["default_left"]
            assert ["None", "Zero", "NaN"][forest.missing_type[j]] == node["missing_type"]
            if forest.is_categorical[j]:
                words = forest.cat_words[forest.cat_start[j] : forest.cat_start[j + 1]]
                members = [c for c in range(32 * len(words)) if int(words[c // 32]) >> c % 32 & 1]
                assert members == [int(c) for c in node["threshold"].split("||")]
            else:
                assert forest.threshold[j] == node["threshold"]
            todo += [node["left_child"], node["right_child"]]


UNSUMMABLE: dict[str, tuple[str, str, str]] = {
    "another objective": ("^objective=.*$", "objective=regression", "objective is regression"),
    "no objective": ("^objective=.*\n", "", "objective is none"),
    "sigmoid": ("sigmoid:1", "sigmoid:2", "sigmoid is 2"),
    "classes": ("^num_class=1", "num_class=3", "multi-class"),
    "trees per iteration": ("^num_tree_per_iteration=1", "num_tree_per_iteration=3", "multi-class"),
    "linear leaves": ("^is_linear=0", "is_linear=1", "linear_tree"),
    "unknown version": ("^version=.*$", "version=v9", "v9"),
}


@pytest.mark.parametrize("what", UNSUMMABLE)
def test_leaves_that_do_not_sum_to_log_odds_are_refused(what: str) -> None:
    pattern, by, reason = UNSUMMABLE[what]
    with pytest.raises(TreesError, match=reason):
        Forest.parse(replaced(pattern, by))


def test_boosters_of_other_kinds_are_refused() -> None:
    import lightgbm as lgb

    data = {"free_raw_data": False, "params": {"verbosity": -1, "linear_tree": True}}
    linear = lgb.train(
        {"objective": "binary", "verbosity": -1, "linear_tree": True}, lgb.Dataset(MATRIX, LABEL, **data), 2
    )
    classes = lgb.train(
        {"objective": "multiclass", "num_class": 3, "verbosity": -1}, lgb.Dataset(MATRIX, np.arange(300) % 3), 2
    )
    ranks = lgb.train({"objective": "lambdarank", "verbosity": -1}, lgb.Dataset(MATRIX, LABEL, group=[300]), 2)
    for booster, reason in ((linear, "linear"), (classes, "multi-class"), (ranks, "lambdarank")):
        with pytest.raises(TreesError, match=reason):
            FrozenTrees.from_booster_text(booster.model_to_string())


DAMAGE: dict[str, tuple[str, str]] = {
    "a tree left out": (r"^Tree=1\n[\s\S]*?\n\n\n(?=Tree=2)", ""),
    "a tree renumbered": ("^Tree=1$", "Tree=7"),
    "a key left out": ("^left_child=.*\n", ""),
    "a key twice": ("^(left_child=.*)\n", r"\1\n\1\n"),
    "a value left out": (r"^(right_child=\S+ ).*?$", r"\1"),
    "leaves that are no number": ("^num_leaves=6", "num_leaves=many"),
    "more leaves than there are": ("^num_leaves=6", "num_leaves=7"),
    "a feature that is not there": (r"^split_feature=\d+", "split_feature=5"),
    "a feature below zero": (r"^split_feature=\d+", "split_feature=-1"),
    "a child that is not there": (r"^left_child=-?\d+", "left_child=99"),
    "a leaf that is not there": (r"^left_child=-?\d+", "left_child=-99"),
    "a tree that bites its tail": (r"^left_child=-?\d+", "left_child=0"),
    "a threshold that is no number": (r"^threshold=\S+", "threshold=nan"),
    "a leaf output that is no number": (r"^leaf_value=\S+", "leaf_value=inf"),
    "a decision of no type": (r"^decision_type=\d+", "decision_type=12"),
    "a category set that is not there": (r"^cat_boundaries=.*$", "cat_boundaries=0 9"),
    "category sets in reverse": (r"^cat_boundaries=0", "cat_boundaries=1"),
    "a word of categories too wide": (r"^cat_threshold=\d+", "cat_threshold=4294967296"),
    "too few feature names": (r"^feature_names=\S+ ", "feature_names="),
    "no trees to the end": ("^end of trees", "end of"),
    "another beginning": ("^tree$", "forest"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found(what: str) -> None:
    with pytest.raises(DamagedError):
        Forest.parse(replaced(*DAMAGE[what]))


def test_splits_that_only_reach_each_other_are_found() -> None:
    text = grow(MATRIX[:, :4], LABEL, 1, num_leaves=4).model_to_string()
    text = replaced("^left_child=.*$", "left_child=-1 2 1", text)
    with pytest.raises(DamagedError, match="not a tree"):
        Forest.parse(replaced("^right_child=.*$", "right_child=-2 -3 -4", text))


def survives(text: str) -> None:
    """Either refused, or trees that place every row without leaving their arrays."""
    try:
        trees = FrozenTrees.from_booster_text(text)
    except (DamagedError, TreesError):
        return
    if trees.schema.names and len(trees.schema.names) < 100:
        matrix = np.resize(MATRIX, (20, len(trees.schema.names)))
        codes = trees.encode_matrix(matrix)
        assert (codes < np.diff(trees.offsets)[:, None]).all()
        np.testing.assert_array_equal(np.stack([trees.encode_row(row) for row in matrix], axis=1), codes)


@given(end=st.integers(0, BODY - 1))
@settings(max_examples=150, deadline=None)
def test_a_booster_cut_short_is_refused(end: int) -> None:
    with pytest.raises((DamagedError, TreesError)):
        Forest.parse(TEXT[:end])


@given(st.lists(st.tuples(st.integers(0, BODY - 1), st.characters(codec="utf-8")), min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_changed_characters_never_lead_astray(changes: list[tuple[int, str]]) -> None:
    text = list(TEXT)
    for place, character in changes:
        text[place] = character
    survives("".join(text))


LINES = [i for i, line in enumerate(TEXT[:BODY].split("\n")) if "=" in line]


@given(
    line=st.sampled_from(LINES),
    word=st.integers(0, 20),
    value=st.one_of(
        st.integers(-(2**70), 2**70).map(str),
        st.integers(-8, 8).map(str),
        st.floats().map(repr),
        st.sampled_from(["", " ", "1_0", "٣", "0x1", "1e400", "\x00", "1 2 3"]),
    ),
)
@settings(max_examples=400, deadline=None)
def test_changed_values_never_lead_astray(line: int, word: int, value: str) -> None:
    lines = TEXT.split("\n")
    key, _, rest = lines[line].partition("=")
    words = rest.split(" ")
    words[word % len(words)] = value
    lines[line] = f"{key}={' '.join(words)}"
    survives("\n".join(lines))


@given(data=st.binary(max_size=200), at=st.integers(0, BODY))
@settings(max_examples=100, deadline=None)
def test_inserted_bytes_never_lead_astray(data: bytes, at: int) -> None:
    files: dict[str, Any] = FrozenTrees.from_booster_text(TEXT).to_files()
    text = files["booster.txt"]
    try:
        FrozenTrees.from_files({**files, "booster.txt": text[:at] + data + text[at:]})
    except (DamagedError, TreesError):
        return
