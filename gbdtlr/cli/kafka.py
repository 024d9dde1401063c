"""Options of ``learn`` that name topics of a Kafka cluster, and the source they ask for."""

from __future__ import annotations

import functools
import select
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from gbdtlr.cli.session import Function, Session, duration, wall_clock
from gbdtlr.errors import ConfigError

if TYPE_CHECKING:
    from gbdtlr.streams.topic import FromKafka

_STARTS = ("as-of", "earliest", "latest")
_NEED = "need --kafka HOST:PORT and --topic T; for standard input leave all of their options out"


def options(function: Function) -> Function:
    """The options, handed on together as ``kafka``; None where none is given that says to read topics."""

    def handing_on(
        *args: Any,
        kafka: str | None,
        topic: str | None,
        outcomes_topic: str | None,
        partitions: str | None,
        start: str,
        lost: str | None,
        kafka_config: str | None,
        kafka_timeout: timedelta,
        grace: timedelta,
        max_waiting: int,
        **others: Any,
    ) -> Any:
        if (kafka is None) != (topic is None) or (kafka is None and _given()):
            raise ConfigError(f"topics of Kafka {_NEED}")
        asked = None
        if kafka is not None and topic is not None:
            from gbdtlr.streams.asked import Asked, parse_partitions
            from gbdtlr.streams.settings import read_settings

            own = None if partitions is None else parse_partitions(partitions)
            settings = {} if kafka_config is None else read_settings(kafka_config)
            places = (topic, outcomes_topic, own, start, lost)
            asked = Asked(kafka, *places, settings, kafka_timeout, grace, max_waiting)
        return function(*args, kafka=asked, **others)

    command: Function = functools.wraps(function)(handing_on)
    return functools.reduce(lambda made, option: option(made), reversed(_OPTIONS), command)


def _given() -> bool:
    """Whether an option was written that only topics have."""
    context = click.get_current_context()
    return any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in _OF_TOPICS)


_OF_TOPICS = ("outcomes_topic", "partitions", "start", "lost", "kafka_config", "kafka_timeout", "grace", "max_waiting")
_OPTIONS: tuple[Callable[[Function], Function], ...] = (
    click.option("--kafka", metavar="HOST:PORT", help="Learn from a topic of this Kafka cluster."),
    click.option("--topic", metavar="NAME", help="The topic of lines, or of impressions."),
    click.option("--outcomes-topic", metavar="NAME", help="The topic of outcomes, as [outcomes] says."),
    click.option("--partitions", metavar="LIST", help="Read these alone, such as 0-3,7; all if not given."),
    click.option(
        "--from",
        "start",
        type=click.Choice(_STARTS),
        default="as-of",
        show_default=True,
        help="Where to begin in a topic that the live head has not learned of.",
    ),
    click.option(
        "--lost", type=click.Choice(_STARTS[1:]), help="Go on there if what comes next in a topic is gone; else fail."
    ),
    click.option("--kafka-config", metavar="FILE", help="Properties of librdkafka, as for TLS and SASL."),
    duration("--kafka-timeout", default="30s", show_default=True, help="How long brokers may be silent."),
    duration("--grace", default="10s", show_default=True, help="How long outcomes may be on their way."),
    click.option(
        "--max-waiting",
        type=click.IntRange(min=1),
        metavar="N",
        default=1_000_000,
        show_default=True,
        help="Impressions that wait, those kept for repeats, and outcomes, in memory at most.",
    ),
)


def source(session: Session, asked: Any, stop: int) -> FromKafka:
    """The source that was asked for; ends when ``stop`` is readable."""

    def stopped() -> bool:
        return bool(select.select([stop], [], [], 0)[0])

    if asked.outcomes_topic is None:
        from gbdtlr.streams.topic import TopicOfLines

        return TopicOfLines(asked, stopped, session.log.event)
    from gbdtlr.streams.two_topics import TwoTopics

    return TwoTopics(asked, session.config, wall_clock, stopped, session.log.event)
