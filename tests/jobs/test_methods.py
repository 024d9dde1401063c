"""Every method through the jobs: each sample once, in order of maturity, whatever comes late or is interrupted."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from methods_kit import DAY, HOUR, NON_REFIT, ONLINE, START, config, write_hour, write_log

from gbdtlr.compute import threads
from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, DamagedError, SamplesError, StoreUnavailable
from gbdtlr.head import Codes, OnlineHead
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.jobs.coding import CodedWindow
from gbdtlr.jobs.draft import Draft
from gbdtlr.jobs.guards import Seen
from gbdtlr.jobs.ledger import Ledger
from gbdtlr.jobs.methods import Fitted, method_of, rule_of
from gbdtlr.jobs.run import running
from gbdtlr.metrics import Quality
from gbdtlr.release import COUNTS, Release
from gbdtlr.samples import Count, File, read
from gbdtlr.store import Entry, Store
from gbdtlr.store.manifest import canonical
from gbdtlr.times import to_us

NOW = START + 2 * DAY


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with two days and eight hours of log, that nobody changes."""
    folder = tmp_path_factory.mktemp("log")
    write_log(folder / "log", 56)
    return folder


def live(config: Config) -> Release:
    store = Store.open(config.store)
    entry = store.live()
    assert entry is not None
    return Release.load(store, entry)


def ledger(config: Config) -> Ledger:
    release = live(config)
    return Ledger.from_dict(release.head_manifest["ledger"], release.counts)


def published(config: Config, *moments: datetime) -> None:
    """Trees at the first moment, updates at the others."""
    assert train_trees(config, moments[0]).status == "published"
    for moment in moments[1:]:
        result = update_lr(config, moment)
        assert result.status == "published", result.reason


def in_order(config: Config, after: datetime, until: datetime) -> Codes:
    """Samples that matured in the interval, coded on the live trees, in order of maturity."""
    samples = read(config.samples, START, until + DAY, until, known_after=after)
    release = live(config)
    return release.model.encode(samples.by_maturity())


@pytest.mark.parametrize("method", NON_REFIT)
def test_the_intervals_of_updates_are_a_chain(log: Path, method: str) -> None:
    c = config(log, method, store=f"chain-{method}")
    moments = [NOW, NOW + HOUR, NOW + 3 * HOUR, NOW + 3.5 * HOUR]
    published(c, NOW)
    full = ledger(c)
    assert (full.after, full.until, full.full_as_of) == (None, NOW, NOW)
    total = full.rows
    for before, now in pairwise(moments):
        published_ledger = _next(c, now)
        expected = read(c.samples, START, now, now, known_after=before)
        assert (published_ledger.after, published_ledger.until) == (before, now)
        assert published_ledger.rows == len(expected)
        assert published_ledger.late == 0
        total += len(expected)
        assert published_ledger.learned_since_full == total
        assert published_ledger.full_as_of == NOW


def _next(c: Config, now: datetime) -> Ledger:
    assert update_lr(c, now).status == "published"
    return ledger(c)


@pytest.mark.parametrize("method", ONLINE)
def test_updates_learn_each_sample_once_in_order_of_maturity(log: Path, method: str) -> None:
    c = config(log, method, store=f"once-{method}", online={"min_occurrences": 3})
    published(c, NOW, NOW + HOUR, NOW + HOUR + timedelta(minutes=10), NOW + 4 * HOUR)
    release = live(c)
    expected = OnlineHead(rule_of(c.head), release.head.layout)
    window = read(c.samples, NOW - c.head.window, NOW, NOW)
    expected.learn_many(release.model.encode(window.by_maturity()))
    expected.learn_many(in_order(c, NOW, NOW + 4 * HOUR))
    found = release.online()
    assert found is not None
    assert found.to_bytes() == expected.to_bytes()
    assert release.head.to_bytes() == expected.head().to_bytes()


@pytest.mark.parametrize("method", NON_REFIT)
def test_the_same_head_whatever_the_steps_it_was_learned_in(log: Path, method: str) -> None:
    stores = []
    for name, steps in (("one", [4]), ("many", [1, 2, 3, 4])):
        c = config(log, method, store=f"steps-{method}-{name}")
        published(c, NOW, *(NOW + h * HOUR for h in steps))
        stores.append(live(c).head)
    one, many = stores
    if method in ONLINE:
        assert one.to_bytes() == many.to_bytes()
    else:
        spread = np.abs(one.leaf_weights - live(c).trees.leaf_values).max()
        assert np.abs(one.leaf_weights - many.leaf_weights).max() < 0.2 * spread


@pytest.mark.parametrize("method", ["refit", *NON_REFIT])
def test_a_crash_before_publishing_neither_repeats_nor_skips_a_sample(
    log: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    smooth = config(log, method, store=f"smooth-{method}")
    published(smooth, NOW, NOW + HOUR, NOW + 2 * HOUR)
    crashed = config(log, method, store=f"crashed-{method}")
    published(crashed, NOW)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "append", _unplugged)
        with pytest.raises(StoreUnavailable):
            update_lr(crashed, NOW + HOUR)
    published_again = [update_lr(crashed, NOW + h * HOUR).status for h in (1, 2)]
    assert published_again == ["published", "published"]
    assert live(crashed).head.to_bytes() == live(smooth).head.to_bytes()


def _unplugged(*_: object, **__: object) -> None:
    raise StoreUnavailable("unplugged")


@pytest.mark.parametrize("method", NON_REFIT)
def test_the_second_of_two_overlapping_updates_builds_on_the_same_base(
    log: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = config(log, method, store=f"alone-{method}")
    published(alone, NOW, NOW + 2 * HOUR)
    c = config(log, method, store=f"overlap-{method}")
    published(c, NOW)
    append, inside = Store.append, []

    def overtaken(store: Store, values: dict, number: int) -> object:
        if not inside:
            inside.append(True)
            assert update_lr(c, NOW + HOUR).status == "published"
        return append(store, values, number)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "append", overtaken)
        assert update_lr(c, NOW + 2 * HOUR).status == "published"
    assert ledger(c).after == NOW
    assert live(c).head.to_bytes() == live(alone).head.to_bytes()


@pytest.mark.parametrize("method", NON_REFIT)
def test_rows_that_land_late_are_counted_and_wait_for_a_full_fit(tmp_path: Path, method: str) -> None:
    write_log(tmp_path / "log", 52)
    c = config(tmp_path, method, full_every="3h")
    published(c, NOW, NOW + HOUR)
    write_hour(tmp_path / "log", 45, 40, seed=9, name="-late")
    result = update_lr(c, NOW + 2 * HOUR)
    assert result.metrics["late"] == 40
    assert ledger(c).rows == len(read(c.samples, START, NOW + 2 * HOUR, NOW + 2 * HOUR, known_after=NOW + HOUR))
    result = update_lr(c, NOW + 2.5 * HOUR)
    assert (result.metrics["late"], result.metrics["late_since_full"]) == (0, 40)
    assert update_lr(c, NOW + 3 * HOUR).status == "published"
    full = ledger(c)
    window = read(c.samples, NOW + 3 * HOUR - c.head.window, NOW + 3 * HOUR, NOW + 3 * HOUR)
    assert full.after is None
    assert full.rows == full.learned_since_full == len(window)
    assert full.late_since_full == 0
    assert full.counted[f"{c.samples.path[0]}/045-late.parquet"].known == 40


@pytest.mark.parametrize("method", NON_REFIT)
def test_compacting_files_makes_nothing_late(tmp_path: Path, method: str) -> None:
    from pyarrow import parquet

    write_log(tmp_path / "log", 50)
    c = config(tmp_path, method)
    published(c, NOW)
    files = sorted((tmp_path / "log").iterdir())
    parquet.write_table(parquet.read_table(files[30:50]), tmp_path / "log" / "030-049.parquet")
    for file in files[30:50]:
        file.unlink()
    result = update_lr(c, NOW + HOUR)
    assert (result.status, result.metrics["late"]) == ("published", 0)


@pytest.mark.parametrize("method", NON_REFIT)
def test_files_that_did_not_change_are_not_opened_again(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(tmp_path / "log", 48)
    c = config(tmp_path, method)
    published(c, NOW)
    opened = []
    random_access = File.random_access

    def noted(file: File) -> object:
        opened.append(Path(file.path).name)
        return random_access(file)

    monkeypatch.setattr(File, "random_access", noted)
    for h in range(48, 54):
        write_hour(tmp_path / "log", h, 60)
        if h == 51:
            write_hour(tmp_path / "log", 40, 60 + 7)
        opened.clear()
        result = update_lr(c, START + (h + 1) * HOUR)
        assert result.status == "published"
        # Labels come up to two hours after the event, so the files of the last three hours still hold news.
        late = {"040.parquet"} if h == 51 else set()
        assert set(opened) <= {f"{each:03d}.parquet" for each in range(h - 2, h + 1)} | late
        assert late <= set(opened)
        expected = read(c.samples, START, result.as_of, result.as_of, known_after=result.as_of - HOUR)
        assert ledger(c).rows == len(expected)
        assert result.metrics["late"] == (7 if late else 0)


def test_a_head_that_kept_no_counts_begins_anew(log: Path) -> None:
    c = config(log, "incremental", store="uncounted")
    published(c, NOW, NOW + HOUR)
    table = ledger(c).to_dict()
    table["known"] = 3
    old = Ledger.from_dict(table)
    assert old.counted is None
    assert old.full_is_due(c, NOW + HOUR)
    assert not ledger(c).full_is_due(c, NOW + HOUR)


@pytest.mark.parametrize("method", NON_REFIT)
def test_no_new_label_leaves_the_release(log: Path, method: str) -> None:
    c = config(log, method, store=f"idle-{method}")
    published(c, NOW)
    before = live(c).entry.number
    result = update_lr(c, NOW + timedelta(seconds=1))
    assert (result.status, live(c).entry.number) == ("unchanged", before)


@pytest.mark.parametrize("method", NON_REFIT)
def test_new_trees_start_with_a_full_fit(log: Path, method: str) -> None:
    c = config(log, method, store=f"trees-{method}")
    published(c, NOW, NOW + HOUR)
    published(c, NOW + 2 * HOUR)
    found = ledger(c)
    assert (found.after, found.full_as_of) == (None, NOW + 2 * HOUR)
    fresh = config(log, method, store=f"fresh-{method}")
    published(fresh, NOW + 2 * HOUR)
    if method in ONLINE:
        assert live(c).head.to_bytes() == live(fresh).head.to_bytes()


@pytest.mark.parametrize("method", ONLINE)
def test_without_samples_leaves_are_at_the_trees_outputs(tmp_path: Path, method: str) -> None:
    write_log(tmp_path / "log", 48)
    c = config(tmp_path, method, window="1s")
    published(c, NOW + 20 * HOUR)
    release = live(c)
    assert (release.head.leaf_weights == release.trees.leaf_values).all()
    assert release.head.bias == 0


def test_a_user_switches_by_one_key_and_back(log: Path) -> None:
    c = config(log, "refit", store="switch")
    published(c, NOW)
    for h, method in enumerate(["ftrl", "rda", "incremental", "fobos", "refit", "incremental"], start=1):
        c = config(log, method, store="switch")
        assert update_lr(c, NOW + h * HOUR).status == "published"
        found = ledger(c)
        assert (found.after, found.full_as_of) == (None, NOW + h * HOUR), "what another method left is not built on"


@pytest.mark.parametrize("change", [{"wide_buckets": 32}, {"window": "2d"}, {"l2": [5]}])
def test_other_settings_call_for_a_full_fit(log: Path, change: dict) -> None:
    name = "-".join(change)
    published(config(log, "incremental", store=f"change-{name}"), NOW, NOW + HOUR)
    c = config(log, "incremental", store=f"change-{name}", **change)
    assert update_lr(c, NOW + 2 * HOUR).status == "published"
    assert ledger(c).after is None


@pytest.mark.parametrize("method", ["refit", "incremental", "ftrl"])
@pytest.mark.parametrize("wide", [["shop", "kind:shop"], []], ids=["one more", "none left"])
def test_wide_columns_that_are_listed_or_taken_away_count_from_the_next_update(
    log: Path, method: str, wide: list[str]
) -> None:
    store = f"wide-{method}-{len(wide)}"
    published(config(log, method, store=store), NOW, NOW + HOUR)
    c = config(log, method, store=store, samples={"wide": wide})
    assert update_lr(c, NOW + 2 * HOUR).status == "published"
    head = live(c).head
    assert head.wide.names == tuple(wide)
    assert [len(index) > 0 for index in head.layout.buckets] == [True] * len(wide)
    assert ledger(c).after is None
    assert update_lr(c, NOW + 3 * HOUR).status == "published"


def test_other_rates_call_for_a_full_fit(log: Path) -> None:
    published(config(log, "ftrl", store="rates"), NOW)
    c = config(log, "ftrl", store="rates", online={"alpha": 0.5})
    assert update_lr(c, NOW + HOUR).status == "published"
    assert ledger(c).after is None


@pytest.mark.parametrize("method", ["refit", *NON_REFIT])
def test_the_head_is_the_same_whatever_the_threads(log: Path, method: str) -> None:
    heads = []
    for n in (1, 2):
        c = replace(config(log, method, store=f"threads-{method}-{n}"), threads=n)
        published(c, NOW, NOW + HOUR)
        heads.append(live(c).head.to_bytes())
    assert heads[0] == heads[1]


def test_jobs_at_once_have_threads_of_their_own_and_leave_the_process_as_it_was(log: Path) -> None:
    configs = [replace(config(log, "refit", store=f"own-{n}"), threads=n) for n in (2, 3)]
    alone = [replace(config(log, "refit", store=f"alone-{n}"), threads=n) for n in (2, 3)]
    before = threads.n_threads()
    meet = threading.Barrier(2, timeout=120)
    seen: dict[int | None, set[int]] = {2: set(), 3: set()}

    def work(c: Config) -> None:
        def noted(name: str, **_: Any) -> None:
            if name in ("samples.read", "release.load", "head.fit"):
                meet.wait()
            seen[c.threads].add(threads.n_threads())

        assert train_trees(c, NOW, on_event=noted).status == "published"
        assert update_lr(c, NOW + HOUR, on_event=noted).status == "published"

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, configs))
    assert seen == {2: {2}, 3: {3}}
    assert threads.n_threads() == before
    for c, same in zip(configs, alone, strict=True):
        published(same, NOW, NOW + HOUR)
        assert live(c).head.to_bytes() == live(same).head.to_bytes()
    with pytest.raises(SamplesError):
        train_trees(replace(configs[0], samples=replace(configs[0].samples, path=("nowhere",))), NOW + DAY)
    assert threads.n_threads() == before


@pytest.mark.parametrize("method", ["refit", *NON_REFIT])
def test_thinned_negatives_leave_probabilities_calibrated_on_the_full_stream(tmp_path: Path, method: str) -> None:
    write_log(tmp_path / "log", 54, per_hour=400)
    c = config(tmp_path, method, samples={"negative_keep_rate": 0.2}, online={"alpha": 0.05})
    published(c, NOW, *(NOW + h * HOUR for h in range(1, 5)))
    release = live(c)
    full = replace(c.samples, negative_keep_rate=1.0)
    for since, until in ((NOW - DAY, NOW), (NOW, NOW + 6 * HOUR)):
        samples = read(full, since, until, until)
        quality = Quality.of(release.model.margin(samples.table), samples.label)
        assert quality.calibration == pytest.approx(1, abs=0.15)
    learned = ledger(c)
    assert learned.learned_since_full < 0.7 * len(read(full, NOW - DAY, NOW + 4 * HOUR, NOW + 4 * HOUR))


@pytest.mark.parametrize("method", NON_REFIT)
def test_what_the_next_update_needs_is_checked(log: Path, method: str) -> None:
    c = config(log, method, store=f"check-{method}")
    published(c, NOW)
    release = live(c)
    release.check_learned()
    for name in release.learned:
        damaged = replace(release, learned={**release.learned, name: b"damaged"})
        with pytest.raises(DamagedError):
            damaged.check_learned()


LEDGER = {
    "after": None,
    "until": "2024-03-05T06:00:00Z",
    "window": "2d",
    "rows": 5,
    "late": 0,
    "full_as_of": "2024-03-05T06:00:00Z",
    "learned_since_full": 5,
    "late_since_full": 0,
    "recent": [5, 5.0, 1.0, 1.0, 2.5],
    "counted": {"a.parquet": ["s", 1, 2, None, 4]},
}


def test_a_ledger_with_its_counts_in_the_manifest_is_read() -> None:
    old = Ledger.from_dict(LEDGER)
    assert old.counted == {"a.parquet": Count("s", 1, 2, None, 4)}
    assert old.to_dict() == {name: value for name, value in LEDGER.items() if name != "counted"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("until", "yesterday"),
        ("window", "two days"),
        ("rows", -1),
        ("recent", [5, 5.0]),
        *(("counted", {"a": each}) for each in ([], ["s", 1, 2, 3], ["s", None, 2, 3, 4], ["s", 2**63, 2, 3, 4])),
        ("counted", {"a": ["s", "x", 2, 3, 4]}),
    ],
)
def test_a_damaged_ledger_is_told(field: str, value: object) -> None:
    with pytest.raises(DamagedError, match="ledger"):
        Ledger.from_dict({**LEDGER, field: value})


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"method": "sgd"}, "choose one of refit, incremental, ftrl"),
        ({"method": "refit", "full_every": "1d"}, "no meaning"),
        ({"online": {"alpha": 0}}, r"\[head.online\] alpha must be above zero"),
        ({"online": {"l1": -1}}, r"\[head.online\] l1 must be at least zero"),
        ({"method": "refit", "online": {"min_occurrences": 3}}, r"\[head.online\] min_occurrences has no meaning"),
        (
            {"method": "incremental", "online": {"min_occurrences": 2}},
            "leave it out, or choose one of ftrl",
        ),
        ({"online": {"min_occurrences": 0}}, "at least 1"),
        ({"online": {"min_occurrences": 300}}, "at most 255"),
        ({"online": {"apha": 1}}, r"unknown key \[head.online\] apha; did you mean alpha"),
        ({"online": 3}, r"write \[head.online\] on a line of its own"),
    ],
)
def test_what_cannot_be_configured_says_why(tmp_path: Path, head: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, **{"method": "ftrl", **head})


@pytest.mark.parametrize("method", ["incremental", "ftrl"])
def test_any_number_of_files_in_the_window_ends_in_a_release(log: Path, tmp_path: Path, method: str) -> None:
    c = replace(config(log, method), store=str(tmp_path / "store"))
    published(c, NOW)
    few = live(c)
    moment = to_us(NOW)
    many = {
        f"s3://clicks/hour={i % 24:02d}/part-{i:05d}-{i * 2654435761 % 2**64:016x}-c000.snappy.parquet": Count(
            f"{i * 2654435761 % 2**64:016x}-{i:x}", moment, i, None, moment + i
        )
        for i in range(60_000)
    }
    written = with_counts(c, few, many)
    release = Release.load(Store.open(c.store), written)
    release.check_learned()
    assert Ledger.of(release, c).counted == many
    sizes = [len(canonical(manifest)) for manifest in (few.head_manifest, release.head_manifest)]
    assert sizes[1] < sizes[0] + 100
    assert update_lr(c, NOW + HOUR).status == "published"
    assert set(live(c).counts) == {str(path) for path in (log / "log").iterdir()}


def with_counts(c: Config, release: Release, counts: dict[str, Count]) -> Entry:
    """The release published once more, as if its samples had been in other files."""
    with running("update-lr", c, NOW) as run:
        ledger = replace(Ledger.of(release, c), counted=counts)
        fitted = Fitted(release.head, {name: release.learned[name] for name in release.learned if name != COUNTS}, {})
        seen = Seen.of_manifest(release.head_manifest)
        live = release.entry
        draft = Draft(run, run.gate(), release.slow, fitted, CodedWindow(), ledger, seen, NOW, live)
        values = {"why": "update-lr", "as_of": NOW, "trees": live.trees, "head": draft.write().head.name}
        return run.store.append(values, live.number + 1)


@pytest.mark.parametrize("method", ["refit", "incremental"])
def test_ridges_are_found_update_by_update_and_outlive_trees(log: Path, method: str) -> None:
    c = config(log, method, store=f"ridges-{method}")
    found = None
    for job, hours in ((train_trees, 0), (update_lr, 2), (update_lr, 4), (train_trees, 6)):
        result = job(c, NOW + hours * HOUR)
        assert result.status == "published"
        fits = live(c).fits
        assert fits is not None
        candidates = fits.candidates
        assert candidates.ridges is not None
        assert candidates.found is not None
        if found is not None:
            np.testing.assert_array_equal(candidates.ridges.values, found)
        found = candidates.found.values
        assert (found[1] != candidates.ridges.values[1]).any()
        told = candidates.ridges.of("wide shop")
        assert told is not None
        assert list(result.metrics["ridges"]["wide shop"].values()) == pytest.approx([told[0], told[2]], rel=5e-3)


def test_ridges_that_are_given_are_fitted_with(log: Path) -> None:
    c = config(log, "refit", store="ridges-given", wide_l2={"shop": 7})
    for job, hours in ((train_trees, 0), (update_lr, 2)):
        assert job(c, NOW + hours * HOUR).metrics["ridges"]["wide shop"] == {"6h": 7.0, "1d": 7.0}


def test_a_ridge_that_is_fixed_between_updates_holds_from_the_next(log: Path) -> None:
    train_trees(config(log, "incremental", store="ridges-fixed"), NOW)
    fixed = config(log, "incremental", store="ridges-fixed", wide_l2=7)
    result = update_lr(fixed, NOW + 2 * HOUR)
    assert result.metrics["ridges"]["wide shop"] == {"6h": 7.0, "1d": 7.0}
    release = live(fixed)
    fits = release.fits
    assert fits is not None
    tied = replace(fits, candidates=replace(fits.candidates, ridges=None, found=None))
    old = replace(release, learned={**release.learned, **tied.to_files()})
    assert method_of(fixed, old.slow).on(old) is None  # of an earlier version, with one ridge for all
    assert method_of(config(log, "incremental"), old.slow).on(old) is not None
