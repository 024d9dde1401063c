"""Methods that learn one sample at a time, each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from gbdtlr.compute.parts import Parts
from gbdtlr.config import HeadConfig
from gbdtlr.head import Codes, DenseColumns, Layout, OnlineHead, Rule, WideColumns, concatenate
from gbdtlr.head.dense import NO_DENSE
from gbdtlr.jobs.methods.method import NOTHING, Continue, Fitted, Lesson
from gbdtlr.jobs.then import Served
from gbdtlr.metrics import Quality
from gbdtlr.release import Release

# Strengths of L1 that leave about the same loss; that of FTRL does not grow with the number of samples.
L1 = {"ftrl": 0.1, "rda": 1e-6, "fobos": 1e-6}


def rule_of(head: HeadConfig) -> Rule:
    """The rule of an online method."""
    online = head.online
    l1 = L1[head.method] if online.l1 is None else online.l1
    return Rule(head.method, online.alpha, online.beta, l1, online.l2, online.min_occurrences)


@dataclass(frozen=True)
class Online:
    """One sample at a time, in the order in which labels became known."""

    rule: Rule
    wide: WideColumns
    dense: DenseColumns = NO_DENSE

    def full(self, lesson: Lesson) -> Fitted:
        head = OnlineHead(self.rule, Layout.of(lesson.trees, self.wide, self.dense))
        return _learned(head, lesson.rows, lesson.unfinal)

    def on(self, base: Release) -> Continue | None:
        head = base.online()
        if head is None or head.rule != self.rule or not head.wide.same_ids(self.wide) or head.dense != self.dense:
            return None

        def learn(
            news: Parts[Codes],
            as_of: datetime,  # noqa: ARG001 - as of the others, as the next
            served: Sequence[Served],  # noqa: ARG001
            unfinal: Parts[Codes] = NOTHING,
        ) -> Fitted:
            return _learned(head, news, unfinal)

        return learn


def _learned(head: OnlineHead, samples: Parts[Codes], unfinal: Parts[Codes]) -> Fitted:
    quality = Quality()
    if len(samples):
        codes = _in_order(samples)
        quality = Quality.of(head.learn_many(codes), codes.label, codes.weight)
    state, published = head.to_bytes(), head
    if len(unfinal):
        published = OnlineHead.from_bytes(state, head.layout)
        published.learn_many(_in_order(unfinal))
    return Fitted(published.head(), {"online.npz": state}, {"one_by_one": quality.as_dict(), **sparsity(head)})


def _in_order(samples: Parts[Codes]) -> Codes:
    """All of them in one place, in the order in which their labels become known: they are learned one at a time."""
    codes = concatenate(list(samples))
    return codes.take(np.argsort(codes.known_us, kind="stable"))


def sparsity(head: OnlineHead) -> dict[str, int]:
    """How many samples the head has learned, and how many weights are not at their anchor."""
    leaves, _, wide, _ = head.distances()
    found = {"learned": head.n_learned, "moved_leaves": int(np.count_nonzero(leaves)), "wide_weights": len(wide)}
    if head.dense.n:
        found["moved_dense"] = int(np.count_nonzero(head.dense_distances()))
    return found
