"""A cluster of Kafka's in this process: librdkafka's own mock, and what it takes to learn from it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from confluent_kafka import Producer

from gbdtlr.config import Config
from gbdtlr.jobs.learn import learn
from gbdtlr.streams.asked import Asked
from gbdtlr.streams.topic import FromKafka, TopicOfLines
from gbdtlr.streams.two_topics import TwoTopics
from gbdtlr.times import to_us

MOST_LOOKS = 4000  # a source that never comes to its end fails, and does not hang


def silent() -> logging.Logger:
    """For what clients of the tests say."""
    logger = logging.getLogger("clients of tests")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    return logger


class MockCluster:
    """One broker, whose topics have four partitions each, and are there once something was sent to them."""

    def __init__(self) -> None:
        mock = {"test.mock.num.brokers": 1, "bootstrap.servers": "", "linger.ms": 0, "logger": silent()}
        self._producer: Producer | None = Producer(mock)
        brokers = self._producer.list_topics(timeout=10).brokers.values()
        self.servers = ",".join(f"{each.host}:{each.port}" for each in brokers)

    def send(
        self, topic: str, values: Iterable[bytes | str | None], partition: int = 0, sent: Sequence[datetime] = ()
    ) -> None:
        """Send messages to a partition, with the times they were sent at, or now."""
        assert self._producer is not None, "it is gone"
        for i, value in enumerate(values):
            at = {"timestamp": to_us(sent[i]) // 1000} if sent else {}
            self._producer.produce(topic, value, partition=partition, **at)
        assert self._producer.flush(10) == 0

    def stop(self) -> None:
        """Be gone, as a broker whose machine is."""
        self._producer = None


def asked(cluster: MockCluster, topic: str, outcomes_topic: str | None = None, **more: Any) -> Asked:
    """What a command line asks for, from the beginning of the topics."""
    usual = {"start": "earliest", "timeout": timedelta(seconds=5), "settings": {"fetch.wait.max.ms": "10"}}
    return Asked(cluster.servers, topic, outcomes_topic, **{**usual, **more})


def counted(source: FromKafka) -> int:
    """How many messages it has read, or passed over, since offset 0 of all its partitions."""
    return sum(source._topics.next.values())


@contextmanager
def opened(
    c: Config, what: Asked, is_done: Callable[[FromKafka], bool], clock: Callable[[], datetime], told: list[Any]
) -> Iterator[FromKafka]:
    """The source that was asked for; ends when ``is_done`` says so, which is asked before each piece."""
    looks: list[int] = []

    def stopped() -> bool:
        looks.append(1)
        assert len(looks) < MOST_LOOKS, f"{counted(source)} messages were read"
        return is_done(source)

    def say(name: str, **fields: Any) -> None:
        told.append((name, fields))

    source: FromKafka = (
        TopicOfLines(what, stopped, say) if what.outcomes_topic is None else TwoTopics(what, c, clock, stopped, say)
    )
    source.wait_s = 0.01
    if isinstance(source, TwoTopics):
        source.ask_every_s = 0.0
    try:
        yield source
    finally:
        source.close()


def learn_from(
    c: Config,
    what: Asked,
    until: int | Callable[[FromKafka], bool],
    clock: Callable[[], datetime],
    told: list[Any] | None = None,
    **options: Any,
) -> Any:
    """Learn until so many messages were read, or ``until`` says so."""
    told = [] if told is None else told
    done = (lambda source: counted(source) >= until) if isinstance(until, int) else until
    with opened(c, what, done, clock, told) as source:
        every = {"publish_every": timedelta(minutes=1), **options}
        return learn(c, source, clock, on_event=lambda name, **fields: told.append((name, fields)), **every)


def lines_of(rows: Iterable[dict[str, Any]]) -> list[bytes]:
    """Rows as the messages that hold them."""
    return [json.dumps(row).encode() for row in rows]
