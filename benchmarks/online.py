"""Online heads: McMahan et al.'s Table 1 on the click stream, and samples per second beside Vowpal Wabbit and river.

Trees are grown on the first two days; every sample after them is predicted, then learned, once, in order of maturity.

*Table 1* (McMahan et al. 2013) compares the non-zero weights of four methods at about the same AucLoss (1 - AUC of
the predictions made before each sample was learned). Here each method's strength (L1, or the k of OGD-Count, which
learns an id from its k-th occurrence on) is swept. FTRL-Proximal is read where it is sparsest within 0.2% of its least
AucLoss, the others where they have the same AucLoss, between the two nearest strengths. One that never comes down to it
is read where it is sparsest within 0.2% of its own least AucLoss, and the line says so. That is RDA, both times: equal
loss is out of its reach here.

The table is printed twice. *Leaves and ids* is what gbdtlr learns: trees tell most, FTRL-Proximal drops nearly all ids
at no loss, and what the others keep is large beside the little it keeps. With *ids alone*, as in the paper, it has to
keep 17 times as many, and the distances come down to the paper's size; FOBOS even keeps fewer than FTRL-Proximal. That
is no law: with a tenth of the samples (``--scale 0.1``) the distances are small with leaves and large with ids alone.

*Speed*: every system learns the same codes, one leaf per tree and the hashed ids, in one process, and the predictions
of before each sample give the log loss: Vowpal Wabbit's own progressive loss, and sums of our own for gbdtlr and river.
Making an empty model, with memory touched for the first time, is in everybody's time. The learning rate of each is the
best for it, on these samples, of one grid; L1 and beta are the same. What differs:

- Vowpal Wabbit reads its own binary cache, not text, and does so in a second thread beside the learner: it uses one and
  a half processors, gbdtlr one. Whole-numbered features are their own places: with 21 bits (``-b``), no two share a
  weight, as with gbdtlr. It keeps float32, gbdtlr float64. It shrinks its bias with the weights and starts from zero,
  gbdtlr from the trees.
- river reads dicts that were made beforehand. It is too slow for all samples and learns the first of them; gbdtlr is
  measured again on those.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import clickstream
from benchmarks.harness import OURS, Bench, installed
from gbdtlr.config import Config
from gbdtlr.head import Codes, Layout, OnlineHead, Rule, WideColumns
from gbdtlr.metrics import Quality, auc
from gbdtlr.model import Model
from gbdtlr.samples import Samples
from gbdtlr.times import to_us
from gbdtlr.trees import train

CONFIG = "configs/clickstream.toml"
WIDE = ("campaign", "site", "user", "campaign:site", "campaign:user")
DAYS, TREE_DAYS = 7, 2
ROWS, RIVER_ROWS = 400_000, 50_000
BUCKETS, SPEED_BUCKETS = 2**22, 2**18

PAPER = {"ftrl": (0.0, 0.0), "rda": (0.03, 0.006), "fobos": (0.38, 0.0), "ogd-count": (2.16, 0.0)}
NAMES = {"ftrl": "FTRL-Proximal", "rda": "RDA", "fobos": "FOBOS", "ogd-count": "OGD-Count"}
ALPHAS, ALPHAS_OF_IDS = (0.01, 0.02, 0.05, 0.1), (0.2, 0.5, 1.0)
L1 = 0.1
STRENGTHS: dict[str, Sequence[float]] = {
    "ftrl": (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0),
    "rda": (1e-6, 3e-6, 5e-6, 1e-5, 2e-5, 4e-5, 1e-4),
    "fobos": (1e-7, 3e-7, 1e-6, 3e-6, 5e-6, 1e-5, 2e-5),
    "ogd-count": (1, 2, 3, 5, 8, 13, 21, 34, 55, 90, 150),
}


@dataclass(frozen=True)
class Case:
    """What is learned: coded samples in order of maturity, on trees of so many leaves with these outputs."""

    offsets: NDArray[np.int64]
    anchor: NDArray[np.float64]
    wide: WideColumns
    codes: Codes

    def head(self, rule: Rule) -> OnlineHead:
        """A head that has learned nothing."""
        return OnlineHead(rule, Layout(self.offsets, self.anchor, self.wide))

    def ids_alone(self) -> Case:
        """The same samples without their leaves."""
        none = replace(self.codes, leaves=self.codes.leaves[:0])
        return Case(self.offsets[:1], self.anchor[:0], self.wide, none)


@dataclass(frozen=True)
class Point:
    """What one run came to."""

    strength: float
    alpha: float
    non_zeros: int
    auc_loss: float
    loss: float


def case_of(n_rows: int, wide: Sequence[str] = WIDE, n_buckets: int = BUCKETS) -> Case:
    """The click stream, coded."""
    config = Config.load(CONFIG)
    samples_config = replace(config.samples, wide=tuple(wide))
    table = clickstream.generate(n_rows, DAYS)
    event_us = table["ts"].cast("int64").to_numpy()
    known_us = event_us + 3_600_000_000
    samples = Samples(
        table.select(list(samples_config.features)),
        table["label"].to_numpy(),
        np.ones(len(table)),
        event_us,
        known_us,
    )
    early = event_us < to_us(clickstream.START) + TREE_DAYS * 86_400_000_000
    trees = train(samples.filter(early), config.trees, samples_config, threads=None, progress=None)
    columns = WideColumns(tuple(wide), n_buckets)
    return Case(trees.offsets, trees.leaf_values, columns, Model.of(trees, columns).encode(samples.filter(~early)))


def rule_of(method: str, alpha: float, strength: float) -> Rule:
    """The rule of a method of the table; OGD-Count is FOBOS without a threshold: plain per-coordinate SGD."""
    if method == "ogd-count":
        return Rule("fobos", alpha, 1.0, 0.0, 0.0, int(strength))
    return Rule(method, alpha, 1.0, strength, 0.0)


def learned(case: Case, rule: Rule, strength: float = 0.0) -> Point:
    """One pass over all samples."""
    head = case.head(rule)
    margin = head.learn_many(case.codes)
    leaves, index, _, _ = head.distances()
    area = auc(margin, case.codes.label)
    quality = Quality.of(margin, case.codes.label)
    n = int(np.count_nonzero(leaves)) + len(index)
    return Point(strength, rule.alpha, n, 1 - (area or 0.5), quality.log_loss or math.nan)


def at_equal_loss(points: Sequence[Point], target: float) -> tuple[float, float] | None:
    """Fewest non-zeros at AucLoss ``target`` or less, between neighbours on a curve too; None: none gets there."""
    found = [(float(point.non_zeros), point.auc_loss) for point in points if point.auc_loss <= target]
    for alpha in {point.alpha for point in points}:
        curve = sorted((p for p in points if p.alpha == alpha), key=lambda p: p.non_zeros)
        for sparse, dense in pairwise(curve):
            low, high = sorted((sparse.auc_loss, dense.auc_loss))
            if low <= target <= high and high > low:
                share = (sparse.auc_loss - target) / (sparse.auc_loss - dense.auc_loss)
                logs = (1 - share) * math.log(max(sparse.non_zeros, 1)) + share * math.log(max(dense.non_zeros, 1))
                found.append((math.exp(logs), target))
    return min(found, default=None)


def sparsest(points: Sequence[Point]) -> Point:
    """As sparse as it gets without a visible loss, the paper's trade: within 0.2% of the least AucLoss."""
    least = min(point.auc_loss for point in points)
    return min((p for p in points if p.auc_loss <= least * 1.002), key=lambda p: p.non_zeros)


def table_1(bench: Bench, what: str, case: Case, alphas: Sequence[float]) -> None:
    """Non-zeros and AucLoss of the four methods, beside the paper's."""
    curves = {
        method: [
            learned(case, rule_of(method, alpha, strength), strength)
            for alpha in alphas
            for strength in STRENGTHS[method]
        ]
        for method in NAMES
    }
    base = sparsest(curves["ftrl"])
    for method, name in NAMES.items():
        own = sparsest(curves[method])
        equal = at_equal_loss(curves[method], base.auc_loss) if method != "ftrl" else None
        non_zeros, loss = equal or (float(own.non_zeros), own.auc_loss)
        paper_non_zeros, paper_loss = PAPER[method]
        more = {
            "non-zeros": round(non_zeros),
            "AucLoss": round(loss, 5),
            "non-zeros vs FTRL": f"{non_zeros / base.non_zeros - 1:+.0%}",
            "AucLoss vs FTRL": f"{loss / base.auc_loss - 1:+.1%}",
            "read": "at FTRL's AucLoss" if equal else "at its own least",
            "paper": f"{paper_non_zeros:+.0%} / {paper_loss:+.1%}",
        }
        begin = time.perf_counter()
        learned(case, rule_of(method, alphas[0], STRENGTHS[method][0]))
        bench.add(f"Table 1, {what}, {len(case.codes)} samples", name, [time.perf_counter() - begin], None, more)


def speed(bench: Bench, case: Case) -> None:
    """Seconds and progressive log loss of each system, its learning rate the best of the same grid."""
    alphas = (0.005, 0.02, 0.05, 0.1)

    def ours(of: Case) -> float:
        return min(alphas, key=lambda each: learned(of, _ftrl(each)).loss)

    features = f"{len(case.codes.leaves)} leaves and {len(case.wide.names)} ids"
    with tempfile.TemporaryDirectory() as folder:
        peer = None
        if installed("vowpalwabbit"):
            arguments = _vw_arguments(case, Path(folder))
            best = min(alphas, key=lambda each: _vowpal_wabbit(arguments, each))
            peer = partial(_vowpal_wabbit, arguments, best)
        _compare(bench, f"{features}, beside Vowpal Wabbit", case, ours(case), "vowpal wabbit --ftrl", peer)
    few = replace(case, codes=case.codes.take(np.arange(min(RIVER_ROWS, len(case.codes)))))
    peer = None
    if installed("river"):
        rows = _river_rows(few)
        best = min(alphas, key=lambda each: _river(rows, each))
        peer = partial(_river, rows, best)
    _compare(bench, f"{features}, beside river", few, ours(few), "river FTRLProximal", peer)


def _compare(bench: Bench, name: str, case: Case, alpha: float, peer: str, work: Callable[[], float] | None) -> None:
    begin = len(bench.rows)
    bench.compare(
        f"{len(case.codes)} samples of {name}",
        {OURS: lambda: _learn_only(case, alpha), peer: work},
        tell=lambda _, loss: {"log loss": round(loss, 5)},
    )
    for row in bench.rows[begin:]:
        if row["seconds"]:
            row["samples/s"] = round(len(case.codes) / row["seconds"])


def _ftrl(alpha: float) -> Rule:
    return Rule("ftrl", alpha, 1.0, L1, 0.0)


def _learn_only(case: Case, alpha: float) -> float:
    """Progressive log loss: what Vowpal Wabbit and river compute too while they learn."""
    margin = case.head(_ftrl(alpha)).learn_many(case.codes)
    return Quality.of(margin, case.codes.label).log_loss or math.nan


def _features(codes: Codes, offsets: NDArray[np.int64]) -> Iterator[list[int]]:
    """Whole-numbered features of each sample: its leaves, then its ids."""
    leaves = codes.leaves + offsets[:-1, None]
    ids = codes.buckets.astype(np.int64) + offsets[-1] + SPEED_BUCKETS * np.arange(len(codes.buckets))[:, None]
    yield from np.concatenate([leaves, ids]).T.tolist()


def _vw_arguments(case: Case, folder: Path) -> str:
    """Vowpal Wabbit's arguments for its own binary cache of the samples, written beforehand."""
    from vowpalwabbit import Workspace

    data = folder / "codes.vw"
    with data.open("w") as out:
        for row, label in zip(_features(case.codes, case.offsets), case.codes.label, strict=True):
            out.write(f"{1 if label else -1} | {' '.join(map(str, row))}\n")
    arguments = (
        f"--data {data} --cache_file {folder / 'codes.cache'} -b 21 --holdout_off --loss_function logistic --quiet"
    )
    Workspace(arguments).finish()
    return arguments


def _vowpal_wabbit(arguments: str, alpha: float) -> float:
    from vowpalwabbit import Workspace

    workspace = Workspace(f"--ftrl --ftrl_alpha {alpha} --ftrl_beta 1 --l1 {L1} {arguments}")
    loss: float = workspace.get_sum_loss() / workspace.get_weighted_examples()
    workspace.finish()
    return loss


def _river_rows(case: Case) -> list[tuple[dict[int, int], bool]]:
    features = _features(case.codes, case.offsets)
    return [(dict.fromkeys(row, 1), bool(label)) for row, label in zip(features, case.codes.label, strict=True)]


def _river(rows: list[tuple[dict[int, int], bool]], alpha: float) -> float:
    from river import linear_model, optim

    model = linear_model.LogisticRegression(optim.FTRLProximal(alpha=alpha, beta=1.0, l1=L1, l2=0.0))
    loss = 0.0
    for features, label in rows:
        p = min(max(model.predict_proba_one(features)[True], 1e-12), 1 - 1e-12)
        loss -= math.log(p if label else 1 - p)
        model.learn_one(features, label)
    return loss / len(rows)


def run(bench: Bench) -> None:
    case = case_of(bench.size(ROWS))
    few = WideColumns(case.wide.names, SPEED_BUCKETS)  # divides the others: the same ids share a bucket or more
    speed(bench, replace(case, wide=few, codes=replace(case.codes, buckets=case.codes.buckets % SPEED_BUCKETS)))
    table_1(bench, "leaves and ids", case, ALPHAS)
    table_1(bench, "ids alone", case.ids_alone(), ALPHAS_OF_IDS)
