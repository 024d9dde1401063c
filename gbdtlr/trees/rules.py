"""Rules: each leaf as the conditions a row must meet to fall into it, in words."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from gbdtlr.trees.forest import MISSING_NONE, ZERO, Forest
from gbdtlr.trees.frozen import FrozenTrees

MAX_VALUES = 6


@dataclass
class Condition:
    """What one feature must be: in ``(low, high]``, or one of ``allowed``; ``missing`` if it may be missing too.

    ``ever_missing`` says whether the feature was missing in any row these trees learned from, as far as they tell.
    """

    low: float = -math.inf
    high: float = math.inf
    allowed: set[int] | None = None
    missing: bool = True
    ever_missing: bool = False

    def copy(self) -> Condition:
        """One that can be narrowed further."""
        return replace(self, allowed=None if self.allowed is None else set(self.allowed))


Path = dict[int, Condition]


@dataclass(frozen=True)
class Rules:
    """Rules of all leaves of frozen trees.

    Attributes
    ----------
    first : by feature, categories to name before others where a list of them is cut short
    """

    trees: FrozenTrees
    first: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _kept: dict[int, list[Path]] = field(default_factory=dict)

    @cached_property
    def _forest(self) -> Forest:
        return Forest.parse(self.trees.to_files()["booster.txt"].decode())

    def words(self, code: int) -> str:
        """The rule of a leaf, such as ``temp ≤ 3.5 and carrier is AA or UA``."""
        path = self._path(code)
        return " and ".join(self._condition(feature, each) for feature, each in path.items()) or "every row"

    def key(self, code: int) -> Hashable:
        """The rule in full: leaves have equal keys if and only if the same conditions lead to them."""
        return frozenset(
            (feature, each.low, each.high, None if each.allowed is None else frozenset(each.allowed), each.missing)
            for feature, each in self._path(code).items()
        )

    def features(self, code: int) -> list[str]:
        """Names of the features on the way to a leaf."""
        return [self.trees.schema.features[feature].name for feature in self._path(code)]

    def _path(self, code: int) -> Path:
        t = int(self.trees.offsets.searchsorted(code, "right")) - 1
        if t not in self._kept:
            self._kept[t] = self._paths(t)
        return self._kept[t][code - int(self.trees.offsets[t])]

    def _paths(self, t: int) -> list[Path]:
        forest = self._forest
        first = int(forest.splits[t])
        found: list[Path] = [{} for _ in range(int(self.trees.offsets[t + 1] - self.trees.offsets[t]))]
        if forest.splits[t + 1] == first:  # a tree that is one leaf
            return found
        todo: list[tuple[int, Path]] = [(0, {})]
        while todo:
            node, path = todo.pop()
            for left in (True, False):
                narrowed = self._narrowed(first + node, path, left)
                child = int((forest.left_child if left else forest.right_child)[first + node])
                if child < 0:
                    found[~child] = narrowed
                else:
                    todo.append((child, narrowed))
        return found

    def _narrowed(self, split: int, path: Path, left: bool) -> Path:
        forest = self._forest
        feature = int(forest.split_feature[split])
        condition = path[feature].copy() if feature in path else Condition()
        if forest.is_categorical[split]:
            vocabulary = self.trees.schema.features[feature].vocabulary or ()
            everything = set(range(len(vocabulary) + 1))  # the last is every value outside of the vocabulary
            words = forest.cat_words[int(forest.cat_start[split]) : int(forest.cat_start[split + 1])]
            listed = {32 * i + bit for i, word in enumerate(words.tolist()) for bit in range(32) if word >> bit & 1}
            side = everything & listed if left else everything - listed
            condition.allowed = side if condition.allowed is None else condition.allowed & side
            condition.missing &= not left
        else:
            threshold = float(forest.threshold[split])
            if left:
                condition.high = min(condition.high, threshold)
            else:
                condition.low = max(condition.low, threshold)
            if forest.missing_type[split] == MISSING_NONE:
                goes_left = bool(threshold >= 0)
            else:
                goes_left = bool(forest.default_left[split])
            condition.missing &= goes_left == left
            condition.ever_missing |= bool(forest.missing_type[split] != MISSING_NONE)
        return {**path, feature: condition}

    def _condition(self, feature: int, condition: Condition) -> str:
        spec = self.trees.schema.features[feature]
        if condition.allowed is not None:
            return self._categories(spec.name, spec.vocabulary or (), condition.allowed, condition.missing)
        if math.isinf(condition.low):
            said = f"{spec.name} ≤ {_number(condition.high)}"
        elif math.isinf(condition.high):
            said = f"{spec.name} > {_number(condition.low)}"
        else:
            said = f"{_number(condition.low)} < {spec.name} ≤ {_number(condition.high)}"
        return f"({said} or missing)" if condition.missing and condition.ever_missing else said

    def _categories(self, name: str, vocabulary: tuple[str, ...], allowed: set[int], missing: bool) -> str:
        """The shorter of what it is and what it is not; a missing category is in no list."""
        barred = set(range(len(vocabulary) + 1)) - allowed
        if barred and len(barred) < len(allowed):
            return f"{name} is not {self._list(name, vocabulary, barred)}" + ("" if missing else " nor missing")
        if not allowed:
            return f"{name} is missing" if missing else f"{name} is none of the known"
        said = f"{name} is {self._list(name, vocabulary, allowed)}"
        return f"({said} or missing)" if missing else said

    def _list(self, name: str, vocabulary: tuple[str, ...], values: set[int]) -> str:
        names = [vocabulary[v] if v < len(vocabulary) else "a rare value" for v in sorted(values)]
        order = {value: i for i, value in enumerate(self.first.get(name, ()))}
        said = sorted(names, key=lambda value: order.get(value, len(order)))
        if len(said) > MAX_VALUES:
            said = [*said[: MAX_VALUES - 1], f"{len(said) - MAX_VALUES + 1} more"]
        return f"{', '.join(said[:-1])} or {said[-1]}" if len(said) > 1 else said[0]


def _number(value: float) -> str:
    return "0" if abs(value) <= ZERO else f"{value:.6g}"
