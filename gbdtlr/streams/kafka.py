"""Kafka: the one door to its client. Partitions are assigned and read; no group is joined, and nothing is committed.

A broker that does not answer is waited for, but no longer than a bound; whatever the client says about it is kept for
the one line that tells, and goes nowhere else.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from gbdtlr.errors import ConfigError, StreamError
from gbdtlr.streams.settings import without_secrets

_MOST = 10_000
"""Messages of a piece."""
_ANSWER_S = 5.0
"""How long one question may take, of all the time that a broker has to answer one."""
_NOTHING = "AAAAAAAAAAAAAAAAAAAAAA"
"""The id of a topic on a cluster that gives topics none."""

Partition = tuple[str, int]
"""Name of a topic, and number of a partition of it."""


class Message(NamedTuple):
    """One message: where it stands, what it holds (None for a tombstone), and when it was sent, if it says so."""

    partition: Partition
    offset: int
    value: bytes | None
    sent_us: int | None


class End(NamedTuple):
    """A partition was read up to its end; ``offset`` is that of what comes next."""

    partition: Partition
    offset: int


class Cluster:
    """A cluster of brokers, as one client sees it.

    Attributes
    ----------
    id : that the cluster gives itself; None where it has none
    """

    def __init__(self, servers: str, settings: Mapping[str, str], timeout_s: float) -> None:
        """Connect.

        Raises
        ------
        ConfigError
            The client is not installed, or a setting is none.
        StreamError
            No broker answers within the time.
        """
        try:
            import confluent_kafka
            from confluent_kafka import admin
        except ImportError:
            raise ConfigError("--kafka needs the extra kafka; install it with: pip install 'gbdtlr[kafka]'") from None
        kafka: Any = confluent_kafka  # its types say less than it does
        clients: Any = admin
        self._kafka, self._to_end = kafka, clients.OffsetSpec
        self._servers, self._timeout_s = servers, timeout_s
        self._settings = dict(settings)
        self._last_error = ""
        self._heard_at = time.monotonic()
        try:
            self._consumer = kafka.Consumer(self._properties())
            # A question on the consumer's own connection would wait behind what that waits for.
            asked = {**self._settings, "bootstrap.servers": servers, "error_cb": self._note, "logger": _silent()}
            self._admin = clients.AdminClient(asked)
        except (kafka.KafkaException, TypeError, ValueError) as error:
            raise ConfigError(f"--kafka-config: {self._told(error)}") from None
        self.id = self._metadata(None, timeout_s).cluster_id or None

    def _properties(self) -> dict[str, Any]:
        own = {
            "bootstrap.servers": self._servers,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "error_cb": self._note,
            "logger": _silent(),
        }
        # The client wants to know a group, and asks nothing of it.
        usual = {"client.id": "gbdtlr", "group.id": "gbdtlr", "topic.metadata.refresh.interval.ms": 10_000}
        return {**usual, **self._settings, **own}

    def _note(self, error: Any) -> None:
        self._last_error = self._told(error)

    def _told(self, error: object) -> str:
        """What the client says of an error, on one line, without secrets."""
        inner = error.args[0] if isinstance(error, self._kafka.KafkaException) and error.args else error
        text = inner.str() if isinstance(inner, self._kafka.KafkaError) else str(inner)
        return without_secrets(" ".join(text.split()), self._settings)

    def close(self) -> None:
        """Let the connections go."""
        with contextlib.suppress(self._kafka.KafkaException, RuntimeError):
            self._consumer.close()

    def _metadata(self, topic: str | None, timeout_s: float) -> Any:
        try:
            # The consumer's, as a question of the other client's would make a topic that is not there.
            found = self._consumer.list_topics(*([topic] if topic else []), timeout=timeout_s)
        except self._kafka.KafkaException as error:
            raise self._unanswered(self._told(error)) from None
        self._heard_at = time.monotonic()
        return found

    def _unanswered(self, reason: str) -> StreamError:
        last = self._last_error if self._last_error and self._last_error != reason else ""
        return StreamError(
            f"no broker of {self._servers} answered within {self._timeout_s:g} s: {reason}"
            f"{f' ({last})' if last else ''}; see --kafka, --kafka-config and the network, or give more --kafka-timeout"
        )

    def partitions(self, topic: str) -> list[int]:
        """Numbers of the partitions of a topic, in order.

        Raises
        ------
        StreamError
            No broker answers, or there is no such topic, or none that may be read.
        """
        return self._numbers(topic, self._metadata(topic, self._timeout_s))

    def _numbers(self, topic: str, metadata: Any) -> list[int]:
        found = metadata.topics.get(topic)
        if found is None or not found.partitions:
            reason = "it has no such topic" if found is None or found.error is None else self._told(found.error)
            raise StreamError(
                f"topic {topic} cannot be read at {self._servers}: {reason}; name another, or make it there first"
            )
        return sorted(found.partitions)

    def look(self, topic: str) -> list[int] | None:
        """As :meth:`partitions`, but None if nobody answers just now, which is borne for the time that is given."""
        try:
            metadata = self._metadata(topic, min(_ANSWER_S, self._timeout_s))
        except StreamError:
            if time.monotonic() - self._heard_at > self._timeout_s:
                raise
            return None
        return self._numbers(topic, metadata)

    def topic_id(self, topic: str) -> str | None:
        """Id that another topic of the same name has not; None where the cluster does not say."""
        metadata = self._metadata(topic, self._timeout_s)
        if metadata.controller_id not in metadata.brokers:
            return None  # nobody to ask
        try:
            answer = self._admin.describe_topics(self._kafka.TopicCollection([topic]), request_timeout=_ANSWER_S)
            found = str(answer[topic].result(_ANSWER_S).topic_id)
        except Exception:  # an old cluster, or one that lets nobody ask; what is read is checked all the same
            return None
        return None if found == _NOTHING else found

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """Offset of the first message of a partition, and that of the one that comes next; raises as above."""
        try:
            found = self._consumer.get_watermark_offsets(self._at(partition), timeout=self._timeout_s)
        except self._kafka.KafkaException as error:
            raise self._unanswered(self._told(error)) from None
        if found is None:
            raise self._unanswered("timed out")
        self._heard_at = time.monotonic()
        return int(found[0]), int(found[1])

    def ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Offset of what comes next in partitions, as the cluster says now.

        None of them if nobody answers just now, which is borne for the time that is given.
        """
        level = self._kafka.IsolationLevel
        uncommitted = self._settings.get("isolation.level") == "read_uncommitted"
        options = {"isolation_level": level.READ_UNCOMMITTED if uncommitted else level.READ_COMMITTED}
        asked = {self._at(partition): self._to_end.latest() for partition in partitions}
        wait_s = min(_ANSWER_S, self._timeout_s)
        try:
            answers = self._admin.list_offsets(asked, request_timeout=wait_s, **options)
            found = {(at.topic, at.partition): int(answer.result(wait_s).offset) for at, answer in answers.items()}
        except (self._kafka.KafkaException, TimeoutError) as error:
            if time.monotonic() - self._heard_at > self._timeout_s:
                raise self._unanswered(self._told(error)) from None
            return {}
        self._heard_at = time.monotonic()
        return found

    def ahead(self, partition: Partition) -> int | None:
        """Offset of what comes next in a partition, as the last answer said; None if there was none yet."""
        found = self._consumer.get_watermark_offsets(self._at(partition), cached=True)
        return None if found is None or found[1] < 0 else int(found[1])

    def sent_from(self, topic: str, numbers: Sequence[int], us: int) -> dict[int, int]:
        """Offset of the first message of each partition that was sent at a time or later; of none, the end's."""
        # Asked for before, or what comes in between would be passed over.
        ends = {number: self.bounds((topic, number))[1] for number in numbers}
        asked = [self._at((topic, number), max(0, us // 1000)) for number in numbers]
        try:
            answers = self._consumer.offsets_for_times(asked, timeout=self._timeout_s)
        except self._kafka.KafkaException as error:
            raise self._unanswered(self._told(error)) from None
        found = {}
        for each in answers:
            if each.error is not None:
                raise StreamError(f"{topic}[{each.partition}] cannot be read: {self._told(each.error)}")
            found[each.partition] = each.offset if each.offset >= 0 else ends[each.partition]
        return found

    def assign(self, starts: Mapping[Partition, int]) -> None:
        """Read these partitions from these offsets on, and no others."""
        self._consumer.assign([self._at(partition, offset) for partition, offset in starts.items()])

    def assign_too(self, starts: Mapping[Partition, int]) -> None:
        """Read these partitions as well."""
        self._consumer.incremental_assign([self._at(partition, offset) for partition, offset in starts.items()])

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Read nothing more of these partitions for now."""
        self._consumer.pause([self._at(partition) for partition in partitions])

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Read these partitions again."""
        self._consumer.resume([self._at(partition) for partition in partitions])

    def _at(self, partition: Partition, offset: int | None = None) -> Any:
        make = self._kafka.TopicPartition
        return make(*partition) if offset is None else make(*partition, offset)

    def read(self, wait_s: float) -> list[Message | End]:
        """What has come, in the order of each partition; nothing if nothing comes within the time.

        Raises
        ------
        StreamError
            A partition cannot be read on.
        """
        first = self._consumer.poll(wait_s)
        if first is None:
            return []
        found: list[Message | End] = []
        for each in (first, *self._consumer.consume(_MOST - 1, 0)):
            if (error := each.error()) is not None:
                found += self._end(each, error)
                continue
            kind, sent_ms = each.timestamp()
            sent_us = None if kind == self._kafka.TIMESTAMP_NOT_AVAILABLE else sent_ms * 1000
            found.append(Message((each.topic(), each.partition()), each.offset(), each.value(), sent_us))
        if found:  # what the client says of itself is no answer
            self._heard_at = time.monotonic()
        return found

    def _end(self, message: Any, error: Any) -> list[End]:
        """What an error says: the end of a partition, or nothing that does not pass; raises if it does not."""
        kind, code = self._kafka.KafkaError, error.code()
        if code == kind._PARTITION_EOF:
            return [End((message.topic(), message.partition()), message.offset())]
        where = f"{message.topic()}[{message.partition()}]" if message.topic() else self._servers
        if code in (kind._AUTO_OFFSET_RESET, kind.OFFSET_OUT_OF_RANGE):
            raise StreamError(
                f"{where}: the messages that come next are not there any more ({self._told(error)}); start again, "
                "which says how many are gone, or with --lost earliest to go on without them"
            )
        self._note(error)
        if error.retriable() or code in (kind._TRANSPORT, kind._ALL_BROKERS_DOWN, kind._TIMED_OUT, kind._RESOLVE):
            return []
        raise StreamError(f"{where} cannot be read: {self._told(error)}")


def _silent() -> logging.Logger:
    """Where what the client says about itself ends."""
    logger = logging.getLogger("gbdtlr.kafka.client")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger
