"""Impressions and outcomes of two topics: the labels are those of files, and each impression is learned once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from methods_kit import HOUR, config, rows, write_log
from topics_kit import NOW, Clock, as_rows, live, raw_config, send, two_logs

from gbdtlr.errors import ConfigError, StreamError
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.jobs.learn import learn
from gbdtlr.streams import Places
from gbdtlr.streams.kafka import Message
from gbdtlr.times import to_us
from tests.streams.kafka_kit import MockCluster, asked, counted, learn_from, lines_of, opened

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def cluster() -> MockCluster:
    return MockCluster()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("raw")


def trained(folder: Path, store: str) -> Any:
    base = raw_config(folder, "trained")
    if not Path(base.store).exists():
        assert train_trees(base, NOW).status == "published"
    c = raw_config(folder, store)
    shutil.copytree(base.store, c.store)
    return c


def all_of(n: int) -> Any:
    """Until so many messages were read and nothing waits."""
    return lambda source: counted(source) >= n and not source.metrics()["waiting"]


def test_what_is_learned_is_what_the_joined_lines_would_give(folder: Path, cluster: MockCluster) -> None:
    logs = two_logs(120, NOW, 2 * HOUR, 7)
    n = send(cluster, ("shown-1", "clicks-1"), logs)
    c = trained(folder, "joined")
    once = {"publish_every": 1000 * HOUR}
    result = learn_from(c, asked(cluster, "shown-1", "clicks-1"), all_of(n), Clock(NOW + 6 * HOUR), **once)
    assert (result.status, result.samples) == ("published", 120)
    assert result.metrics["joined"]["impressions"] == 120
    assert result.metrics["joined"]["positives"] == len(logs[1])
    assert live(c).entry.metrics["joined"]["positives"] == len(logs[1])
    assert result.metrics["impressions_late"] == 0

    plain = config(folder, "ftrl", store="by-pipe")
    lines = lines_of(as_rows(logs))
    by_pipe = trained(folder, "by-pipe")
    no_outcomes = by_pipe.replace(samples=plain.samples, outcomes=None)
    assert learn(no_outcomes, [lines], Clock(NOW + 6 * HOUR), publish_every=HOUR).samples == 120
    assert live(c).learned["online.npz"] == live(by_pipe).learned["online.npz"]


def test_only_what_is_past_its_deadline_is_learned_and_the_rest_waits_across_a_stop(
    folder: Path, cluster: MockCluster
) -> None:
    logs = two_logs(120, NOW, 2 * HOUR, 8)
    n = send(cluster, ("shown-2", "clicks-2"), logs)
    c = trained(folder, "waits")
    ahead = asked(cluster, "shown-2", "clicks-2")
    ends: list[int] = []

    def at_end(source: Any) -> bool:
        """Twice after all was read."""
        ends.append(counted(source) == n and len(source._topics.at_end) == 8)
        return sum(ends) > 2

    # An hour of impressions has its deadline, and the grace, behind it.
    result = learn_from(c, ahead, at_end, Clock(NOW + 2 * HOUR + timedelta(seconds=10)))
    n_first = result.samples
    assert 40 < n_first < 80
    assert result.metrics["waiting"] == 120 - n_first
    found = Places.of(live(c).head_manifest)
    assert found is not None
    first, clicks = found.topics["shown-2"].partitions, found.topics["clicks-2"].partitions
    assert sum(first[each].next for each in "01") == 120
    assert abs(sum(first[each].offset for each in "01") - n_first) <= 1
    assert sum(clicks[each].offset for each in "01") < sum(clicks[each].next for each in "01")

    result = learn_from(c, ahead, all_of(n), Clock(NOW + 6 * HOUR))
    assert (result.status, result.samples) == ("published", 120 - n_first)
    whole = trained(folder, "whole")
    learn_from(whole, ahead, all_of(n), Clock(NOW + 6 * HOUR))
    assert live(c).learned["online.npz"] == live(whole).learned["online.npz"]


def test_by_default_it_begins_where_files_end(
    folder: Path, cluster: MockCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Impressions that an update has learned in files are not learned again; the mock does not know of times."""
    logs = two_logs(360, NOW, 6 * HOUR)  # the same rows as in files
    n = send(cluster, ("shown-3", "clicks-3"), logs)
    c = trained(folder, "default")
    assert update_lr(c, NOW + 3 * HOUR).status == "published"
    sought: list[int] = []

    def sent_from(_: Any, __: str, numbers: Any, us: int) -> dict[int, int]:
        sought.append(us)
        return dict.fromkeys(numbers, 0)

    monkeypatch.setattr("gbdtlr.streams.kafka.Cluster.sent_from", sent_from)
    told = asked(cluster, "shown-3", "clicks-3", start="as-of")
    result = learn_from(c, told, all_of(n), Clock(NOW + 9 * HOUR))
    later = [row for row in as_rows(logs) if row["at"] > (NOW + 2 * HOUR).timestamp() * 1e6]
    assert result.samples == len(later)
    assert result.metrics["impressions_late"] == 0
    assert sought == [(NOW + HOUR).timestamp() * 1e6 - 10e6] * 2, "two windows and the grace before"


def test_streams_that_share_partitions_all_begin_where_files_end(
    folder: Path, cluster: MockCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes second finds the topic in the live head, and there what had been learned in files of it."""
    logs = two_logs(360, NOW, 6 * HOUR)  # the same rows as in files
    send(cluster, ("shown-7", "clicks-7"), logs)
    c = trained(folder, "shared")
    assert update_lr(c, NOW + 3 * HOUR).status == "published"
    zeros = "gbdtlr.streams.kafka.Cluster.sent_from"
    monkeypatch.setattr(zeros, lambda _, __, numbers, ___: dict.fromkeys(numbers, 0))

    def at_end(source: Any) -> bool:
        return len(source._topics.at_end) == 2 and not source.metrics()["waiting"]

    n = 0
    for number in (0, 1):
        own = asked(cluster, "shown-7", "clicks-7", start="as-of", partitions=frozenset({number}))
        n += learn_from(c, own, at_end, Clock(NOW + 9 * HOUR)).samples
    assert n == sum(row["at"] > (NOW + 2 * HOUR).timestamp() * 1e6 for row in as_rows(logs))


def test_outcomes_are_let_go_though_no_impressions_come(folder: Path, cluster: MockCluster) -> None:
    logs = two_logs(400, NOW, 2 * HOUR, 13)
    outcomes = logs[1].slice(0, 30)
    cluster.send("shown-8", [None], sent=[NOW])
    c, clock = trained(folder, "lonely"), _Still(NOW + HOUR)
    n, rounds = [1], list(range(4))

    def until(source: Any) -> bool:
        if counted(source) < sum(n) or source._waiting.holds_any:
            return False
        if rounds:
            clock.now += 9 * HOUR
            n.append(send(cluster, ("shown-8", "clicks-8"), (logs[0].slice(0, 0), outcomes)))
            rounds.pop()
            return False
        return True

    n[0] += send(cluster, ("shown-8", "clicks-8"), (logs[0].slice(0, 0), outcomes))
    clock.now = NOW + 9 * HOUR
    result = learn_from(c, asked(cluster, "shown-8", "clicks-8", most_waiting=40), until, clock)
    assert (result.status, result.metrics["waiting"]) == ("unchanged", 0)


def test_more_impressions_than_may_wait_end_it_after_it_has_published(folder: Path, cluster: MockCluster) -> None:
    send(cluster, ("shown-4", "clicks-4"), two_logs(120, NOW, 2 * HOUR, 9))
    c = trained(folder, "many")
    with pytest.raises(StreamError, match="more than 100 impressions wait"):
        learn_from(c, asked(cluster, "shown-4", "clicks-4", most_waiting=100), lambda _: False, Clock(NOW))


def test_nobody_decides_while_outcomes_are_behind(folder: Path, cluster: MockCluster) -> None:
    """Outcomes that are in their topic and not read yet count, however long the deadline is over, as after a stop."""
    logs = two_logs(60, NOW, HOUR, 11)
    none = tuple(each.slice(0, 0) for each in logs)
    n = send(cluster, ("shown-5", "clicks-5"), (logs[0], none[1]))
    cluster.send("clicks-5", [None], sent=[NOW])
    c, clock = trained(folder, "behind"), _Still(NOW + HOUR)
    sent: list[int] = []

    def until(source: Any) -> bool:
        if counted(source) == n + 1 and not sent and len(source._topics.at_end) == 8:
            sent.append(send(cluster, ("shown-5", "clicks-5"), (none[0], logs[1])))
            clock.now = NOW + 9 * HOUR
        return bool(sent) and counted(source) == n + 1 + sent[0] and not source.metrics()["waiting"]

    result = learn_from(c, asked(cluster, "shown-5", "clicks-5"), until, clock)
    assert (result.samples, result.metrics["joined"]["positives"]) == (60, len(logs[1]))


def test_a_clock_that_is_far_ahead_says_nothing_of_how_far_a_partition_is_read(
    folder: Path, cluster: MockCluster
) -> None:
    send(cluster, ("shown-9", "clicks-9"), two_logs(10, NOW, HOUR, 14))
    c = trained(folder, "clocks")
    with opened(c, asked(cluster, "shown-9", "clicks-9"), lambda _: True, Clock(NOW), []) as source:
        source.begin(None, NOW)
        now_us, at = to_us(NOW), ("clicks-9", 0)
        progress = source._progress  # type: ignore[attr-defined]  # of two topics
        before = progress[at]
        for i, ahead_us in enumerate((86_400_000_000, 10_001_000)):
            source._take([Message(at, i, b"", now_us + ahead_us)], now_us)  # type: ignore[attr-defined]
        assert progress[at] == before
        source._take([Message(at, 2, b"", now_us + 10_000_000)], now_us)  # type: ignore[attr-defined]
        assert progress[at] == now_us


def test_what_comes_beside_too_many_outcomes_is_read_again(folder: Path, cluster: MockCluster) -> None:
    """What was learned is published then, with places that must not be behind what nobody has taken."""
    shown, clicks = two_logs(200, NOW, HOUR, 15)
    send(cluster, ("shown-10", "clicks-10"), (shown.slice(0, 3), clicks.slice(0, 9)), partitions=1)
    c = trained(folder, "beside")
    few = asked(cluster, "shown-10", "clicks-10", most_waiting=5)
    with opened(c, few, lambda _: True, Clock(NOW + HOUR), []) as source:
        source.begin(None, NOW)
        messages: list[Message] = []
        while len(messages) < 12:
            messages += source._topics.read(1.0)
        with pytest.raises(StreamError, match="more than 5 outcomes are in memory"):
            source._take(messages, to_us(NOW))  # type: ignore[attr-defined]  # of two topics
        places = source.places()
        assert places is not None
        found = [places.topics[name].partitions["0"] for name in ("shown-10", "clicks-10")]
        assert [(each.offset, each.next) for each in found] == [(0, 3), (0, 9)]


class _Still(Clock):
    """Stands still until it is set."""

    def __call__(self) -> Any:
        return self.now


def test_partitions_must_be_there_in_both(folder: Path, cluster: MockCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    send(cluster, ("shown-6", "clicks-6"), two_logs(10, NOW, HOUR, 12))
    c = trained(folder, "alike")
    numbers = "gbdtlr.streams.kafka.Cluster.partitions"
    monkeypatch.setattr(numbers, lambda _, topic: [0, 1] if topic == "shown-6" else [0])
    with pytest.raises(ConfigError, match="that only one of the topics has"):
        learn_from(c, asked(cluster, "shown-6", "clicks-6", partitions=frozenset({0, 1})), 1, Clock(NOW))


def test_one_topic_does_for_a_config_with_outcomes_nowhere(folder: Path, cluster: MockCluster) -> None:
    cluster.send("alone", [b"{}"])
    c = trained(folder, "alone")
    with pytest.raises(ConfigError, match="name two topics with --topic and --outcomes-topic"):
        learn_from(c, asked(cluster, "alone"), 1, Clock(NOW))


@pytest.mark.parametrize(
    ("work", "stride"),
    [
        ("two", 17),
        pytest.param("one", 1, marks=pytest.mark.slow),
        pytest.param("two", 1, marks=pytest.mark.slow),
    ],
)
def test_killed_anywhere_each_message_is_learned_once(
    tmp_path: Path, child_environment: Any, work: str, stride: int
) -> None:
    cluster = MockCluster()
    if work == "one":
        write_log(tmp_path / "log", 54)
        table = rows(60, NOW, HOUR, 5).drop_columns(["at", "known_at"])
        cluster.send("one", lines_of(table.to_pylist()))
        n = 60
    else:
        raw_config(tmp_path, "unused")
        n = send(cluster, ("shown", "clicks"), two_logs(80, NOW, 5 * HOUR, 5), 4)
    command = [sys.executable, str(HERE / "topic_crash_child.py"), str(tmp_path), cluster.servers, work]
    path = os.pathsep.join([str(HERE.parent.parent), child_environment["PYTHONPATH"]])
    done = subprocess.run(
        [*command, str(stride), str(n)],
        capture_output=True,
        text=True,
        check=False,
        env={**child_environment, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["states"] == 1, counts
    assert counts["killed"] >= (2 if stride > 1 else 30), counts
    assert counts["published"] > 0, counts
