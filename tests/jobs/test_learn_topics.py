"""Learning from topics: each message once, whatever is killed, published or begun meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from methods_kit import DAY, HOUR, START, config, rows, toml, write_log
from topics_kit import live

from gbdtlr.cli import main
from gbdtlr.config import Config
from gbdtlr.errors import ConfigError, StreamError
from gbdtlr.jobs import train_trees, update_lr
from gbdtlr.jobs.learn import learn
from gbdtlr.operate.rollback import rollback
from gbdtlr.store import Store
from gbdtlr.streams import PLACES, Place, Places
from gbdtlr.streams.kafka import Cluster
from tests.streams.kafka_kit import MockCluster, asked, counted, learn_from, lines_of

NOW = START + 2 * DAY
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def cluster() -> MockCluster:
    return MockCluster()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    write_log(folder / "log", 54)
    return folder


class Clock:
    """Goes on by a second whenever it is asked."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def messages(n: int, seed: int = 5) -> list[bytes]:
    return lines_of(rows(n, NOW, HOUR, seed).drop_columns(["at", "known_at"]).to_pylist())


def trained(log: Path, store: str) -> Config:
    """A store with trees."""
    base = config(log, "ftrl", store="trained")
    if not Path(base.store).exists():
        assert train_trees(base, NOW).status == "published"
    c = config(log, "ftrl", store=store)
    shutil.copytree(base.store, c.store)
    return c


def state(c: Config) -> bytes:
    return live(c).learned["online.npz"]


def places(c: Config, topic: str) -> list[int]:
    """Offsets of a topic's partitions in the live head's manifest."""
    found = Places.of(live(c).head_manifest)
    assert found is not None
    topic_places = found.of_topic(topic)
    assert topic_places is not None
    return [place.offset for _, place in sorted(topic_places.partitions.items())]


def by_pipe(log: Path, store: str, lines: list[bytes]) -> bytes:
    """State of a head that has learned these lines undisturbed."""
    c = trained(log, store)
    assert learn(c, [lines], Clock(), publish_every=HOUR).status == "published"
    return state(c)


def test_a_topic_is_learned_as_a_pipe_is_and_its_places_published(log: Path, cluster: MockCluster) -> None:
    good = messages(60)
    mixed = [*good[:20], None, b"nonsense", *good[20:], b"\xff\xfe", b"  "]
    cluster.send("plain", mixed)
    c = trained(log, "plain")
    assert PLACES not in live(c).head_manifest
    told: list[Any] = []
    result = learn_from(c, asked(cluster, "plain"), 64, Clock(), told)
    assert (result.status, result.samples) == ("published", 60)
    counts = [result.metrics[name] for name in ("lines", "lines_refused", "lines_blank", "tombstones", "lag")]
    assert counts == [64, 2, 2, 1, 0]
    assert places(c, "plain") == [64, 0, 0, 0]
    assert state(c) == by_pipe(log, "plain-pipe", good)
    assert live(c).head_manifest[PLACES]["cluster"].startswith("mockCluster")
    assert dict(told)["kafka.assigned"]["partitions"] == {"plain": 4}
    assert dict(told)["kafka.assigned"]["offsets"] == {"plain": {"0": 0, "1": 0, "2": 0, "3": 0}}
    assert live(c).entry.metrics["lag"] == 0


def test_it_goes_on_where_the_live_head_has_learned_up_to(log: Path, cluster: MockCluster) -> None:
    first, second = messages(30, 1), messages(30, 2)
    cluster.send("goes-on", first)
    c = trained(log, "goes-on")
    learn_from(c, asked(cluster, "goes-on"), 30, Clock())
    cluster.send("goes-on", second)
    result = learn_from(c, asked(cluster, "goes-on"), 60, Clock(NOW + HOUR))
    assert (result.samples, places(c, "goes-on")) == (30, [60, 0, 0, 0])
    assert state(c) == by_pipe(log, "goes-on-pipe", [*first, *second])


def test_what_is_there_already_is_not_learned_by_default(log: Path, cluster: MockCluster) -> None:
    """What was sent before the live head's moment it has learned in files; the mock knows of no times but the end."""
    cluster.send("default", messages(30))
    for start in ("as-of", "latest"):
        c = trained(log, f"default-{start}")
        result = learn_from(c, asked(cluster, "default", start=start), 30, Clock())
        assert (result.status, result.samples) == ("unchanged", 0)


def test_a_guard_that_refuses_moves_no_place(log: Path, cluster: MockCluster) -> None:
    cluster.send("guarded", messages(30))
    c = trained(log, "guarded")
    strict = replace(c, guard=replace(c.guard, min_samples=10**6))
    result = learn_from(strict, asked(cluster, "guarded"), 30, Clock())
    assert (result.status, result.metrics["unpublished"]) == ("refused", 30)
    assert PLACES not in live(c).head_manifest
    result = learn_from(c, asked(cluster, "guarded"), 30, Clock(NOW + HOUR))
    assert (result.status, result.samples, places(c, "guarded")) == ("published", 30, [30, 0, 0, 0])


def test_other_jobs_carry_the_places_on(log: Path, cluster: MockCluster) -> None:
    cluster.send("carried", messages(30))
    c = trained(log, "carried")
    learn_from(c, asked(cluster, "carried"), 30, Clock())
    before = live(c).head_manifest[PLACES]
    assert update_lr(c, NOW + 2 * HOUR).status == "published"
    assert live(c).head_manifest[PLACES] == before
    assert train_trees(c, NOW + 3 * HOUR).status == "published"
    assert live(c).head_manifest[PLACES] == before
    cluster.send("carried", messages(10, 6))
    result = learn_from(c, asked(cluster, "carried"), 40, Clock(NOW + 4 * HOUR))
    assert (result.status, result.samples, places(c, "carried")) == ("published", 10, [40, 0, 0, 0])
    assert learn(c, [messages(10, 7)], Clock(NOW + 5 * HOUR), publish_every=HOUR).status == "published"
    assert places(c, "carried") == [40, 0, 0, 0], "what comes by a pipe moves none"
    # A head that cannot learn sample by sample has no place in a stream.
    other = config(log, "refit", store="carried")
    assert update_lr(other, NOW + 6 * HOUR).status == "published"
    assert PLACES not in live(c).head_manifest


def test_after_a_rollback_it_goes_back_to_what_that_head_has_learned(log: Path, cluster: MockCluster) -> None:
    lines = messages(90)
    cluster.send("rolled", lines)
    c = trained(log, "rolled")
    clock = Clock()
    learn_from(c, asked(cluster, "rolled"), 90, clock)
    assert live(c).entry.number == 2
    more = messages(30, 9)
    cluster.send("rolled", more)
    rolled: list[int] = []

    def until(source: Any) -> bool:
        if counted(source) == 120 and not rolled:
            assert rollback(Store.open(c.store), 1, clock(), "").status == "published"
            rolled.append(live(c).entry.number)
            cluster.send("rolled", more[-1:])
        return bool(rolled) and live(c).entry.number > rolled[0] and places(c, "rolled")[0] == 121

    told: list[Any] = []
    # The head that is live again has no places: it is begun anew, from the beginning as is asked for.
    learn_from(c, asked(cluster, "rolled"), until, clock, told, publish_samples=1)
    assert any("read_again" in fields for name, fields in told if name == "release.superseded")
    assert state(c) == by_pipe(log, "rolled-pipe", [*lines, *more, more[-1]])


@pytest.mark.parametrize("what", ["all", pytest.param("others", marks=pytest.mark.slow)])
def test_two_at_once_learn_each_message_once(log: Path, cluster: MockCluster, what: str) -> None:
    """Whether they read the same partitions, by mistake, or each its own."""
    topic = f"two-{what}"
    cluster.send(topic, messages(40, 1), 0)
    cluster.send(topic, messages(40, 2), 1)
    c = trained(log, topic)
    n_before = _n_learned(c)
    clock = Clock()
    own = {"all": (None, None), "others": (frozenset({0}), frozenset({1, 2, 3}))}[what]
    ran: list[int] = []

    def until(source: Any) -> bool:
        n = 80 if what == "all" else 40
        if counted(source) >= n and not ran:
            ran.append(1)
            inner = learn_from(c, asked(cluster, topic, partitions=own[1]), n, clock)
            assert (inner.status, inner.samples) == ("published", n)
        return len(ran) > 0 and counted(source) >= n

    result = learn_from(c, asked(cluster, topic, partitions=own[0]), until, clock)
    assert sorted(places(c, topic), reverse=True) == [40, 40, 0, 0]
    assert _n_learned(c) == n_before + 80
    assert result.samples == (0 if what == "all" else 40)


@pytest.mark.slow
def test_an_update_that_was_begun_before_takes_the_stream_back(log: Path, cluster: MockCluster, meanwhile: Any) -> None:
    """It goes on from a head that has not learned what was published meanwhile: that is read again, on top of it."""
    cluster.send("back", messages(60))
    c = trained(log, "back")
    clock = Clock()
    learn_from(c, asked(cluster, "back"), 60, clock, publish_samples=1)
    cluster.send("back", messages(30, 8))

    def stream() -> None:
        assert learn_from(c, asked(cluster, "back"), 90, clock).status == "published"

    meanwhile(update_lr, stream)
    assert update_lr(c, NOW + 2 * HOUR).status == "published"
    assert places(c, "back") == [60, 0, 0, 0], "of the head it went on from"
    n = _n_learned(c)
    assert learn_from(c, asked(cluster, "back"), 90, Clock(NOW + 3 * HOUR)).samples == 30
    assert (_n_learned(c), places(c, "back")) == (n + 30, [90, 0, 0, 0])


def test_partitions_that_appear_are_taken_up(log: Path, cluster: MockCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for partition in range(4):
        cluster.send("appear", messages(10, partition), partition)
    c = trained(log, "appear")
    hidden = [2]
    numbers = Cluster._numbers

    def some(self: Cluster, topic: str, metadata: Any) -> list[int]:
        return numbers(self, topic, metadata)[: hidden[0]]

    monkeypatch.setattr(Cluster, "_numbers", some)
    monkeypatch.setattr("gbdtlr.streams.topics.LOOK_EVERY_S", 0.0)

    def until(source: Any) -> bool:
        if counted(source) == 20:
            hidden[0] = 3
        return counted(source) >= 30

    told: list[Any] = []
    result = learn_from(c, asked(cluster, "appear", start="earliest"), until, Clock(), told)
    assert (result.samples, places(c, "appear")) == (30, [10, 10, 10])
    assert dict(told)["kafka.partitions"] == {"appeared": "appear[2]"}
    hidden[0] = 4  # while nobody reads: still from its beginning, whatever --from says
    result = learn_from(c, asked(cluster, "appear", start="latest"), 40, Clock(NOW + HOUR))
    assert (result.samples, places(c, "appear")) == (10, [10, 10, 10, 10])
    hidden[0] = 3
    with pytest.raises(StreamError, match="has 3 partitions, and the live head has learned of partition 3"):
        learn_from(c, asked(cluster, "appear"), 40, Clock(NOW + 2 * HOUR))


def test_messages_that_are_gone_are_an_error_until_it_is_said_where_to_go_on(
    log: Path, cluster: MockCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.send("gone", messages(20))
    c = trained(log, "gone")
    learn_from(c, asked(cluster, "gone"), 20, Clock())
    cluster.send("gone", messages(20, 2))
    bounds = Cluster.bounds
    monkeypatch.setattr(Cluster, "bounds", lambda *_: (30, 40))
    later = Clock(NOW + HOUR)
    with pytest.raises(
        StreamError, match=r"gone\[0\] begins at offset 30, and is learned up to 20: 10 are gone; .* --lost earliest"
    ):
        learn_from(c, asked(cluster, "gone"), 40, later)

    def first_alone(self: Cluster, partition: Any) -> tuple[int, int]:
        return (30, 40) if partition[1] == 0 else bounds(self, partition)

    monkeypatch.setattr(Cluster, "bounds", first_alone)
    told: list[Any] = []
    result = learn_from(c, asked(cluster, "gone", lost="earliest"), 40, later, told)
    assert (result.samples, places(c, "gone")) == (10, [40, 0, 0, 0])
    assert "10 are gone" in dict(told)["kafka.lost"]["reason"]
    monkeypatch.setattr(Cluster, "bounds", lambda *_: (0, 7))
    with pytest.raises(StreamError, match=r"gone\[0\] ends at offset 7, and is learned up to 40: the topic was made"):
        learn_from(c, asked(cluster, "gone"), 40, later)


def test_a_topic_of_another_cluster_or_another_of_its_name_is_not_gone_on_with(
    log: Path, cluster: MockCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.send("moved", messages(20))
    c = trained(log, "moved")
    monkeypatch.setattr(Cluster, "topic_id", lambda *_: "one")
    learn_from(c, asked(cluster, "moved"), 20, Clock())
    later = Clock(NOW + HOUR)
    monkeypatch.setattr(Cluster, "topic_id", lambda *_: "two")
    with pytest.raises(
        StreamError, match=r"topic moved was made anew .*\(its id is two, it was one\).* --lost earliest"
    ):
        learn_from(c, asked(cluster, "moved"), 20, later)
    monkeypatch.setattr(Cluster, "topic_id", lambda *_: None)  # who does not say is believed
    assert learn_from(c, asked(cluster, "moved"), 20, later).status == "unchanged"
    other = MockCluster()
    other.send("moved", messages(10, 3))
    with pytest.raises(StreamError, match="has learned moved of the cluster mockCluster"):
        learn_from(c, asked(other, "moved"), 10, later)
    result = learn_from(c, asked(other, "moved", lost="earliest"), 10, later)
    assert (result.samples, places(c, "moved")) == (10, [10, 0, 0, 0])


@pytest.mark.slow
def test_places_of_other_topics_are_kept(log: Path, cluster: MockCluster) -> None:
    c = trained(log, "kept")
    for hours, topic in enumerate(("kept-1", "kept-2")):
        cluster.send(topic, messages(20))
        learn_from(c, asked(cluster, topic), 20, Clock(NOW + hours * HOUR))
    assert places(c, "kept-1") == places(c, "kept-2") == [20, 0, 0, 0]


@pytest.mark.parametrize(
    ("kafka", "wrong"),
    [
        ({"offset": -1}, "offset"),
        ({"offset": "1"}, "offset"),
        ({"offset": 2**63}, "offset"),
        ({}, "offset"),
    ],
)
def test_damaged_places_are_told(kafka: Any, wrong: str) -> None:
    from gbdtlr.errors import DamagedError

    with pytest.raises(DamagedError, match=wrong):
        Places.of({PLACES: {"topics": {"t": {"partitions": {"0": kafka}}}}})
    with pytest.raises(DamagedError, match="'t' has none 'x'"):
        Places.of({PLACES: {"topics": {"t": {"partitions": {"x": {"offset": 1}}}}}})


def test_places_are_read_as_they_were_written() -> None:
    from gbdtlr.streams.places import TopicPlaces

    given = Places("id", {"t": TopicPlaces({"0": Place(5), "1": Place(1, 7, 0, -5)}, "topic"), "u": TopicPlaces({})})
    assert Places.of({PLACES: json.loads(json.dumps(given.to_dict()))}) == given
    assert given.to_dict()["topics"]["t"]["partitions"]["0"] == {"offset": 5}
    assert Places.of({}) is None


def test_the_config_and_the_topics_must_agree_on_labels(log: Path, cluster: MockCluster) -> None:
    c = trained(log, "agree")
    with pytest.raises(ConfigError, match=r"--outcomes-topic needs \[samples\] key"):
        learn_from(c, asked(cluster, "a", "b"), 1, Clock())
    for _ in range(2):  # asking makes none
        with pytest.raises(
            StreamError,
            match=r"topic nowhere cannot be read .*: (Broker: Unknown topic|it has no such).*; name another",
        ):
            learn_from(c, asked(cluster, "nowhere"), 1, Clock())
    cluster.send("parted", ["{}"])
    with pytest.raises(StreamError, match="none of the partitions that --partitions names, but 0, 1, 2, 3"):
        learn_from(c, asked(cluster, "parted", partitions=frozenset({9})), 1, Clock())
    with pytest.raises(ConfigError, match="choose one of ftrl, rda, fobos"):
        learn_from(config(log, "refit", store="agree"), asked(cluster, "a"), 1, Clock())


# The command


@pytest.fixture
def process(log: Path, cluster: MockCluster) -> Iterator[Any]:
    """``process(config, topic, name, *options)``: the command, running."""
    running: list[subprocess.Popen[bytes]] = []

    def start(c: Config, topic: str, name: str, *options: str) -> subprocess.Popen[bytes]:
        told = ["--json", "--from", "earliest", *options]
        command = [sys.executable, "-m", "gbdtlr", "learn", "-c", str(toml(log, c, name)), *told]
        kafka = ["--kafka", cluster.servers, "--topic", topic]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "bufsize": 0}
        running.append(subprocess.Popen([*command, *kafka], cwd=ROOT, **pipes))
        return running[-1]

    yield start
    for each in running:
        with each:
            each.kill()


class Hearing:
    """What a process tells."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process, self.told = process, b""

    def wait_for(self, word: bytes) -> None:
        """Until it has told of something."""
        self.wait_until(lambda: word in self.told)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Until something is so, which is looked at whenever it tells of something."""
        assert self._process.stderr is not None
        while not is_so():
            piece = os.read(self._process.stderr.fileno(), 4096)
            assert piece, self.told
            self.told += piece


def test_the_command_publishes_when_it_is_stopped(log: Path, cluster: MockCluster, process: Any) -> None:
    lines = messages(60)
    cluster.send("stopped", [*lines, b"nonsense"])
    c, metrics = trained(log, "stopped"), log / "stopped.prom"
    running = process(c, "stopped", "stopped", "--publish-every", "1h", "--metrics", str(metrics))
    # A line that is none is told of when those before it are learned.
    Hearing(running).wait_for(b"lines.refused")
    running.send_signal(signal.SIGTERM)
    out = running.stdout.read()
    assert running.wait() == 0
    result = json.loads(out)
    assert (result["status"], result["samples"], result["metrics"]["lag"]) == ("published", 60, 0)
    assert 'topic="stopped",partition="0"} 0' in metrics.read_text()
    assert places(c, "stopped") == [61, 0, 0, 0]
    assert state(c) == by_pipe(log, "stopped-pipe", lines)


@pytest.mark.slow
def test_the_command_goes_on_when_it_was_killed(log: Path, cluster: MockCluster, process: Any) -> None:
    lines = messages(120)
    cluster.send("killed", lines[:50])
    c = trained(log, "killed")
    first = process(c, "killed", "killed", "--publish-samples", "50", "--publish-every", "1h")
    heard = Hearing(first)
    heard.wait_for(b"release.publish")
    cluster.send("killed", [*lines[50:70], b"nonsense"])  # learned, and in no release
    heard.wait_for(b"lines.refused")
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert places(c, "killed") == [50, 0, 0, 0]
    second = process(c, "killed", "killed", "--publish-every", "1s")
    heard = Hearing(second)
    heard.wait_until(lambda: places(c, "killed")[0] >= 70)
    cluster.send("killed", lines[70:])
    heard.wait_until(lambda: places(c, "killed")[0] >= 121)
    second.send_signal(signal.SIGTERM)
    result = json.loads(second.stdout.read())
    assert second.wait() == 0
    assert (result["status"], result["samples"]) == ("published", 70)
    assert state(c) == by_pipe(log, "killed-pipe", lines)


def test_no_broker_is_one_line_and_exit_1(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    c = trained(log, "nobody")
    monkeypatch.setattr(Config, "load", lambda _: c)
    command = ["learn", "-c", "x.toml", "-q", "--kafka", "127.0.0.1:1", "--topic", "t", "--kafka-timeout", "0.5s"]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.startswith("gbdtlr: error: no broker of 127.0.0.1:1 answered within 0.5 s: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--topic", "t"], "need --kafka HOST:PORT and --topic T"),
        (["--kafka", "h:1"], "need --kafka HOST:PORT and --topic T"),
        (["--outcomes-topic", "t"], "need --kafka HOST:PORT and --topic T"),
        (["--from", "latest"], "need --kafka HOST:PORT and --topic T"),
        (["--grace", "5s"], "need --kafka HOST:PORT and --topic T"),
        (["--kafka", "clicks.jsonl", "--topic", "t"], "'clicks.jsonl' is no broker; write HOST:PORT"),
        (["--kafka", "h:1", "--topic", "t", "--partitions", "3-1"], "'3-1' is no list of partitions"),
        (["--kafka", "h:1", "--topic", "t", "--partitions", "a"], "'a' is no list of partitions"),
        (["--kafka", "h:1", "--topic", "t", "--outcomes-topic", "t"], "are the same"),
        (["--kafka", "h:1", "--topic", "t", "--kafka-config", "nowhere"], "cannot read nowhere"),
    ],
)
def test_options_that_cannot_be_are_told(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    c = config(log, "ftrl", store="options")
    monkeypatch.setattr(Config, "load", lambda _: c)
    assert main(["learn", "-c", "x.toml", "-q", *options]) == 2
    assert told in capsys.readouterr().err


def _n_learned(c: Config) -> int:
    head = live(c).online()
    assert head is not None
    return head.n_learned


def test_a_broker_that_goes_away_is_borne_for_a_while_then_what_was_learned_is_published(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gbdtlr.streams.topics.LOOK_EVERY_S", 0.0)
    other = MockCluster()
    other.send("away", messages(30))
    c = trained(log, "away")

    def until(source: Any) -> bool:
        if counted(source) == 30:
            other.stop()
        return False

    with pytest.raises(StreamError, match=r"no broker of .* answered within 0.5 s"):
        learn_from(c, asked(other, "away", timeout=timedelta(seconds=0.5)), until, Clock())
    assert places(c, "away") == [30, 0, 0, 0]
