"""Two topics: impressions and their outcomes, joined in memory; each impression is a line when its label is final.

How far both are read is told by when their messages were sent, and, where a partition has nothing more, by asking the
cluster: so what waits for outcomes does so however far either topic lags, and decides nothing while no broker answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from gbdtlr.config import Config
from gbdtlr.errors import ConfigError
from gbdtlr.samples import Joined
from gbdtlr.streams.asked import Asked
from gbdtlr.streams.kafka import Message, Partition
from gbdtlr.streams.places import Place, Places
from gbdtlr.streams.source import Piece
from gbdtlr.streams.topic import FromKafka
from gbdtlr.streams.topics import Say
from gbdtlr.streams.waiting import Waiting, in_topic
from gbdtlr.times import to_us

_NEVER = -(2**62)
_LEAST_AHEAD_US = 60 * 1_000_000


class TwoTopics(FromKafka):
    """Impressions with their labels.

    Attributes
    ----------
    ask_every_s : how often partitions that have nothing more are asked for more, while anything waits
    """

    joins = True
    ask_every_s = 1.0

    def __init__(
        self,
        asked: Asked,
        config: Config,
        clock: Callable[[], datetime],
        stopped: Callable[[], bool],
        say: Say,
    ) -> None:
        """Connect; raises as :class:`gbdtlr.streams.kafka.Cluster`, and ``ConfigError`` without ``[outcomes]``."""
        if config.outcomes is None or asked.outcomes_topic is None:
            raise ConfigError(
                "--outcomes-topic needs [samples] key and a table [outcomes] with key, time and window, which say how "
                "outcomes are joined; write them, or leave it out where lines have their labels"
            )
        super().__init__(asked, stopped, say)
        self._clock, self._samples = clock, config.samples
        self._impressions, self._outcomes = asked.topic, asked.outcomes_topic
        self._window_us = config.outcomes.window // timedelta(microseconds=1)
        self._grace_us = asked.grace // timedelta(microseconds=1)
        self._joined_published, self._n_late_published = Joined(), 0
        self._progress: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._asked_at = time.monotonic()
        self._waiting = self._waiting_from({})

    @property
    def joined(self) -> Joined:  # type: ignore[override]  # read only here
        """What it came across in joining."""
        return self._waiting.joined

    def _waiting_from(self, places: Mapping[Partition, Place]) -> Waiting:
        of_topics = tuple(
            {number: place for (name, number), place in places.items() if name == topic}
            for topic in (self._impressions, self._outcomes)
        )
        both = (of_topics[0], of_topics[1])
        joined = replace(self._joined_published)
        return Waiting(self._samples, self._grace_us, self._asked.most_waiting, both, joined, self._n_late_published)

    def begin(self, places: Places | None, as_of: datetime) -> None:
        """Go on from these places; raises as :meth:`Source.begin`."""
        self._topics.resume(sorted(self._paused))
        self._paused = set()
        self._before = self._topics.own(places)
        back_us = 2 * self._window_us + self._grace_us
        # The live head has learned in files what is older, whoever reads which partitions.
        learned_us = {self._impressions: to_us(as_of) - self._window_us}
        found = self._topics.begin(places, as_of, dict.fromkeys(self._asked.names, back_us), learned_us)
        numbers = {topic: {number for name, number in found if name == topic} for topic in self._asked.names}
        if self._asked.partitions is not None and numbers[self._impressions] != numbers[self._outcomes]:
            raise ConfigError(
                "--partitions names partitions that only one of the topics has; both must be partitioned by the key, "
                "and alike"
            )
        self._begun = found
        self._waiting = self._waiting_from(found)
        self._progress = dict.fromkeys(found, _NEVER)

    def pieces(self) -> Iterator[Piece]:
        """Impressions whose label is final, in the order they happened, until it is stopped."""
        while not self._stopped():
            for partition in self._topics.look():
                self._progress[partition] = _NEVER
            now_us = to_us(self._clock())
            self._take(self._topics.read(self.wait_s), now_us)
            self._ask()
            read_us = min(self._progress.values())
            self._balance(read_us)
            yield self._waiting.decide(read_us - self._window_us - self._grace_us)

    def _take(self, messages: list[Message], now_us: int) -> None:
        self._values(messages)  # counts tombstones
        try:
            self._waiting.add_outcomes(in_topic(messages, self._outcomes))
        finally:  # what was learned is published though there is no place for more: all that counts as read must wait
            self._waiting.add_impressions(in_topic(messages, self._impressions))
        for message in messages:
            # Others that were sent in the same millisecond may follow, and some clocks are ahead: what is off by more
            # than outcomes may be on their way says nothing about when the others were sent.
            if message.sent_us is not None and message.sent_us <= now_us + self._grace_us:
                sent_us = min(message.sent_us - 1, now_us)
                self._progress[message.partition] = max(self._progress[message.partition], sent_us)

    def _ask(self) -> None:
        """Note of partitions that have nothing more up to when that is so."""
        if not self._waiting.holds_any or time.monotonic() - self._asked_at < self.ask_every_s:
            return
        self._asked_at = time.monotonic()
        now_us = to_us(self._clock())
        for partition in self._topics.still_at_end():
            self._progress[partition] = max(self._progress[partition], now_us)

    def _balance(self, read_us: int) -> None:
        """Let partitions wait that are far ahead of the others: what they hold would wait in memory."""
        far_us = max(_LEAST_AHEAD_US, self._window_us // 2)
        if read_us == _NEVER:
            return
        ahead = {each for each, us in self._progress.items() if us > read_us + far_us}
        near = {each for each in self._paused if self._progress[each] <= read_us + far_us // 2}
        self._topics.pause(sorted(ahead - self._paused))
        self._topics.resume(sorted(near))
        self._paused = (self._paused | ahead) - near

    def places(self) -> Places:
        """Behind what was handed out: from where on what still waits is to be read again."""
        next_: dict[str, dict[int, int]] = {name: {} for name in self._asked.names}
        for (name, number), offset in self._topics.next.items():
            next_[name][number] = offset
        found = {
            self._impressions: self._waiting.places_of_impressions(next_[self._impressions]),
            self._outcomes: self._waiting.places_of_outcomes(next_[self._outcomes]),
        }
        return self._topics.places({(name, each): at for name, places in found.items() for each, at in places.items()})

    def published(self) -> None:
        """Note that a head with :meth:`places` is live."""
        super().published()
        self._joined_published, self._n_late_published = replace(self._waiting.joined), self._waiting.n_late

    def metrics(self) -> Mapping[str, Any]:
        """Lag, and how many impressions wait, and how many came too late."""
        waiting = {"waiting": len(self._waiting), "impressions_late": self._waiting.n_late}
        return {**waiting, **super().metrics()}
