"""Planted faults are refused with their numbers, forced ones are recorded, and the bundled quarter passes."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobs_kit import at, config_of, whole, with_guard, write_stream

from gbdtlr import jobs
from gbdtlr.codec.documents import decode, encode, table
from gbdtlr.config import Config, GuardConfig
from gbdtlr.errors import DamagedError
from gbdtlr.head import WideColumns
from gbdtlr.jobs import methods, train_trees, update_lr
from gbdtlr.jobs.guards import Profile, Seen, Totals, Traffic, columns, objections
from gbdtlr.jobs.guards.columns import UNSEEN
from gbdtlr.release import Release
from gbdtlr.store import Store
from gbdtlr.times import parse_time, to_us
from gbdtlr.trees import Feature, Schema

ROOT = Path(__file__).parents[2]
BROKEN, NOW = at(6, 3), at(6, 12)  # eight hours of labels, 160 rows, are bad


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Folder with the stream as it should be, and a store that has seen five days of it."""
    folder = tmp_path_factory.mktemp("started")
    write_stream(folder)
    config = config_of(folder)
    assert train_trees(config, at(6)).status == "published"
    assert update_lr(config, at(6, 4)).status == "published"
    return folder


@pytest.fixture
def folder(started, tmp_path):
    return Path(shutil.copytree(started, tmp_path / "x"))


@pytest.fixture
def config(folder):
    return config_of(folder)


@pytest.fixture
def events():
    return []


@pytest.fixture
def on_event(events):
    return lambda name, **fields: events.append((name, fields))


def dead(columns, _):
    return {**columns, "label": np.zeros_like(columns["label"])}


def flipped(columns, _):
    return {**columns, "label": 1 - columns["label"]}


def thin(columns, _):
    return {name: values[::200] for name, values in columns.items()}


def crowded(columns, _):
    return {name: np.repeat(values, 15, axis=0) for name, values in columns.items()}


def column(name, value):
    def fault(columns, _):
        return {**columns, name: np.full(len(columns["ts"]), value, columns[name].dtype)}

    return fault


def new_categories(columns, rng):
    return {**columns, "c": rng.choice(["cyan", "pink", "teal"], len(columns["ts"])).astype(columns["c"].dtype)}


FAULTS = {
    "a dead click stream": (dead, r"label rate too low: 0 of 160 .* \[guard\] label_rate = \[0.25, 4\] allows"),
    "labels turned round": (flipped, r"labels contradict the live head: its AUC on 160 .* \[guard\] auc allows 0.4"),
    "hardly any labels": (thin, r"too few labels: \d known|too few labels: .* \[guard\] volume allows 0.1 to 10"),
    "each line 15 times": (crowded, r"too many labels: .* \[guard\] volume allows 0.1 to 10"),
    "a column without values": (column("x", np.nan), r"column x is missing in 100% of 160 rows, before in 0%"),
    "a constant number": (column("y", 0.0), r"column y is 0.0 in all of 160 rows, before in 0%; \[guard\] constant"),
    "a constant category": (column("c", "red"), r"column c is 'red' in all of 160 rows, before in 2\d%"),
    "one id": (column("id", 7), r"column wide id is one id in all of 160 rows, before in \d%"),
    "categories nobody knows": (new_categories, r"column c is unseen by the trees in 100% of .* \[guard\] missing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_refused_and_the_live_release_stays(folder, config, events, on_event, fault):
    plant, told = FAULTS[fault]
    write_stream(folder, plant, BROKEN)
    store = Store.open(config.store)
    live, files = store.live(), len(store.list_versions())
    result = update_lr(config, NOW, on_event=on_event)
    assert result.status == "refused"
    assert result.release == live.number == 2
    assert re.search(told, result.reason), result.reason
    assert whole(store) == live
    assert len(store.list_versions()) == files, "a refusal leaves no version behind"
    (note,) = store.refusals()
    assert (note.release, note.job, note.times, note.last) == (live.number, "update-lr", 1, NOW)
    assert note.reason == result.reason
    told = [fields["objection"] for name, fields in events if name == "guard.object"]
    assert "; ".join(told) == result.reason
    assert any(each["objects"] for each in result.guards.values())


def test_a_refusal_that_cannot_be_noted_is_a_refusal_all_the_same(folder, config):
    write_stream(folder, dead, BROKEN)
    Path(config.store, "refusals").write_text("where a folder should be")
    assert update_lr(config, NOW).status == "refused"
    assert train_trees(config, NOW).status == "refused"
    Path(config.store, "refusals").unlink()
    assert train_trees(config, NOW).status == "refused"
    (note,) = Store.open(config.store).refusals()
    assert note.job == "train-trees"


@pytest.mark.parametrize("fault", FAULTS)
def test_force_publishes_and_says_so(folder, config, fault):
    plant, told = FAULTS[fault]
    write_stream(folder, plant, BROKEN)
    result = update_lr(config, NOW, force=True)
    assert result.status == "published"
    live = whole(Store.open(config.store))
    assert live.number == 3
    assert live.forced
    assert re.search(told, live.reason), live.reason


@pytest.mark.parametrize("fault", ["a column without values", "a constant category", "categories nobody knows"])
def test_what_was_forced_is_no_longer_sudden(folder, config, fault):
    write_stream(folder, FAULTS[fault][0], BROKEN)
    assert update_lr(config, NOW, force=True).status == "published"
    again = update_lr(config, at(6, 20))
    assert again.status == "published", again.reason
    assert not Store.open(config.store).live().forced


def test_a_stream_as_it_should_be_passes(config):
    for hours in range(5, 60, 5):
        job = train_trees if hours % 25 == 0 else update_lr
        result = job(config, at(6, hours))
        assert (result.status, result.reason) == ("published", ""), result.reason


def test_faults_are_found_however_few_rows_come_at_a_time(folder):
    """Every hour brings 20 rows: columns are judged once 100 have gathered, in whichever update that is."""
    config = config_of(folder, method="incremental")
    assert train_trees(config, at(6, 5)).status == "published"
    write_stream(folder, column("x", np.nan), BROKEN)
    ends = [update_lr(config, at(6, 6 + hours)) for hours in range(7)]
    assert [end.status for end in ends].index("refused") == 4
    assert "column x is missing in" in ends[4].reason
    assert {end.status for end in ends[4:]} == {"refused"}


def by_the_clock(columns, _):
    """Columns that follow the time: the day, the hour twice, and a station that sends nothing at night."""
    hour = np.array([each.hour for each in columns["ts"]])
    day = np.array([(each - at()).days for each in columns["ts"]])
    return {
        **columns,
        "x": np.where(hour < 6, np.nan, columns["x"]),
        "y": day.astype(float),
        "c": hour.astype(str).astype(columns["c"].dtype),
        "id": hour,
    }


@pytest.mark.parametrize("every", [timedelta(minutes=20), timedelta(hours=1), timedelta(hours=2, minutes=50)])
def test_columns_that_follow_the_time_pass(tmp_path, every):
    """In the rows of some minutes the hour and the day are constant, and at night all of a column is missing."""
    write_stream(tmp_path, by_the_clock, days=8, per_hour=180)
    config = with_guard(config_of(tmp_path), min_samples=50)
    assert train_trees(config, at(5)).status == "published"
    for i in range(1, 13):
        result = update_lr(config, at(5, 22) + i * every)
        assert (result.status, result.reason) == ("published", "")


def test_faults_among_columns_that_follow_the_time_are_found(tmp_path):
    """The hour stands still: that is found once it has stood for longer than hours ever last."""
    write_stream(tmp_path, by_the_clock, days=7, per_hour=180)
    config = with_guard(config_of(tmp_path), min_samples=50)
    assert train_trees(config, at(5)).status == "published"
    assert update_lr(config, at(5, 22)).status == "published"

    def stopped(columns, rng):
        columns = by_the_clock(columns, rng)
        after = columns["ts"] >= at(5, 21)
        return {**columns, "c": np.where(after, "3", columns["c"]), "id": np.where(after, 3, columns["id"])}

    write_stream(tmp_path, stopped, days=7, per_hour=180)
    result = update_lr(config, at(6, 1))
    assert result.status == "refused"
    assert "column c is '3' in all of" in result.reason
    assert "column wide id is one id in all of" in result.reason
    assert "column y" not in result.reason


def test_rolling_back_takes_what_was_forced_out_of_the_comparison(folder, config):
    from gbdtlr.operate.rollback import rollback

    write_stream(folder, column("x", np.nan), BROKEN)
    assert update_lr(config, NOW, force=True).status == "published"
    rollback(config.store, 2, NOW)
    assert "column x is missing" in update_lr(config, at(6, 20)).reason


def test_too_few_samples(folder, config):
    told = r"only \d+ mature samples in the window; \[guard\] min_samples asks for 100000"
    for job, when in ((update_lr, NOW), (train_trees, at(7))):
        result = job(with_guard(config, min_samples=100_000), when)
        assert result.status == "refused"
        assert re.search(told, result.reason)
        forced = job(with_guard(config, min_samples=100_000), when, force=True)
        assert forced.status == "published"
        assert Store.open(config.store).live().forced
    assert folder.exists()


class TestHeads:
    """What a job made is judged too, however it came to be so bad."""

    @pytest.fixture
    def spoil(self, monkeypatch):
        """``spoil(change)``: every head comes out changed."""

        def spoil(change):
            full = methods.Refit.full

            def spoilt(*args, **kwargs):
                fitted = full(*args, **kwargs)
                return dataclasses.replace(fitted, head=change(fitted.head))

            monkeypatch.setattr(methods.Refit, "full", spoilt)

        return spoil

    @pytest.mark.parametrize("job", [update_lr, train_trees])
    @pytest.mark.parametrize("force", [False, True])
    def test_weights_that_are_not_finite_are_refused_even_if_forced(self, config, spoil, job, force):
        def broken(head):
            weights = head.weights.copy()
            weights[3] = np.nan
            return dataclasses.replace(head, weights=weights)

        spoil(broken)
        result = job(config, NOW, force=force)
        assert (result.status, result.reason) == ("refused", "the new head has weights that are not finite")
        assert whole(Store.open(config.store)).number == 2

    @pytest.mark.parametrize(("job", "rival"), [(update_lr, "the live one"), (train_trees, "the live release")])
    def test_a_head_that_does_not_fit_is_worse_than_the_live_one(self, config, spoil, job, rival):
        spoil(lambda head: dataclasses.replace(head, weights=-head.weights))
        result = job(config, NOW)
        assert result.status == "refused"
        assert re.search(
            rf"worse than {rival}.*: log loss \d\.\d+ against 0\.\d+ on \d+ rows; \[guard\] worse allows 5%",
            result.reason,
        )
        assert job(config, NOW, force=True).status == "published"
        assert "worse than" in Store.open(config.store).live().reason

    @pytest.mark.parametrize("job", [update_lr, train_trees])
    def test_calibration_out_of_bounds(self, config, spoil, job):
        spoil(lambda head: dataclasses.replace(head, weights=np.append(head.weights[:-1], head.bias + 3)))
        result = job(with_guard(config, worse=100.0), NOW)
        assert result.status == "refused"
        told = r"calibration of the new head is 2\.\d+ on \d+ rows it was fitted to and 2\.\d+ on the newest 4\d\d"
        assert re.match(told + r"; \[guard\] calibration allows 0.5 to 2$", result.reason), result.reason

    def test_a_first_head_is_judged_beside_its_trees(self, folder, spoil):
        spoil(lambda head: dataclasses.replace(head, weights=-head.weights))
        config = config_of(folder, str(folder / "new"))
        result = train_trees(config, NOW)
        assert result.status == "refused"
        assert "the new head is worse than its bare trees" in result.reason
        assert Store.open(config.store).live() is None

    def test_settings_that_learn_by_heart_are_held_out(self, folder, events, on_event):
        loose = config_of(folder, l2=[k * 1e-9 for k in range(1, 9)], wide_l2=1e-9)
        result = update_lr(loose, NOW, on_event=on_event)
        assert result.status == "refused", result.metrics
        assert "a head of these settings is worse than the live one, neither having learned these rows" in result.reason
        assert "head.hold_out" in [name for name, _ in events]

    def test_nothing_is_fitted_twice_under_settings_that_stay(self, config, events, on_event):
        assert update_lr(config, NOW, on_event=on_event).status == "published"
        assert "head.hold_out" not in [name for name, _ in events]

    def test_trees_worse_than_the_live_ones_on_the_same_rows(self, folder, config):
        params = {"num_iterations": 1, "num_leaves": 2, "max_bin": 2, "learning_rate": 1e-6}
        useless = config_of(folder, l2=[1e9])
        useless = useless.replace(trees=dataclasses.replace(config.trees, params=params))
        result = train_trees(useless, NOW)
        assert result.status == "refused"
        assert "the new trees with their head are worse than the live release" in result.reason

    def test_trees_of_other_columns_cannot_be_compared_and_pass(self, config):
        fewer = config.replace(samples=dataclasses.replace(config.samples, numeric=("y",)))
        assert train_trees(fewer, NOW).status == "published"


class TestTrees:
    """``train-trees`` judges what it was given before it grows anything."""

    @pytest.mark.parametrize("fault", FAULTS)
    def test_fresh_faults_are_refused_before_trees_are_grown(self, folder, config, events, on_event, fault):
        plant, told = FAULTS[fault]
        write_stream(folder, plant, BROKEN)
        result = train_trees(config, NOW, on_event=on_event)
        assert result.status == "refused"
        assert re.search(told, result.reason), result.reason
        assert "trees.train" not in [name for name, _ in events]

    @pytest.mark.parametrize(
        ("plant", "told"),
        [
            (dead, "label rate 0 in the trees' window, where the live trees had 0.3"),
            (thin, r"\d+ samples in the trees' window, where those of the live trees had 1[89]\d\d in as much time"),
            (column("c", np.str_("grey")), "column c is 'grey' in all of"),
        ],
    )
    def test_a_window_written_anew_and_wrong(self, folder, config, plant, told):
        write_stream(folder, plant)
        result = train_trees(with_guard(config, min_samples=10), at(7))
        assert result.status == "refused"
        assert re.search(told, result.reason), result.reason


def test_releases_from_before_the_guards_have_no_history_to_fail(config, monkeypatch):
    """Manifests without ``seen``, ``profile`` and ``totals`` are those of an older gbdtlr."""
    load = Release.load

    def older(store, entry, known=None):
        release = load(store, entry, known)
        head = {key: value for key, value in release.head_manifest.items() if key != "seen"}
        trees = {key: value for key, value in release.trees_manifest.items() if key not in ("profile", "totals")}
        slow = dataclasses.replace(release.slow, trees_manifest=trees)
        return dataclasses.replace(release, head_manifest=head, slow=slow)

    monkeypatch.setattr(Release, "load", older)
    assert update_lr(config, NOW).status == "published"
    assert train_trees(config, at(6, 13)).status == "published"


def traffic(hours, rate=0.3, n=50, first=0):
    return Traffic(first, np.full(hours, float(n)), np.full(hours, float(n)), np.full(hours, n * rate))


def hour(n):
    return parse_time("1970-01-01T00:00Z") + timedelta(hours=n)


class TestTraffic:
    def test_counts_by_the_hour_in_which_labels_became_known(self):
        known = np.array([to_us(hour(n)) for n in (5, 5.99, 7)])
        found = Traffic.of(known, np.array([1, 0, 1]), np.array([1.0, 10.0, 1.0]))
        assert table(found) == {"first": 5, "rows": [2, 0, 1], "weight": [11, 0, 1], "positives": [1, 0, 1]}

    @given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 30)), min_size=1, max_size=6))
    def test_sums_do_not_depend_on_how_the_rows_came(self, pieces):
        rng = np.random.default_rng(0)
        known = [np.array([to_us(hour(first + rng.uniform(0, 9))) for _ in range(n)]) for first, n in pieces]
        parts = [Traffic.of(each, np.ones(len(each)), np.ones(len(each))) for each in known]
        together = parts[0]
        for part in parts[1:]:
            together = together.plus(part)
        every = np.concatenate(known)
        at_once = Traffic.of(every, np.ones(len(every)), np.ones(len(every)))
        assert together.first + len(together.rows) == at_once.first + len(at_once.rows)
        assert np.trim_zeros(together.rows).tolist() == np.trim_zeros(at_once.rows).tolist()
        assert encode(decode(encode(together), Traffic, "")) == encode(together)

    def test_nights_are_compared_with_nights(self):
        day = np.where(np.arange(24) < 6, 2.0, 80.0)
        rows = np.tile(day, 8)
        night = Traffic(0, rows, rows, rows * 0.3)
        for now in range(24 * 7 + 1, 24 * 8):
            assert not objections(night.checks(hour(now), hour(now + 1), GuardConfig()))

    def test_weekends_are_compared_with_weekends(self):
        """A stream with a twentieth of its traffic on two days of the week; and a weekday that is like one of them."""
        rows = np.repeat([100.0, 100, 5, 5, 100, 100, 100, 100, 100, 5, 5, 100], 24)
        for end in range(24 * 9 + 1, 24 * 12):
            seen = Traffic(max(0, end - 200), *[part[max(0, end - 200) : end] for part in (rows, rows, rows * 0.3)])
            assert not objections(seen.checks(hour(end - 1), hour(end), GuardConfig())), end
        broken = np.concatenate([rows[:216], np.full(24, 100.0), np.full(48, 5.0)])[-200:]
        found = objections(Traffic(88, broken, broken, broken * 0.3).checks(hour(285), hour(288), GuardConfig()))
        assert "too few labels" in found[0]

    def test_two_days_are_no_history(self):
        quiet = traffic(24 * 2).plus(traffic(3, rate=0, first=48))
        assert not objections(quiet.checks(hour(48), hour(51), GuardConfig()))

    @pytest.mark.parametrize("n", [100, 5000])
    def test_chance_is_no_objection(self, n):
        """Of 100 rows at one percent none is positive one time in three; of 5,000, never."""
        seen = traffic(24 * 8, rate=0.01, n=5000).plus(Traffic(24 * 8, *np.array([[n], [n], [0]], np.float64)))
        found = objections(seen.checks(hour(24 * 8), hour(24 * 8 + 1.5), GuardConfig(volume=(0.0, 1000.0))))
        assert bool(found) == (n == 5000), found

    def test_bounds_can_be_taken_off(self):
        seen = traffic(24 * 8).plus(traffic(9, rate=0, first=24 * 8))
        off = GuardConfig(label_rate=(0.0, float("inf")), volume=(0.0, float("inf")))
        assert objections(seen.checks(hour(24 * 8), hour(24 * 8 + 9), GuardConfig()))
        assert not objections(seen.checks(hour(24 * 8), hour(24 * 8 + 9), off))

    def test_totals_allow_for_windows_of_other_lengths(self):
        before = Totals(1000, 1000.0, 300.0, 24.0)
        assert not objections(Totals(7000, 7000.0, 2000.0, 168.0).checks(before, GuardConfig()))
        (told,) = objections(Totals(600, 600.0, 180.0, 168.0).checks(before, GuardConfig()))
        assert told.startswith("600 samples in the trees' window, where those of the live trees had 7000 in as much")
        (told,) = objections(Totals(7000, 7000.0, 6800.0, 168.0).checks(before, GuardConfig()))
        assert told.startswith("label rate 0.9714 in the trees' window, where the live trees had 0.3")


class TestProfile:
    SCHEMA = Schema((Feature("x"), Feature("c", ("a", "b"))))

    def profile(self, x, c, ids=(), every_s=1):
        import pyarrow as pa

        table = pa.table({"x": pa.array(x, pa.float64()), "c": pa.array(c, pa.string())})
        names = ("id",) if len(ids) else ()
        buckets = np.array([ids], np.uint32) if len(ids) else np.empty((0, len(x)), np.uint32)
        event_us = np.arange(len(x)) * every_s * 1_000_000
        return Profile.of(table, self.SCHEMA, buckets, WideColumns(names, 8), event_us)

    def test_what_it_holds(self):
        found = self.profile([1.0, 1.0, None, float("inf")], ["a", "z", "z", None], [3, 3, 3, 1])
        x, c, wide = found.columns["x"], found.columns["c"], found.columns["wide id"]
        assert (found.rows, x.missing, x.finite, x.mean, x.std) == (4, 1, 2, 1.0, 0.0)
        assert x.top == ((1.0, 2),)
        assert (c.missing, c.unseen, c.top) == (1, 2, ((UNSEEN, 2), ("a", 1)))
        assert wide.top == ((3, 3), (1, 1))

    def test_runs_last_from_the_row_before_to_the_row_after(self):
        x = [1.0] * 29 + [2.0] * 30 + [3.0, 4.0] * 10 + [None] * 40
        found = self.profile(x, ["a", None] * 59 + ["b"]).columns["x"]
        assert (found.steady_s, found.absent_s) == (31.0, 40.0), "29 rows are too few, 30 are not; the end has no after"
        assert self.profile(x[::-1], ["a"] * 119).columns["x"].steady_s == 31.0
        c = self.profile(x, ["a", None] * 59 + ["b"]).columns["c"]
        assert (c.steady_s, c.absent_s) == (118.0, 0.0), "rows without a value do not end a run"

    @given(st.lists(st.integers(0, 1), max_size=200))
    def test_runs_are_those_a_loop_finds(self, values):
        found = columns._longest_s(np.array(values), np.arange(len(values)) * 1.0)
        at, longest = 0, 0
        for _, run in itertools.groupby(values):
            n = len(list(run))
            if n >= columns.RUN:
                longest = max(longest, min(at + n, len(values) - 1) - max(at - 1, 0))
            at += n
        assert found == longest

    def test_halves_add_up_to_the_whole(self):
        rng = np.random.default_rng(1)
        x, c = rng.integers(0, 4, 100) * 1.0, rng.choice(["a", "b", "z"], 100).tolist()
        whole = self.profile(x.tolist(), c)
        halves = self.profile(x[:40].tolist(), c[:40]).plus(self.profile(x[40:].tolist(), c[40:]))
        assert halves.columns["c"] == whole.columns["c"]
        assert halves.columns["x"].top == whole.columns["x"].top
        assert halves.columns["x"].mean == pytest.approx(whole.columns["x"].mean)
        assert halves.columns["x"].std == pytest.approx(whole.columns["x"].std)

    def test_one_value_is_no_fault_for_as_long_as_there_was_one_before(self):
        hours = (np.arange(48 * 60) // 60 % 24.0).tolist()

        def each_minute(x, c):
            return self.profile(x, c, every_s=60)

        known = [each_minute(hours, ["a", "b"] * 1440)]

        def told(n, c=None):
            return objections(each_minute([23.0] * n, c or ["a", "b"] * (n // 2)).checks(known, GuardConfig()))

        assert told(60) == [], "an hour has one hour of the day"
        assert len(told(180)) == 1
        assert "column x is 23.0 in all of 180 rows" in told(180)[0]
        assert told(60, ["a"] * 60) == [], "half of all rows had it before"
        rare = [each_minute([1.0] * 2880, ["a", *["b"] * 9] * 288)]
        (objection,) = objections(each_minute([1.0] * 60, ["a"] * 60).checks(rare, GuardConfig()))
        assert "column c is 'a' in all of 60 rows, before in 10%" in objection

    def test_json_brings_it_back(self):
        seen = Seen(traffic(3), self.profile([1.0, None], ["a", "ö"], [1, 2]), Profile())
        assert Seen.of_manifest({"seen": json.loads(json.dumps(seen.to_dict(), allow_nan=False))}).to_dict() == (
            seen.to_dict()
        )

    @pytest.mark.parametrize(
        ("change", "place"),
        [
            ({"traffic": {"first": 5, "rows": [1.0], "weight": [1.0], "positives": []}}, "traffic: sums"),
            ({"traffic": {"first": 5, "rows": [-1.0], "weight": [1.0], "positives": [1.0]}}, "traffic: sums"),
            ({"traffic": {"first": 10**9, "rows": [], "weight": [], "positives": []}}, "traffic.first"),
            ({"judged": {"rows": 1, "columns": {"x": {"kind": "numeric"}}}}, "judged.columns.*`missing`"),
            ({"gathering": None}, "gathering"),
        ],
    )
    def test_what_cannot_have_been_seen_is_damage(self, change, place):
        table = {**Seen().to_dict(), **change}
        with pytest.raises(DamagedError, match=f"what the head has seen is damaged: .*{place}"):
            Seen.of_manifest({"seen": table})

    def test_large_numbers_have_moments_too(self):
        assert np.isfinite(self.profile([1e308, -1e308, 1e308], ["a"] * 3).columns["x"].std)


def flights(tmp_path: Path) -> Config:
    config = Config.load(ROOT / "configs/flights.toml")
    samples = dataclasses.replace(config.samples, path=(str(ROOT / "data/flights/*.parquet"),))
    return config.replace(store=str(tmp_path / "flights"), samples=samples)


def replayed(config, start, end, every):
    """How the jobs end over that time, trees at the first moment of each day."""
    moment, day = parse_time(start, "America/New_York"), None
    while moment < parse_time(end, "America/New_York"):
        job = jobs.update_lr if moment.date() == day else jobs.train_trees
        day = moment.date()
        yield moment, job(config, moment)
        moment += every


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [
        pytest.param(
            "2013-02-07",
            "2013-02-11",
            "a blizzard closes the airports: 98% late, then no flights, then as ever",
            marks=pytest.mark.slow,
        ),
        ("2013-01-11", "2013-01-13", "the weather station sends no pressure"),
    ],
)
def test_wild_days_pass(tmp_path, start, end, why):
    ends = list(replayed(flights(tmp_path), start, end, timedelta(hours=6)))
    assert not [(when, end.reason) for when, end in ends if end.status == "refused"], why


@pytest.mark.slow
def test_the_bundled_quarter_passes(tmp_path):
    """Trees every day and a head every three hours, from the second week on."""
    ends = list(replayed(flights(tmp_path), "2013-01-08", "2013-04-01", timedelta(hours=3)))
    assert len(ends) > 650
    assert not [(when, end.reason) for when, end in ends if end.status == "refused"]
