"""A stream of rows, served in order of time: each row is scored by what was live when it happened.

Slow artifacts are made anew every day on what is known by then; the systems share trees, codes and rows, and each
learns again every few hours, before it is given the rows that happen until the next time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gbdtlr.config import Config
from gbdtlr.head import Codes
from gbdtlr.jobs.methods import wide_of
from gbdtlr.metrics import Quality, log_loss_of
from gbdtlr.model import Model
from gbdtlr.replay.rows import by_event, read_all
from gbdtlr.samples import Samples
from gbdtlr.times import to_us
from gbdtlr.trees import train

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
Rows = NDArray[np.intp]
Margins = NDArray[np.float64]


@dataclass
class Stream:
    """Rows by event time, coded on every trees once."""

    config: Config
    samples: Samples
    _codes: tuple[Model, Codes] | None = None

    def coded(self, model: Model) -> Codes:
        """All rows as the model reads them."""
        if self._codes is None or self._codes[0] is not model:
            self._codes = model, model.encode(self.samples)
        return self._codes[1]

    def codes(self, model: Model, rows: Rows) -> Codes:
        """Those rows as the model reads them, which need not be the newest."""
        if self._codes is not None and self._codes[0] is model:
            return self._codes[1].take(rows)
        return model.encode(self.samples.take(rows))

    def happened(self, start: datetime, end: datetime) -> Rows:
        """Rows that happened between."""
        low, high = self.samples.event_us.searchsorted([to_us(start), to_us(end)])
        return np.arange(low, high)

    def known(self, start: datetime, as_of: datetime) -> Rows:
        """Rows from ``start`` on whose label is known."""
        rows = self.happened(start, as_of)
        return rows[self.samples.known_us[rows] <= to_us(as_of)]

    def newly_known(self, since: datetime, as_of: datetime, start: datetime, end: datetime) -> Rows:
        """Rows that happened in ``[start, end)``, whose label became known after ``since``."""
        rows = self.happened(start, end)
        known = self.samples.known_us[rows]
        return rows[(known > to_us(since)) & (known <= to_us(as_of))]


class System(Protocol):
    """What can score at every moment.

    Attributes
    ----------
    seconds : CPU seconds of each time it learned
    """

    seconds: list[float]

    def serve(self, stream: Stream, model: Model, as_of: datetime, rows: Rows) -> Margins:
        """Learn what is known at ``as_of``, and then score rows that happen until the next time, (n,).

        Parameters
        ----------
        model : the newest trees, which have learned nothing since
        """


def between(config: Config, start: datetime, end: datetime) -> Samples:
    """All rows of a period, by event time."""
    samples = read_all(config.samples, start, end)
    assert samples is not None, f"no rows from {start} to {end}"
    return by_event(samples, start, end)


def moments(start: datetime, end: datetime, every: timedelta) -> Sequence[datetime]:
    """When systems learn."""
    return [start + k * every for k in range(-(-(end - start) // every))]


def play(
    stream: Stream, systems: Mapping[str, System], start: datetime, end: datetime, every: timedelta, n_threads: int
) -> dict[str, Margins]:
    """Margins of all rows from ``start`` to ``end`` as each system served them, trees being trained daily."""
    served: dict[str, list[Margins]] = {name: [] for name in systems}
    config, model = stream.config, None
    for moment in moments(start, end, every):
        if model is None or (moment - start) % DAY == timedelta(0):
            window = stream.samples.take(stream.known(moment - config.trees.window, moment))
            model = Model.of(train(window, config.trees, config.samples, threads=n_threads), wide_of(config))
            stream.coded(model)
        rows = stream.happened(moment, min(end, moment + every))
        for name, system in systems.items():
            served[name].append(system.serve(stream, model, moment, rows))
    return {name: np.concatenate(margins) for name, margins in served.items()}


def ne_of(rows: Samples, margin: Margins, chosen: Any = slice(None)) -> str:
    """Normalised entropy of rows that are chosen, in four digits."""
    return f"{Quality.of(margin[chosen], rows.label[chosen], rows.weight[chosen]).ne:.4f}"


def apart(rows: Samples, margin: Margins, first: Margins) -> str:
    """How far the normalised entropy is from another's, with its 95% interval."""
    found, error = difference(rows, margin, first)
    return f"{found:+.4f} ±{1.96 * error:.4f}"


def difference(rows: Samples, margin: Margins, first: Margins) -> tuple[float, float]:
    """Difference of two NE and its standard error, over hours as blocks."""
    rate = float(rows.label.mean())
    entropy = -rate * np.log(rate) - (1 - rate) * np.log1p(-rate)
    excess = (log_loss_of(margin, rows.label) - log_loss_of(first, rows.label)) / entropy
    hour = (rows.event_us - rows.event_us[0]) // 3_600_000_000
    sums = np.bincount(hour, excess)
    return float(excess.mean()), float(np.sqrt(np.square(sums - sums.mean()).sum()) / len(excess))
