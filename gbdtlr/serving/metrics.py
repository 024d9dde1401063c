"""Metrics that several processes count together and any of them can tell, as Prometheus text.

Each worker has a slot of shared memory that only it writes: cells of eight bytes at fixed places. Whoever is asked
sums all slots. A worker that takes the place of a dead one counts on in its slot, so that no count is ever lost.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.scoring.user import BEGAN

TEXT = b"text/plain; version=0.0.4; charset=utf-8"
ROUTES = (
    "/", "/score", "/explain", "/invocations", "/ping", "/v2", "/v2/health", "/v2/models", "/v2/ready", "/v2/infer",
    "/livez", "/readyz", "/healthz", "/metrics", "/status.json", "/openapi.json", "other",
)  # fmt: skip
CODES = (200, 307, 400, 401, 404, 405, 408, 413, 415, 422, 499, 500, 503)
DURATIONS_S = (
    *(0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005),
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
)
PROBABILITIES = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07),
    *(0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
)
GAUGES = (
    *("pid", "release", "head_as_of_s", "trees_as_of_s", "embeddings_as_of_s"),
    *("refresh_failing", "requests_in_flight"),
)
_CELL = 8
_N_DURATIONS, _N_PROBABILITIES = len(DURATIONS_S) + 1, len(PROBABILITIES) + 1
_ROUTE_CELLS = len(CODES) + _N_DURATIONS
_CODE = {code: i for i, code in enumerate(CODES)}

# Whole numbers first, then real ones.
_IN_FLIGHT = GAUGES.index("requests_in_flight")
_FAILURES = len(GAUGES)
_ROWS = _FAILURES + 1
_USERS = _ROWS + 1
_PREDICTIONS = _USERS + len(BEGAN)
_REQUESTS = _PREDICTIONS + _N_PROBABILITIES
_SECONDS = _REQUESTS + len(ROUTES) * _ROUTE_CELLS
_PREDICTED = _SECONDS + len(ROUTES)
_N_CELLS = _PREDICTED + 1
_ROUTE = {route: (_REQUESTS + i * _ROUTE_CELLS, _SECONDS + i) for i, route in enumerate(ROUTES)}
SLOT_BYTES = -(-_N_CELLS * _CELL // mmap.PAGESIZE) * mmap.PAGESIZE


class Slot:
    """What one worker counts; its methods are called in one thread, but for :meth:`set` and :meth:`refreshed`."""

    def __init__(self, memory: mmap.mmap, index: int) -> None:
        cells = memoryview(memory)[index * SLOT_BYTES : (index + 1) * SLOT_BYTES]
        self._whole = cells.cast("q")
        self._real = cells.cast("d")
        self._gauges = {name: i for i, name in enumerate(GAUGES)}

    def request(self, route: str, code: int, seconds: float) -> None:
        """A request was answered."""
        whole, (start, place) = self._whole, _ROUTE[route]
        whole[start + _CODE[code]] += 1
        whole[start + len(CODES) + bisect_left(DURATIONS_S, seconds)] += 1
        self._real[place] += seconds

    def user(self, began: str) -> None:
        """A user's state was given, or none; what became of it."""
        self._whole[_USERS + BEGAN.index(began)] += 1

    def predicted(self, probability: float) -> None:
        """A row was scored."""
        self._whole[_ROWS] += 1
        self._whole[_PREDICTIONS + bisect_left(PROBABILITIES, probability)] += 1
        self._real[_PREDICTED] += probability

    def predicted_all(self, probability: NDArray[np.float64]) -> None:
        """Rows were scored, (n,)."""
        counts = np.bincount(np.searchsorted(PROBABILITIES, probability), minlength=_N_PROBABILITIES).tolist()
        self._whole[_ROWS] += len(probability)
        for i, n in enumerate(counts):
            if n:
                self._whole[_PREDICTIONS + i] += n
        self._real[_PREDICTED] += float(probability.sum())

    @property
    def in_flight(self) -> int:
        """Requests begun and not yet answered."""
        return self._whole[_IN_FLIGHT]

    def began(self) -> int:
        """A request begins; how many have not been answered, it among them."""
        self._whole[_IN_FLIGHT] += 1
        return self._whole[_IN_FLIGHT]

    def ended(self) -> None:
        """It has been answered."""
        self._whole[_IN_FLIGHT] -= 1

    def refreshed(self, failed: bool) -> None:
        """A refresh has ended."""
        self._whole[_FAILURES] += failed
        self.set(refresh_failing=int(failed))

    def set(self, **gauges: int) -> None:
        """Gauges that are what they are now."""
        for name, value in gauges.items():
            self._whole[self._gauges[name]] = value

    def clear_gauges(self) -> None:
        """The worker is dead: it counts no more, what it counted stays."""
        self.set(**dict.fromkeys(GAUGES, 0))

    def read(self) -> tuple[list[int], list[float]]:
        """All cells, as whole and as real numbers."""
        real: list[float] = self._real[:_N_CELLS].tolist()  # type: ignore[assignment]  # cast("d") holds real numbers
        return self._whole[:_SECONDS].tolist(), real


class Metrics:
    """All slots of a service, and the one that this process writes."""

    def __init__(self, memory: mmap.mmap, n_slots: int, index: int = 0) -> None:
        self._slots = [Slot(memory, i) for i in range(n_slots)]
        self.own = self._slots[index]
        self.own.set(pid=os.getpid(), requests_in_flight=0)

    @classmethod
    def alone(cls) -> Metrics:
        """Those of a process that shares them with no other."""
        return cls(mmap.mmap(-1, SLOT_BYTES), 1)

    def sums(self) -> Sums:
        """What all workers together have counted until now."""
        return Sums.of([slot.read() for slot in self._slots])


@dataclass(frozen=True)
class Sums:
    """What all workers have counted, and the gauges of those that live.

    Attributes
    ----------
    requests : of each route with any: by code, by bucket of its duration, and their seconds
    rows, failures : rows scored, refreshes failed
    users : users' states by what became of them
    predictions : by bucket of the probability
    predicted : sum of the probabilities
    living : gauges of each living worker
    """

    requests: Mapping[str, tuple[dict[int, int], list[int], float]]
    rows: int
    failures: int
    users: Mapping[str, int]
    predictions: list[int]
    predicted: float
    living: list[dict[str, int]]

    @classmethod
    def of(cls, slots: Sequence[tuple[list[int], list[float]]]) -> Sums:
        """Sums of the cells of all slots."""
        whole = [sum(cells) for cells in zip(*(slot[0] for slot in slots), strict=True)]
        real = [sum(cells) for cells in zip(*(slot[1][_SECONDS:] for slot in slots), strict=True)]
        requests = {}
        for i, route in enumerate(ROUTES):
            cells = whole[_REQUESTS + i * _ROUTE_CELLS :][:_ROUTE_CELLS]
            codes = {code: n for code, n in zip(CODES, cells, strict=False) if n}
            if codes:
                requests[route] = (codes, cells[len(CODES) :], real[i])
        gauges = [dict(zip(GAUGES, slot[0], strict=False)) for slot in slots]
        return cls(
            requests,
            whole[_ROWS],
            whole[_FAILURES],
            dict(zip(BEGAN, whole[_USERS:_PREDICTIONS], strict=True)),
            whole[_PREDICTIONS:_REQUESTS],
            real[_PREDICTED - _SECONDS],
            [each for each in gauges if each["pid"]],
        )

    def as_dict(self) -> dict[str, Any]:
        """The sums in JSON's types."""
        return {
            "rows": self.rows,
            "predictions": {"bounds": PROBABILITIES, "counts": self.predictions, "sum": self.predicted},
            "durations": DURATIONS_S,
            "requests": [
                {
                    "route": route,
                    "codes": {str(code): n for code, n in codes.items()},
                    "counts": counts,
                    "seconds": took,
                }
                for route, (codes, counts, took) in self.requests.items()
            ],
            "workers": len(self.living),
        }


def prometheus(sums: Sums, now_s: float) -> bytes:
    """The sums in the text format of Prometheus.

    A gauge that workers do not agree on is told by the one that is worst off: the lowest release, the greatest age.

    Parameters
    ----------
    now_s : the moment ages are taken at, seconds since 1970
    """
    living = [each for each in sums.living if each["release"]]
    lines: list[str] = []
    lines += _family(
        "gbdtlr_requests_total", "counter", "Requests answered, by route and HTTP status.", _requests(sums)
    )
    durations = (
        line
        for route, (_, counts, seconds) in sums.requests.items()
        for line in _histogram("gbdtlr_request_duration_seconds", f'route="{route}"', DURATIONS_S, counts, seconds)
    )
    lines += _family(
        "gbdtlr_request_duration_seconds", "histogram", "From a request's headers to its answer.", durations
    )
    lines += _single("gbdtlr_rows_total", "counter", "Rows scored.", sums.rows)
    users = (f'gbdtlr_users_total{{began="{began}"}} {n}' for began, n in sums.users.items())
    lines += _family("gbdtlr_users_total", "counter", "Users' states: known, or why they began anew.", users)
    predictions = _histogram("gbdtlr_prediction", "", PROBABILITIES, sums.predictions, sums.predicted)
    lines += _family("gbdtlr_prediction", "histogram", "Probabilities given.", predictions)
    failed = "Refreshes that failed: the store did not answer, or its live release cannot be trusted."
    lines += _single("gbdtlr_refresh_failures_total", "counter", failed, sums.failures)
    lines += _single("gbdtlr_workers", "gauge", "Workers that live.", len(sums.living))
    in_flight = sum(max(0, each["requests_in_flight"]) for each in sums.living)
    lines += _single("gbdtlr_requests_in_flight", "gauge", "Requests begun and not yet answered.", in_flight)
    if living:
        failing = max(each["refresh_failing"] for each in living)
        told = "1 while the last refresh of any worker failed, and it serves the release it had."
        lines += _single("gbdtlr_refresh_failing", "gauge", told, failing)
        release = min(each["release"] for each in living)
        lines += _single("gbdtlr_release", "gauge", "Release that scores; of several workers the oldest.", release)
        with_embeddings = [each for each in living if each["embeddings_as_of_s"]]
        for part, of in (("head", living), ("trees", living), ("embeddings", with_embeddings)):
            if of:
                age = now_s - min(each[f"{part}_as_of_s"] for each in of)
                told = f"Since the moment up to which the {part} knows labels."
                lines += _single(f"gbdtlr_{part}_age_seconds", "gauge", told, age)
    return ("\n".join(lines) + "\n").encode()


def _family(name: str, kind: str, about: str, lines: Iterable[str]) -> list[str]:
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}", *lines]


def _single(name: str, kind: str, about: str, value: float) -> list[str]:
    return _family(name, kind, about, [f"{name} {value}"])


def _requests(sums: Sums) -> Iterator[str]:
    for route, (codes, _, _) in sums.requests.items():
        yield from (f'gbdtlr_requests_total{{route="{route}",code="{code}"}} {n}' for code, n in codes.items())


def _histogram(name: str, label: str, bounds: Sequence[float], counts: Sequence[int], total: float) -> Iterator[str]:
    """Lines of one histogram; its buckets hold what is at most their bound."""
    before, within = (label + ",", f"{{{label}}}") if label else ("", "")
    running = list(accumulate(counts))
    for bound, n in zip((*(f"{bound:g}" for bound in bounds), "+Inf"), running, strict=True):
        yield f'{name}_bucket{{{before}le="{bound}"}} {n}'
    yield f"{name}_sum{within} {total}"
    yield f"{name}_count{within} {running[-1]}"
