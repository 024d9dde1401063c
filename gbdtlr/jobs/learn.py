"""The stream job: learn each sample as it comes, and publish the head every now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from gbdtlr.config import ONLINE, Config
from gbdtlr.errors import ConfigError
from gbdtlr.jobs.by import NOBODY, By
from gbdtlr.jobs.result import JobResult, OnEvent
from gbdtlr.jobs.run import running
from gbdtlr.jobs.stream import Stream

Clock = Callable[[], datetime]


def learn(
    config: Config,
    pieces: Iterable[Sequence[bytes | str]],
    clock: Clock,
    *,
    publish_every: timedelta,
    publish_samples: int | None = None,
    on_event: OnEvent | None = None,
    by: By = NOBODY,
    on_result: Callable[[JobResult], object] | None = None,
) -> JobResult:
    """Learn samples one at a time for as long as they come; nothing learned is lost when they end.

    A line is a JSON object with the label and the features, sent when its label is final; it is learned whole,
    whatever ``negative_keep_rate`` says. Lines that are no sample are counted and passed over. Whatever else is
    published meanwhile, new trees or another head, the samples not yet published are learned again on top of it: all
    of them, unless guards have refused more than are kept (``stream.KEPT``). What was learned stays learned then, but
    guards look at the newest of them, and only these are learned again. A store that does not answer is tried again
    when the next release is due.

    Parameters
    ----------
    pieces : the lines that have come since the last piece, maybe none: so that time is looked at while nothing comes
    clock : the time now, aware
    publish_every : time between releases, if there is anything new
    publish_samples : publish after so many samples, too
    on_event : see :data:`OnEvent`
    by : who asks, and why
    on_result : told how the stream would have ended, each time a release was due

    Returns
    -------
    result : ``published``, ``unchanged`` (no sample came) or ``refused`` (the last release a guard did not let pass, or
        a hold: what was learned while it stands is published once it is lifted).
        Its metrics count the lines, of which each is in ``samples``, ``lines_refused`` or ``lines_blank``; of the
        samples, those ``unpublished`` at the end, and those ``lost`` when more were refused than are kept

    Raises
    ------
    NoReleaseError
        There are no trees yet.
    ConfigError
        The method is not one that learns sample by sample, or the live head was not learned by it.
    StoreUnavailable
        The store did not answer at the start, or when the stream had ended.
    """
    if config.head.method not in ONLINE:
        raise ConfigError(
            f"[head] method is {config.head.method!r}, which cannot learn one sample at a time; "
            f"choose one of {', '.join(ONLINE)}"
        )
    if config.outcomes is not None:
        raise ConfigError(
            "gbdtlr learn takes lines whose label is final, and [outcomes] leaves the labels to be joined; run "
            "gbdtlr update-lr, or send joined lines with a config that has [samples] label and no [outcomes]"
        )
    if config.users.replay:
        raise ConfigError(
            "gbdtlr learn sees each sample alone, and [users] replay needs all events before; log the score as it is "
            "served and name it as [samples] user_score, or run gbdtlr update-lr"
        )
    with running("learn", config, clock(), on_event=on_event, by=by) as run:
        stream = Stream(run)
        for lines in pieces:
            stream.learn(lines, clock)
            if stream.is_due(clock(), publish_every, publish_samples):
                stream.publish_if_there(clock())
                if on_result is not None:
                    on_result(stream.result(clock()))
        stream.publish(clock())
        return stream.result(clock())
