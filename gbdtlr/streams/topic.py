"""A topic of lines: each message is one, with its label."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from gbdtlr.streams.asked import Asked
from gbdtlr.streams.kafka import Message, Partition
from gbdtlr.streams.places import Place, Places
from gbdtlr.streams.source import Piece, Source
from gbdtlr.streams.topics import Say, Topics


class FromKafka(Source):
    """What all sources of topics have in common: how they begin, and what they tell.

    Attributes
    ----------
    wait_s : how long nothing may come before time is looked at
    """

    wait_s = 0.5

    def __init__(self, asked: Asked, stopped: Callable[[], bool], say: Say) -> None:
        """Connect; raises as :class:`gbdtlr.streams.kafka.Cluster`.

        Parameters
        ----------
        stopped : whether to end
        say : is told of partitions and lag
        """
        self._asked, self._stopped, self._say = asked, stopped, say
        self._topics = Topics(asked, say)
        self._before: dict[Partition, Place] = {}
        self._begun: dict[Partition, Place] = {}
        self._n_tombstones = 0

    def close(self) -> None:
        """Let the connections go."""
        self._topics.close()

    def began_at(self, places: Places | None) -> bool:
        """Whether these places are those it began at, or was published with, in all partitions that it reads."""
        own = self._topics.own(places)
        for partition in own.keys() | self._before.keys():
            # Another stream may have published where this one began, of a topic that the head had not known.
            if own.get(partition) not in (self._before.get(partition), self._begun.get(partition)):
                return False
        self._topics.adopt(places)
        return True

    def published(self) -> None:
        """Note that a head with :meth:`places` is live."""
        self._before = self._begun = self._topics.own(self.places())

    def metrics(self) -> Mapping[str, Any]:
        """Lag, in messages that are there and not read, and tombstones."""
        lag = self._topics.lag()
        total = sum(sum(topic.values()) for topic in lag.values())
        return {"lag": total, "tombstones": self._n_tombstones, "lag_of_partitions": lag}

    def _values(self, messages: list[Message]) -> list[bytes]:
        """What messages hold; nothing, which counts as blank, for a tombstone."""
        self._n_tombstones += sum(message.value is None for message in messages)
        return [message.value or b"" for message in messages]


class TopicOfLines(FromKafka):
    """Lines of a topic's partitions, each in its order."""

    def begin(self, places: Places | None, as_of: datetime) -> None:
        """Go on from these places; raises as :meth:`Source.begin`."""
        self._before = self._topics.own(places)
        self._begun = self._topics.begin(places, as_of, {self._asked.topic: 0})

    def pieces(self) -> Iterator[Piece]:
        """The lines as they come, until it is stopped."""
        while not self._stopped():
            self._topics.look()
            yield Piece(self._values(self._topics.read(self.wait_s)))

    def places(self) -> Places:
        """Behind the last lines handed out."""
        return self._topics.places({partition: Place(offset) for partition, offset in self._topics.next.items()})
