"""Explaining: rules that hold for exactly the rows of their leaf, terms that add up, moves that are measured."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "replay"))
from replay_kit import DAY, HOUR, START, config, stream, write

from gbdtlr import jobs
from gbdtlr.errors import NoReleaseError, SamplesError
from gbdtlr.inspect.diff import diff
from gbdtlr.inspect.explain import explain, row_of
from gbdtlr.inspect.importance import importance
from gbdtlr.inspect.rows import window_samples
from gbdtlr.metrics import sigmoid
from gbdtlr.release import Release
from gbdtlr.store import Store
from gbdtlr.trees import FrozenTrees, Rules

AS_OF = START + 2 * DAY


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Trees and two updates on them, then new trees."""
    folder = tmp_path_factory.mktemp("explain")
    columns = stream()
    columns["x"][::17] = np.nan
    cfg = config(write(folder, columns)).replace(store=str(folder / "store"))
    jobs.train_trees(cfg, AS_OF)
    for hours in (4, 8):
        assert jobs.update_lr(cfg, AS_OF + hours * HOUR).status == "published"
    jobs.train_trees(cfg, AS_OF + DAY)
    return Store.open(cfg.store)


def release(store: Store, number: int) -> Release:
    return Release.load(store, store.entry(number))


def holds(rules: Rules, code: int, row: dict[str, Any]) -> bool:
    """Whether the row meets the leaf's conditions, worked out from what they say."""
    features = rules.trees.schema.features
    for feature, condition in rules._path(code).items():
        value = row[features[feature].name]
        if value is None or (isinstance(value, float) and math.isnan(value)):
            if not condition.missing:
                return False
        elif condition.allowed is not None:
            vocabulary = features[feature].vocabulary or ()
            number = vocabulary.index(value) if value in vocabulary else len(vocabulary)
            if number not in condition.allowed:
                return False
        elif not condition.low < value <= condition.high:
            return False
    return True


def test_a_rule_holds_for_the_rows_of_its_leaf_and_for_no_others(store: Store) -> None:
    live = release(store, 3)
    rules, trees = Rules(live.trees), live.trees
    samples = window_samples(live)
    assert samples is not None
    table = samples.table.slice(0, 100)
    leaves = trees.encode(table)
    for i, row in enumerate(table.to_pylist()):
        for t in range(trees.n_trees):
            first = int(trees.offsets[t])
            held = [code - first for code in range(first, int(trees.offsets[t + 1])) if holds(rules, code, row)]
            assert held == [leaves[t, i]]


TREES = """tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=1
objective=binary sigmoid:1
feature_names=a b
feature_infos=[0:9] [0:9]
tree_sizes=1

Tree=0
num_leaves=3
num_cat=0
split_feature=0 1
split_gain=1 1
threshold=2.5 0
decision_type=10 2
left_child=1 -1
right_child=-2 -3
leaf_value=0.1 0.2 0.3
leaf_weight=1 1 1
leaf_count=1 1 1
internal_value=0 0
internal_weight=0 0
internal_count=2 1
is_linear=0
shrinkage=1


end of trees
"""


def test_words() -> None:
    rules = Rules(FrozenTrees.from_booster_text(TREES))
    assert rules.words(0) == "(a ≤ 2.5 or missing) and b ≤ 0", "b was never missing when these trees learned"
    assert rules.words(1) == "a > 2.5"
    assert rules.words(2) == "(a ≤ 2.5 or missing) and b > 0"
    assert rules.features(2) == ["a", "b"]


def test_words_of_categories() -> None:
    vocabulary = tuple("ABCDEFGHIJ")  # the number 10 is every other value
    rules = Rules(FrozenTrees.from_booster_text(TREES), {"site": ["G", "C"]})

    def words(allowed: str, missing: bool, rare: bool = False) -> str:
        numbers = {vocabulary.index(each) for each in allowed} | ({10} if rare else set())
        return rules._categories("site", vocabulary, numbers, missing)

    assert words("A", False) == "site is A"
    assert words("AC", True) == "(site is C or A or missing)"
    assert words("ABCDEFGH", True, rare=True) == "site is not I or J"
    assert words("ABCDEFGH", False, rare=True) == "site is not I or J nor missing"
    assert words("", False, rare=True) == "site is a rare value"
    assert words("ABCDEFGHIJ", True) == "site is not a rare value"
    assert words("", True) == "site is missing"
    many = tuple(f"s{i:02d}" for i in range(40))
    assert rules._categories("id", many, set(range(12)), False) == "id is s00, s01, s02, s03, s04 or 7 more"
    first = Rules(rules.trees, {"id": ["s11", "s39", "s10"]})
    assert first._categories("id", many, set(range(12)), False) == "id is s11, s10, s00, s01, s02 or 7 more"


def test_the_terms_of_a_row_add_up_to_its_margin(store: Store) -> None:
    live = release(store, 3)
    samples = window_samples(live)
    assert samples is not None
    for row in samples.table.slice(0, 20).to_pylist():
        found = explain(live.model, row)
        assert sum(term["weight"] for term in found["terms"]) == pytest.approx(found["margin"], abs=1e-9)
        assert found["margin"] == live.model.row_margin(row)
        assert found["probability"] == pytest.approx(1 / (1 + math.exp(-found["margin"])))
        sizes = [abs(term["weight"]) for term in found["terms"]]
        assert sizes == sorted(sizes, reverse=True)
        assert f"user is {row['user']}" in [term["what"] for term in found["terms"]]


def test_by_tree_each_leaf_and_bucket_is_told_by_its_number(store: Store) -> None:
    live = release(store, 3)
    samples = window_samples(live)
    assert samples is not None
    leaves, buckets = live.trees.encode(samples.table), live.head.wide.buckets(samples.table)
    for i, row in enumerate(samples.table.slice(0, 20).to_pylist()):
        terms = explain(live.model, row, by_tree=True)["terms"]
        n_trees, n_wide = len(leaves), len(buckets)
        assert [(term["tree"], term["leaf"]) for term in terms[:n_trees]] == list(enumerate(leaves[:, i].tolist()))
        assert [term["bucket"] for term in terms[n_trees:-1]] == buckets[:, i].tolist()
        assert [term["column"] for term in terms[n_trees:-1]] == list(live.head.wide.names)
        assert len(terms) == n_trees + n_wide + 1
        assert terms[-1] == {"what": "every row (bias)", "weight": live.head.bias}
        assert sum(term["weight"] for term in terms) == pytest.approx(live.model.row_margin(row), abs=1e-9)


def test_moves_are_between_the_last_two_releases_and_their_effect_is_measured(store: Store) -> None:
    found = diff(store, 2, 3, top=1000)
    old, new = release(store, 2), release(store, 3)
    samples = window_samples(new)
    assert samples is not None
    assert (found["a"], found["b"], found["rows"], found["trees_differ"]) == (2, 3, len(samples), False)
    margin = new.model.margin(samples.table)
    assert found["probability_b"] == pytest.approx(sigmoid(margin).mean())
    assert found["probability_a"] == pytest.approx(sigmoid(old.model.margin(samples.table)).mean())
    (ours,) = (move for move in found["moves"] if move["kind"] == "bias")
    assert (ours["before"], ours["after"], ours["rows"]) == (old.head.bias, new.head.bias, len(samples))
    put_back = sigmoid(margin - new.head.bias + old.head.bias)
    assert ours["effect"] == pytest.approx((sigmoid(margin) - put_back).mean())
    users = [move for move in found["moves"] if move["kind"] == "id"]
    counts = dict(zip(*np.unique(samples.table["user"].to_numpy(), return_counts=True), strict=True))
    assert users
    for move in users:
        assert move["rows"] == counts[int(move["what"].removeprefix("user is "))]
    change = sum(move["rows"] * (move["after"] - move["before"]) for move in found["moves"])
    assert change == pytest.approx((margin - old.model.margin(samples.table)).sum(), abs=1e-6)


def test_each_move_of_a_rule_is_what_lightgbm_and_the_two_heads_make_of_it(store: Store) -> None:
    import lightgbm as lgb

    found = diff(store, 2, 3, top=1000)
    old, new = release(store, 2), release(store, 3)
    samples, rules = window_samples(new), Rules(new.trees)
    assert samples is not None
    booster = lgb.Booster(model_str=new.trees.to_files()["booster.txt"].decode())
    leaves = booster.predict(new.trees.schema.matrix(samples.table), pred_leaf=True)
    margin, rows = new.model.margin(samples.table), samples.table.to_pylist()
    expected: dict[Any, list[float]] = {}
    for t in range(new.trees.n_trees):
        for leaf in np.unique(leaves[:, t]):
            code = int(new.trees.offsets[t] + leaf)
            inside = leaves[:, t] == leaf
            assert inside.tolist() == [holds(rules, code, row) for row in rows]
            change = new.head.leaf_weights[code] - old.head.leaf_weights[code]
            sums = expected.setdefault((rules.words(code), inside.tobytes()), [0.0, int(inside.sum())])
            sums[0] += change
    told = [move for move in found["moves"] if move["kind"] == "leaf"]
    assert len(told) == len(expected), "leaves with one rule move together"
    for (words, inside), (change, n_rows) in expected.items():
        touched = np.frombuffer(inside, bool)
        effect = (sigmoid(margin) - sigmoid(margin - change * touched)).mean()
        assert any(
            move["what"] == words
            and move["rows"] == n_rows
            and move["after"] - move["before"] == pytest.approx(change, abs=1e-12)
            and move["effect"] == pytest.approx(effect, abs=1e-12)
            for move in told
        ), words
    effects = [abs(move["effect"]) for move in told]
    assert effects == sorted(effects, reverse=True)


def test_the_live_release_is_told_against_the_one_before_and_new_trees_are_not_compared(store: Store) -> None:
    found = diff(store, top=3)
    assert (found["a"], found["b"], found["trees_differ"]) == (3, 4, True)
    assert [move["kind"] for move in found["moves"]] == ["bias", "id", "id", "id"]


def test_importance_knows_what_the_label_depends_on(store: Store) -> None:
    live = release(store, 3)
    samples = window_samples(live)
    assert samples is not None
    found = dict(importance(live.model, live.model.encode(samples)))
    assert sum(found.values()) == pytest.approx(1)
    assert set(found) <= {"x", "z", "site", "user"}
    assert max(found, key=lambda name: found[name]) == "x"


def test_without_its_samples_a_release_can_still_be_told_from_another(tmp_path: Path) -> None:
    path = write(tmp_path, stream())
    cfg = config(path).replace(store=str(tmp_path / "store"))
    jobs.train_trees(cfg, AS_OF)
    jobs.update_lr(cfg, AS_OF + 4 * HOUR)
    path.unlink()
    found = diff(Store.open(cfg.store))
    assert (found["rows"], found["moves"]) == (0, [])


def test_a_release_is_told_whatever_is_now_refused_in_its_config(store: Store) -> None:
    live = release(store, 3)
    config = live.head_manifest["config"]
    head = {**config["head"], "method": "refit", "online": {"min_occurrences": 3}, "gone": 1}
    made = replace(live, head_manifest={**live.head_manifest, "config": {**config, "head": head}})
    expected, found = window_samples(live), window_samples(made)
    assert expected is not None
    assert found is not None
    np.testing.assert_array_equal(found.event_us, expected.event_us)


def test_a_row_of_a_file(store: Store, tmp_path: Path) -> None:
    columns = stream()
    path = write(tmp_path, columns)
    row = row_of(release(store, 3).model, str(path), 7)
    assert (row["site"], row["x"]) == (columns["site"][7], columns["x"][7])
    with pytest.raises(SamplesError, match="has 2,000 rows, so there is no row 2000"):
        row_of(release(store, 3).model, str(path), 2000)


def test_nothing_to_compare_with(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NoReleaseError, match="no release before 1"):
        diff(store, None, 1)
    with pytest.raises(NoReleaseError, match="train-trees"):
        diff(Store.open(str(tmp_path)))
