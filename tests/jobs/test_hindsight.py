"""Hindsight: a new store knows what its window could tell, and where features say nothing, that costs nothing."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest
from jobs_kit import DAY0, at, config_of, write_stream

from gbdtlr.compute import threads
from gbdtlr.head import Record, fit_candidates, pieces
from gbdtlr.head.fit.candidates import names_of
from gbdtlr.head.ridges import ID
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.jobs.grid import prior_of, ridges_for, settings_of
from gbdtlr.jobs.hindsight import FITS, judged
from gbdtlr.jobs.methods import wide_of
from gbdtlr.metrics import Quality
from gbdtlr.model import Model
from gbdtlr.release import Release
from gbdtlr.replay.rows import read_all
from gbdtlr.store import Store
from gbdtlr.times import from_us, to_us
from gbdtlr.trees import train

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def noise(rate):
    """Labels that nothing says anything about."""

    def labels(columns, rng):
        return {**columns, "label": (rng.random(len(columns["label"])) < rate).astype(np.int8)}

    return labels


def hindsighted(folder, store="store", **head):
    """Config of the stream with hindsight on two half-lives."""
    return config_of(folder, str(folder / store), **{"half_lives": ["6h", "4d"], "hindsight": True, **head})


def record_of(config):
    release = Release.live(Store.open(config.store))
    return release.fits.record


def served(config, first, last, every):
    """Quality of what was live on the rows of the next hours, from trees at ``first`` on; releases there are."""
    quality, moment, release = Quality(), first, None
    while moment < last:
        result = (train_trees if moment == first else update_lr)(config, moment)
        assert result.status in ("published", "unchanged"), result.reason
        release = Release.live(Store.open(config.store))
        samples = read_all(config.samples, moment, moment + every)
        quality = quality + release.model.judge(pieces([release.model.encode(samples)]))
        moment += every
    return quality


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with nine days of clicks, that nobody changes."""
    folder = tmp_path_factory.mktemp("past")
    write_stream(folder)
    return folder


@pytest.fixture(scope="module")
def coded(folder):
    """Config whose labels come hours late, its samples of six days, trees of the first four, and codes."""
    config = hindsighted(folder)
    config = config.replace(samples=dataclasses.replace(config.samples, label_delay=5 * HOUR))
    samples = read_all(config.samples, DAY0, at(days=6))
    samples = samples.filter(samples.known_us <= to_us(at(days=6)))
    older = samples.filter(samples.known_us <= to_us(at(days=4)))
    model = Model.of(train(older, config.trees, config.samples, threads=1), wide_of(config))
    return config, model, model.encode(samples)


class TestJudged:
    """The record is that of the rows after each fit, by what was fitted on what was known at the fit."""

    def test_as_by_a_loop_over_rows(self, coded):
        config, model, codes = coded
        head, layout, since, as_of = config.head, model.head.layout, at(days=4), at(days=6)
        found = judged(pieces([codes]), layout, head, to_us(since), as_of)
        last = codes.event_us.max() + 1
        bounds = [to_us(since) + (last - to_us(since)) * k // FITS for k in range(FITS + 1)]
        settings, prior, live, quality = settings_of(head), prior_of(head), [], Quality()
        record = Record.blank(names_of(settings), since)
        for start, stop in pairwise(bounds):
            rows = (codes.known_us <= start) & (codes.event_us >= start - head.window / timedelta(microseconds=1))
            before = live[-1][0] if live else None
            moment = from_us(int(start))
            own, ridges = pieces([codes.take(rows)]), ridges_for(layout, settings, prior, before)
            live.append((fit_candidates(own, layout, settings, moment, before, ridges, prior), record.weights))
            until = to_us(as_of) if stop == last else stop
            told = []
            for (candidates, weights), begin, end in zip(live, bounds, bounds[1:], strict=False):
                rows = (codes.event_us >= begin) & (codes.event_us < end)
                rows &= (codes.known_us > start) & (codes.known_us <= until)
                own = codes.take(rows)
                told.append((pieces([own]), candidates))
                quality = quality + Quality.of(candidates.margins(own) @ weights, own.label, own.weight)
            record = record.learn(told, from_us(int(until)), head.blend_half_life)
        np.testing.assert_allclose(found.fits.record.curvature, record.curvature, rtol=1e-3)
        np.testing.assert_allclose(found.fits.record.weights, record.weights, atol=1e-3)
        np.testing.assert_allclose(found.fits.candidates.found.values, live[-1][0].found.values, rtol=1e-3)
        assert found.quality.rows == quality.rows == ((codes.event_us >= to_us(since)).sum())
        assert found.quality.loss == pytest.approx(quality.loss, rel=1e-4)

    def test_the_same_bytes_whatever_the_threads(self, coded):
        config, model, codes = coded
        records = []
        for n in (1, 2):
            with threads.limited(n):
                parts = pieces([codes])
                records.append(judged(parts, model.head.layout, config.head, to_us(at(days=4)), at(days=6)).fits.record)
        assert records[0].to_dict() == records[1].to_dict()


class TestTrainTrees:
    """Hindsight is taken once, before the first release, and said."""

    def test_a_first_release_knows_what_its_window_could_tell(self, folder, tmp_path):
        events = []
        config = hindsighted(folder).replace(store=str(tmp_path / "store"))
        result = train_trees(config, at(days=5), on_event=lambda name, **fields: events.append((name, fields)))
        names = [name for name, _ in events]
        assert names.index("head.hindsight.begin") < names.index("head.hindsight"), "it takes long, and compiles"
        told = dict(events)["head.hindsight"]
        assert (told["trees"], told["older"], told["rows"]) == (5, 1406, 475)
        assert result.metrics["hindsight"]["rows"] == 475  # a quarter of what is known of four days
        assert result.metrics["hindsight"]["ne"] < 0.95
        weights = dict(zip(record_of(config).names, record_of(config).weights, strict=True))
        assert weights["background"] < 0.1
        candidates = Release.live(Store.open(config.store)).fits.candidates
        assert (candidates.ridges.of("wide id") != ID).all()  # what hindsight has found
        events.clear()
        for job, hours in ((update_lr, 126), (train_trees, 132)):
            job(config, at(hours=hours), on_event=lambda name, **fields: events.append((name, fields)))
        assert "head.hindsight" not in dict(events)

    @pytest.mark.parametrize(
        ("head", "guard"),
        [({"hindsight": False}, {}), ({}, {"min_samples": 700})],
        ids=["off", "few"],
    )
    def test_none_where_it_is_off_or_rows_are_few(self, folder, tmp_path, head, guard):
        config = hindsighted(folder, **head).replace(store=str(tmp_path / "store"))
        config = config.replace(guard=dataclasses.replace(config.guard, **guard))
        result = train_trees(config, at(days=5))
        assert result.status == "published"
        assert "hindsight" not in result.metrics
        assert not record_of(config).curvature.any()

    def test_none_where_the_older_part_has_labels_of_one_class(self, tmp_path):
        def late(columns, _):
            return {**columns, "label": columns["label"] * np.array([moment >= at(days=4) for moment in columns["ts"]])}

        write_stream(tmp_path, late, days=5)
        result = train_trees(hindsighted(tmp_path), at(days=5), force=True)
        assert result.status == "published"
        assert "hindsight" not in result.metrics

    def test_a_changed_grid_with_new_trees_has_a_record_of_its_own(self, folder, tmp_path):
        config = hindsighted(folder).replace(store=str(tmp_path / "store"))
        train_trees(config, at(days=5))
        other = config.replace(head=dataclasses.replace(config.head, l2=(3.0, 100.0)))
        result = train_trees(other, at(days=6))
        assert result.metrics["hindsight"]["rows"] == 475
        assert record_of(other).names == tuple(names_of(settings_of(other.head)))


class TestUpdate:
    """A changed grid is judged on the live trees, on what these have not seen."""

    def test_a_changed_grid_grows_nothing(self, folder, tmp_path):
        config = hindsighted(folder).replace(store=str(tmp_path / "store"))
        train_trees(config, at(days=5))
        events = []
        other = config.replace(head=dataclasses.replace(config.head, l2=(3.0, 100.0)))
        result = update_lr(other, at(days=6), on_event=lambda name, **fields: events.append((name, fields)))
        assert result.status == "published", result.reason
        told = [fields for name, fields in events if name == "head.hindsight"]
        assert told[0]["rows"] == 460
        assert "trees" not in told[0]
        assert result.metrics["hindsight"]["rows"] == 460
        assert len(set(record_of(other).weights.round(3))) > 2

    def test_trees_that_have_seen_all_but_a_few_rows_tell_nothing(self, folder, tmp_path):
        config = hindsighted(folder).replace(store=str(tmp_path / "store"))
        train_trees(config, at(days=5))
        other = config.replace(head=dataclasses.replace(config.head, l2=(3.0, 100.0)))
        result = update_lr(other, at(hours=123))
        assert result.status == "published", result.reason
        assert "hindsight" not in result.metrics
        assert not record_of(other).curvature.any()

    def test_it_is_no_setting_that_another_head_would_be_held_out_for(self, folder, tmp_path):
        config = hindsighted(folder).replace(store=str(tmp_path / "store"))
        train_trees(config, at(days=5))
        events = []
        off = config.replace(head=dataclasses.replace(config.head, hindsight=False))
        update_lr(off, at(hours=126), on_event=lambda name, **_: events.append(name))
        assert "head.hold_out" not in events


class TestNoise:
    """Where features say nothing about labels, the product is no worse than a constant."""

    @pytest.mark.parametrize(
        ("rate", "per_hour", "seed"),
        [
            (0.005, 400, 0),
            (0.02, 150, 1),
            (0.5, 20, 2),
            *(
                pytest.param(rate, per_hour, seed, marks=pytest.mark.slow)
                for rate, per_hour in ((0.005, 400), (0.02, 150), (0.5, 20))
                for seed in range(3, 8)
            ),
        ],
    )
    def test_it_costs_nothing_from_the_first_release_on(self, tmp_path, rate, per_hour, seed):
        def labels(columns, rng):
            return noise(rate)(columns, np.random.default_rng([seed, int(rng.integers(2**30))]))

        write_stream(tmp_path, labels, days=6, per_hour=per_hour)
        config = hindsighted(tmp_path, l2=[30, 1000])
        config = config.replace(
            trees=dataclasses.replace(config.trees, params={"num_iterations": 30, "num_leaves": 16, "num_threads": 1}),
            guard=dataclasses.replace(config.guard, volume=(0.0, 1000.0), label_rate=(0.0, 1000.0)),
        )
        quality = served(config, at(days=5), at(days=6), 6 * HOUR)
        # NE is against the rate of these very rows, which no constant can know: of 35 positives that alone is 0.9%.
        negatives = quality.rows - quality.positives
        constant = -quality.positives * np.log(rate) - negatives * np.log1p(-rate)
        assert quality.loss <= 1.01 * constant
        assert abs(quality.calibration - 1) <= 3 / np.sqrt(quality.positives)


def test_a_first_head_of_one_setting_is_not_refused_for_the_backgrounds_share(tmp_path):
    """Without a record the background has a third: worse than the bare trees, but for no fault of the fit."""

    def clear(columns, rng):
        margin = 8 * (columns["x"] > 0) - 4.0
        return {**columns, "label": (rng.random(len(margin)) < 1 / (1 + np.exp(-margin))).astype(np.int8)}

    write_stream(tmp_path, clear, days=3)
    config = config_of(tmp_path, l2=[1e6])
    params = {"num_iterations": 60, "num_leaves": 4, "learning_rate": 0.3}
    config = config.replace(trees=dataclasses.replace(config.trees, params=params))
    result = train_trees(config, at(days=3))
    assert result.status == "published", result.reason
