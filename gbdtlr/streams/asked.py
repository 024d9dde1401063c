"""Asked: what a command line says of the topics to learn from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from gbdtlr.errors import ConfigError

AS_OF, EARLIEST, LATEST = "as-of", "earliest", "latest"
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)
_SERVER = re.compile(r"([a-z_]+://)?([\w.\-]+|\[[0-9a-fA-F:.%\w]+\]):(?P<port>\d{1,5})", re.ASCII | re.IGNORECASE)
_MOST_PARTITIONS = 100_000


@dataclass(frozen=True)
class Asked:
    """What is to be read, and how.

    Attributes
    ----------
    servers : ``host:port`` of some brokers, with commas between
    topic : of the lines, or the impressions
    outcomes_topic : of what came of the impressions; None where lines have their labels
    partitions : numbers of those to be read of each topic; None for all, those that are made later too
    start : where to begin in topics that the live head has not learned of: ``as-of``, ``earliest`` or ``latest``
    lost : where to go on if what follows the live head's place is not there any more, ``earliest`` or ``latest``; None
        for an error
    settings : properties of the client
    timeout : how long brokers may be silent
    grace : how long outcomes may be on their way when the window of their impression is over
    most_waiting : how many impressions that wait, decided ones that are kept, and outcomes, are in memory at most
    """

    servers: str
    topic: str
    outcomes_topic: str | None = None
    partitions: frozenset[int] | None = None
    start: str = AS_OF
    lost: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    timeout: timedelta = timedelta(seconds=30)
    grace: timedelta = timedelta(seconds=10)
    most_waiting: int = 1_000_000

    def __post_init__(self) -> None:
        for server in self.servers.split(","):
            match = _SERVER.fullmatch(server.strip())
            if match is None or not 0 < int(match["port"]) < 65536:
                raise ConfigError(f"--kafka {server.strip()!r} is no broker; write HOST:PORT, such as broker-1:9092")
        if self.topic == self.outcomes_topic:
            raise ConfigError("--topic and --outcomes-topic are the same; impressions and outcomes are two topics")

    @property
    def names(self) -> tuple[str, ...]:
        """The topics."""
        return (self.topic,) if self.outcomes_topic is None else (self.topic, self.outcomes_topic)

    def is_own(self, number: int) -> bool:
        """Whether partitions of this number are to be read."""
        return self.partitions is None or number in self.partitions


def parse_partitions(text: str) -> frozenset[int]:
    """Numbers of partitions written as ``0-3,7``; ``ConfigError`` for anything else."""
    found: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < _MOST_PARTITIONS:
            raise ConfigError(f"{text!r} is no list of partitions; write one such as 0-3,7")
        found.update(range(first, last + 1))
    return frozenset(found)
