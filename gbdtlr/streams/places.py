"""Places: up to where each partition of a topic is learned, kept in a head's manifest and so published with it.

Nothing is committed to the cluster: a head and its places go live in one step, or neither does, so whatever is killed
and whenever, each message is learned once by every chain of heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gbdtlr.codec.documents import Whole, Word, read
from gbdtlr.errors import DamagedError

PLACES = "kafka"
"""Of a head's manifest: its places; heads that have learned of no topic have none."""


@dataclass(frozen=True)
class Place:
    """Where a partition stands.

    Where impressions wait for their outcomes, messages before ``read`` are read again; nothing of them is counted, or
    learned, twice.

    Attributes
    ----------
    offset : no message before it is still to be learned
    read : none before it is still to be read for the first time; ``offset`` where that is None
    kept : none before it is of use to what waits; ``offset`` where that is None
    until_us : impressions that happened up to this moment are learned, microseconds since 1970
    """

    offset: Whole
    read: Whole | None = None
    kept: Whole | None = None
    until_us: Word | None = None

    @property
    def next(self) -> int:
        """The first message that was never read."""
        return self.offset if self.read is None else self.read

    @property
    def first(self) -> int:
        """The message to begin with."""
        return self.offset if self.kept is None else self.kept


@dataclass(frozen=True)
class TopicPlaces:
    """Places in a topic.

    Attributes
    ----------
    partitions : by their numbers, written out; all there were when the topic was first learned of, and later ones
    id : of the topic, which another of its name has not; None where the cluster does not say
    """

    partitions: dict[str, Place]
    id: str | None = None

    def of(self, number: int) -> Place | None:
        """Place in a partition; None where it has none."""
        return self.partitions.get(str(number))


@dataclass(frozen=True)
class Places:
    """Places in the topics of a cluster.

    Attributes
    ----------
    cluster : its id; None where it does not say
    topics : by their names
    """

    cluster: str | None = None
    topics: dict[str, TopicPlaces] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Places | None:
        """Places in a head's manifest; None where there are none.

        Raises
        ------
        DamagedError
        """
        stored = manifest.get(PLACES)
        if stored is None:
            return None
        places = read(stored, cls, "the head's places in topics")
        for name, topic in places.topics.items():
            if wrong := [number for number in topic.partitions if not (number.isascii() and number.isdecimal())]:
                raise DamagedError(f"the head's places in topics are damaged: {name[:80]!r} has none {wrong[0][:80]!r}")
        return places

    def to_dict(self) -> dict[str, Any]:
        """The places in JSON's types, as :meth:`of` reads them; what is None is left out."""
        topics = {name: _plain(topic) for name, topic in self.topics.items()}
        return {**({} if self.cluster is None else {"cluster": self.cluster}), "topics": topics}

    def of_topic(self, name: str) -> TopicPlaces | None:
        """Places in a topic; None where there are none."""
        return self.topics.get(name)


def _plain(topic: TopicPlaces) -> dict[str, Any]:
    partitions = {
        number: {key: value for key, value in vars(place).items() if value is not None}
        for number, place in topic.partitions.items()
    }
    return {**({} if topic.id is None else {"id": topic.id}), "partitions": partitions}
