"""Topics: partitions read on from where a head has learned them, those that appear taken up, and how far there is to
go."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from gbdtlr.errors import StreamError
from gbdtlr.streams.asked import AS_OF, EARLIEST, LATEST, Asked
from gbdtlr.streams.kafka import Cluster, End, Message, Partition
from gbdtlr.streams.places import Place, Places, TopicPlaces
from gbdtlr.times import to_us

LOOK_EVERY_S = 10.0
"""How often it is looked whether topics have new partitions, and whether brokers still answer."""
_GO_ON = "go on without them: --lost earliest, or --lost latest to leave out all that is there"
Say = Callable[..., None]


class Topics:
    """The topics that were asked for, as far as they were read.

    Attributes
    ----------
    next : offset of what comes next in each partition that is read
    at_end : of these, those read up to their end, as far as is known
    """

    def __init__(self, asked: Asked, say: Say) -> None:
        """Connect; raises as :class:`Cluster`."""
        self._asked, self._say = asked, say
        self._cluster = Cluster(asked.servers, asked.settings, asked.timeout.total_seconds())
        self._ids: dict[str, str | None] = {}
        self._before: Places = Places()
        self._begun: dict[str, TopicPlaces] = {}
        self._looked_at = time.monotonic()
        self.next: dict[Partition, int] = {}
        self.at_end: set[Partition] = set()

    def close(self) -> None:
        """Let the connections go."""
        self._cluster.close()

    def begin(
        self,
        places: Places | None,
        as_of: datetime,
        back_us: Mapping[str, int],
        until_us: Mapping[str, int] = MappingProxyType({}),
    ) -> dict[Partition, Place]:
        """Go on from these places; raises as :meth:`gbdtlr.streams.source.Source.begin`.

        Parameters
        ----------
        back_us : how long before ``as_of`` to begin in each topic that the places do not know
        until_us : up to when what happened is learned in such a topic, if it is begun there

        Returns
        -------
        places : of the partitions that are read from now on
        """
        places = places or Places()
        self._before, self._begun = places, {}
        self._cluster.assign({})  # or questions would wait behind what is read
        elsewhere = bool(places.topics) and None not in (places.cluster, self._cluster.id)
        elsewhere = elsewhere and places.cluster != self._cluster.id
        found: dict[Partition, Place] = {}
        starts: dict[Partition, int] = {}
        for name in self._asked.names:
            self._ids[name] = self._cluster.topic_id(name)
            known = places.of_topic(name)
            if known is not None and (why := self._is_another(name, known, elsewhere)):
                if self._asked.lost is None:
                    raise StreamError(f"{why}; begin it anew with --lost earliest, or --lost latest")
                topic = self._anew(name, self._asked.lost, as_of, 0)
            elif known is None:
                topic = self._anew(name, self._asked.start, as_of, back_us[name], until_us.get(name))
            else:
                topic = self._on(name, known)
            self._begun[name] = topic
            own = {int(number): place for number, place in topic.partitions.items() if self._asked.is_own(int(number))}
            if not own:
                there = ", ".join(sorted(topic.partitions, key=int))
                raise StreamError(f"topic {name} has none of the partitions that --partitions names, but {there}")
            for number, place in own.items():
                found[name, number] = place
                starts[name, number] = max(place.first, self._cluster.bounds((name, number))[0])
        self.next, self.at_end = dict(starts), set()
        self._cluster.assign(starts)
        offsets: dict[str, dict[str, int]] = {name: {} for name in self._asked.names}
        for (name, number), offset in sorted(starts.items()):
            offsets[name][str(number)] = offset
        partitions = {name: len(each) for name, each in offsets.items()}
        self._say("kafka.assigned", cluster=self._cluster.id, partitions=partitions, offsets=offsets)
        return found

    def _is_another(self, name: str, known: TopicPlaces, elsewhere: bool) -> str:
        """Why the topic is not the one that the live head has learned of; empty if it is, as far as can be told."""
        if elsewhere:
            return (
                f"the live head has learned {name} of the cluster {self._before.cluster}, "
                f"and {self._asked.servers} is {self._cluster.id}"
            )
        own = self._ids[name]
        if known.id is not None and own is not None and known.id != own:
            return f"topic {name} was made anew since the live head learned of it (its id is {own}, it was {known.id})"
        numbers = self._cluster.partitions(name)
        if gone := [each for each in sorted(map(int, known.partitions)) if each not in numbers]:
            return (
                f"topic {name} has {len(numbers)} partitions, and the live head has learned of partition {gone[-1]}: "
                "it was made anew"
            )
        return ""

    def _anew(self, name: str, start: str, as_of: datetime, back_us: int, until_us: int | None = None) -> TopicPlaces:
        """Places in a topic that is begun; in all partitions, so that those that appear later are known by that.

        Those that another stream will read have what the live head knows of them, too: it is another one by then.
        """
        numbers = self._cluster.partitions(name)
        if start == AS_OF:
            offsets = self._cluster.sent_from(name, numbers, to_us(as_of) - back_us)
        else:
            offsets, until_us = {each: self._cluster.bounds((name, each))[start == LATEST] for each in numbers}, None
        return TopicPlaces({str(each): Place(offsets[each], until_us=until_us) for each in numbers}, self._ids[name])

    def _on(self, name: str, known: TopicPlaces) -> TopicPlaces:
        """Places in a topic that is gone on with."""
        found = {}
        for number in self._cluster.partitions(name):
            place = known.of(number)
            if place is None:
                place = Place(self._cluster.bounds((name, number))[0])
            elif self._asked.is_own(number):
                place = self._still_there((name, number), place)
            found[str(number)] = place
        return TopicPlaces(found, self._ids[name])

    def _still_there(self, partition: Partition, place: Place) -> Place:
        """The place, or where to go on instead if what follows it is gone."""
        low, high = self._cluster.bounds(partition)
        where = f"{partition[0]}[{partition[1]}]"
        if place.offset < low:
            told = f"{where} begins at offset {low}, and is learned up to {place.offset}: {low - place.offset} are gone"
        elif place.next > high:
            told = f"{where} ends at offset {high}, and is learned up to {place.next}: the topic was made anew, or cut"
        else:
            return place
        if self._asked.lost is None:
            raise StreamError(f"{told}; {_GO_ON}")
        self._say("kafka.lost", partition=where, reason=told, going_on_at=self._asked.lost)
        offset = low if self._asked.lost == EARLIEST else high
        is_read = place.offset < low and place.read is not None and self._asked.lost == EARLIEST
        return Place(offset, max(place.next, low) if is_read else None, None, place.until_us)

    def read(self, wait_s: float) -> list[Message]:
        """The messages that have come; raises as :meth:`Cluster.read`."""
        found = []
        for each in self._cluster.read(wait_s):
            if each.partition not in self.next:
                continue  # of an assignment before
            self.next[each.partition] = max(self.next[each.partition], each.offset + isinstance(each, Message))
            if isinstance(each, End):
                self.at_end.add(each.partition)
            else:
                self.at_end.discard(each.partition)
                found.append(each)
        return found

    def look(self) -> list[Partition]:
        """Partitions that have appeared, read from their beginning from now on; looks now and then.

        Raises
        ------
        StreamError
            No broker has answered for as long as is borne, or a topic was made anew.
        """
        if time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return []
        appeared: list[Partition] = []
        for name in self._asked.names:
            numbers = self._cluster.look(name)
            topic = self._begun[name]
            if numbers is not None and len(numbers) < len(topic.partitions):
                raise StreamError(
                    f"topic {name} has {len(numbers)} partitions, it had {len(topic.partitions)}: it was "
                    "made anew; start again"
                )
            for number in numbers or ():
                if topic.of(number) is None:
                    topic.partitions[str(number)] = Place(self._cluster.bounds((name, number))[0])
                    appeared += [(name, number)] if self._asked.is_own(number) else []
        self._looked_at = time.monotonic()
        if appeared:
            starts = {each: self._begun[each[0]].partitions[str(each[1])].offset for each in appeared}
            self.next.update(starts)
            self._cluster.assign_too(starts)
            self._say("kafka.partitions", appeared=", ".join(f"{name}[{number}]" for name, number in appeared))
        return appeared

    def still_at_end(self) -> list[Partition]:
        """Partitions in which nothing more stands just now; asks the cluster."""
        ends = self._cluster.ends(self.at_end) if self.at_end else {}
        return [partition for partition, end in ends.items() if self.next[partition] >= end]

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Read nothing more of these for now."""
        if partitions:
            self._cluster.pause(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Read these again."""
        if partitions:
            self._cluster.resume(partitions)

    def places(self, own: Mapping[Partition, Place]) -> Places:
        """Places of a head that has learned up to ``own``, and in other partitions and topics what those before had."""
        topics = dict(self._before.topics)
        if self._before.cluster not in (None, self._cluster.id):
            topics = {}
        for name, begun in self._begun.items():
            numbers = dict(begun.partitions)
            numbers.update({str(number): place for (topic, number), place in own.items() if topic == name})
            topics[name] = TopicPlaces(numbers, begun.id)
        return Places(self._cluster.id, topics)

    def adopt(self, places: Places | None) -> None:
        """Take over what a newer head says of partitions that are not read here."""
        places = places or Places()
        self._before = places
        for name, begun in self._begun.items():
            topic = places.of_topic(name)
            others = {} if topic is None else topic.partitions
            begun.partitions.update({each: at for each, at in others.items() if not self._asked.is_own(int(each))})

    def own(self, places: Places | None) -> dict[Partition, Place]:
        """Those of the places that are of partitions which are read here."""
        topics = {} if places is None else {name: places.of_topic(name) for name in self._asked.names}
        return {
            (name, int(number)): place
            for name, topic in topics.items()
            if topic is not None
            for number, place in topic.partitions.items()
            if self._asked.is_own(int(number))
        }

    def lag(self) -> dict[str, dict[str, int]]:
        """How many messages of each partition, by topic and number, are there and not read, as far as is known."""
        found: dict[str, dict[str, int]] = {name: {} for name in self._asked.names}
        for name, number in sorted(self.next):
            ahead = self._cluster.ahead((name, number))
            if ahead is not None:
                found[name][str(number)] = max(0, ahead - self.next[name, number])
        return found
