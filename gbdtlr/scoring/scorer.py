"""The Scorer: the live release as probabilities, for a service that must always have a good model."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gbdtlr.errors import ConfigError, SchemaError
from gbdtlr.metrics import row_sigmoid, sigmoid
from gbdtlr.release import Release
from gbdtlr.scoring.pointer import CANDIDATE, Pointer
from gbdtlr.scoring.refresher import Refresher
from gbdtlr.scoring.row import Names, Serving
from gbdtlr.scoring.user import Began, User
from gbdtlr.store import Store
from gbdtlr.times import format_time, parse_duration
from gbdtlr.values.frames import row_of


class Scored(NamedTuple):
    """Probabilities and the number of the one release all of them came from."""

    probability: Any
    release: int


Given = User | bytes | str | None
"""A user's state: of :meth:`Scorer.user`, or as it was written, in bytes or base64; None of nobody's."""


class Scorer:
    """Scores rows with a release, and follows the store to newer ones; every call is answered by one whole release.

    Any number of threads may use one Scorer. A call reads the release once, at its beginning; :meth:`refresh`
    replaces it with one assignment, so a call that has begun ends on the release it began with. Once opened, a
    Scorer always has a release: what goes wrong later is remembered in :meth:`health` and nothing else.

    A process that forks (gunicorn with ``preload_app``) opens it, or calls :meth:`start_refreshing`, in each worker:
    threads do not survive a fork.
    """

    def __init__(
        self,
        store: Store,
        release: Release,
        pinned: bool = False,
        pointer: Pointer | None = None,
        user_key: bytes | None = None,
    ) -> None:
        self.store = store
        self._serving = Serving(release)
        self._pinned = pinned
        self._pointer = Pointer() if pointer is None else pointer
        self._refreshing = threading.Lock()
        self._checked_s = time.monotonic()
        self._error: str | None = None
        self._failures = 0
        self._refresher: Refresher | None = None
        self._user_key = user_key
        self._began = Began()
        self._has_users = False

    @classmethod
    def open(
        cls,
        store: str | os.PathLike[str] | Store,
        release: int | str | None = None,
        *,
        user_key: bytes | None = None,
    ) -> Scorer:
        """Scorer of the live release of a store; of its candidate; or of one release, which it then keeps.

        Parameters
        ----------
        store : path or URL, or a store that is open
        release : number of a release, or ``candidate``, to score in the shadow of what is live. Once its candidate is
            withdrawn or goes live, such a Scorer keeps it until another stands, and :meth:`health` says so
        user_key : secret that users' states are signed with, where nobody else is to change them

        Raises
        ------
        NoReleaseError
            Nothing is published, no such release, or no candidate stands.
        DamagedError, FormatError, MismatchError
            The release cannot be trusted here; the message says why. No older one is taken in its stead.
        StoreUnavailable
            The store did not answer.
        """
        if not isinstance(store, Store):
            store = Store.open(os.fspath(store))
        if release is None or release == CANDIDATE:
            pointer = Pointer(to_candidate=release is not None)
            return cls(store, pointer.load(store), pointer=pointer, user_key=user_key)
        if isinstance(release, str):
            raise ConfigError(f"a release is a number or {CANDIDATE!r}, not {release!r}")
        return cls(store, Release.load(store, store.entry(release)), pinned=True, user_key=user_key)

    @property
    def release(self) -> int:
        """Number of the release that scores now."""
        return self._serving.number

    @property
    def loaded(self) -> Release:
        """The release that scores now, immutable: to score several frames with one and the same."""
        return self._serving.release

    def score(self, frame: Any, user: Given = None) -> NDArray[np.float64]:
        """Probability of every row.

        Parameters
        ----------
        frame : DataFrame, pyarrow Table, dict of columns or anything with ``__arrow_c_stream__`` (read to its end), (n,
            any columns); the release's are found by name
        user : state of the user that all rows are of, whose score is then worked out from it. Without one it is what a
            column of its name holds, or zero where there is none

        Returns
        -------
        probability : float64 (n,)

        Raises
        ------
        SchemaError
            Columns missing or of the wrong type; the message lists them.
        ConfigError
            There is a user, and the release has no vectors of items.
        """
        return sigmoid(self.margin(frame, user))

    def score_with_release(self, frame: Any) -> Scored:
        """As :meth:`score`, with the number of the release that all the probabilities came from."""
        serving = self._serving
        return Scored(sigmoid(serving.margin(frame)), serving.number)

    def margin(self, frame: Any, user: Given = None) -> NDArray[np.float64]:
        """Log-odds of every row, float64 (n,); otherwise as :meth:`score`."""
        return self._serving.margin(frame) if user is None else self.user(user).margins(frame).margin

    def user(self, state: Given = None) -> User:
        """The user of a state, on the release that scores now; a new one where there is none, or it cannot be used.

        Which it was is in its ``began``, and counted in :meth:`health`.

        Raises
        ------
        ConfigError
            The release has no vectors of items.
        """
        serving = self._serving
        self._has_users = True
        given = state.state if isinstance(state, User) else state
        found, began = serving.users.state(given, self._user_key)
        if not isinstance(state, User) or began != "known":
            self._began.add(began)
        return User(serving.users, found, began, self._user_key)

    def score_row(
        self,
        row: Mapping[str, Any] | Sequence[Any] | NDArray[Any],
        names: Names | None = None,
        user: Given = None,
    ) -> float:
        """Probability of one row, the same to the last bit as :meth:`score` gives it, without the cost of a frame.

        Parameters
        ----------
        row : value of every column by name, others ignored, as in a dict, a pandas Series or a named tuple; or values
            in the order of ``names``. None and NaN are missing. Fastest is an array of float64, where all columns are
            numbers
        names : what the values are called, a tuple best, where the row does not tell
        user : as in :meth:`score`

        Raises
        ------
        SchemaError
            Names missing or values of the wrong type; the message lists them.
        """
        if user is None:
            return row_sigmoid(self._serving.row_margin(row, names))
        return row_sigmoid(float(self.user(user).margins_of_rows([_named(row, names)]).margin[0]))

    def score_row_with_release(
        self, row: Mapping[str, Any] | Sequence[Any] | NDArray[Any], names: Names | None = None
    ) -> Scored:
        """As :meth:`score_row`, with the number of the release that the probability came from."""
        serving = self._serving
        return Scored(row_sigmoid(serving.row_margin(row, names)), serving.number)

    def refresh(self) -> bool:
        """Go over to the live release, whole and checked; True if that is another than before.

        If the store does not answer, or its live release cannot be trusted here, the present one goes on
        scoring, the reason is in :meth:`health`, and the answer is False: nothing is raised. Trees that stay the same
        are not loaded again. A Scorer opened for one release keeps it.
        """
        if self._pinned:
            return False
        with self._refreshing:
            known = self._serving.release
            try:
                live = self._pointer.load(self.store, known)
                changed = live is not known
                if changed:
                    serving = Serving(live)
                    if self._has_users and serving.users.source is not None:
                        serving.users.vectors  # noqa: B018 - opened now: a request is no place to find that they are damaged
                    self._serving = serving
            except Exception as error:  # whatever it is, a service that has a good model goes on serving it
                self._error = f"{type(error).__name__}: {error}"
                self._failures += 1
                return False
            self._error = None
            self._failures = 0
            self._checked_s = time.monotonic()
            return changed

    def health(self, now: datetime | None = None) -> dict[str, Any]:
        """What scores, how old it is, and what the last refresh came to, in JSON's types.

        Parameters
        ----------
        now : the moment ages are taken at, UTC-aware; the clock's if not given

        Returns
        -------
        health : ``release``, ``trees``, ``head``; ``trees_as_of``, ``head_as_of`` and their ages ``trees_age_s``,
            ``head_age_s``; ``embeddings``, ``embeddings_as_of`` and ``embeddings_age_s``, None where there are none;
            ``pinned``; ``refreshing``, whether a background thread does; ``checked_age_s``, since the
            store last confirmed the release; ``failures``, refreshes failed since; ``error``, the last one's or None;
            ``candidate``, number of the one that stood then, and ``held``, of the hold; None where there was none;
            ``users``, how many states were ``known``, and how many began as a new user's by the reason
        """
        now = now or datetime.now(UTC)
        release, refresher, standing = self._serving.release, self._refresher, self._pointer.standing
        embeddings = release.embeddings
        return {
            "release": release.entry.number,
            "trees": release.entry.trees,
            "head": release.entry.head,
            "trees_as_of": format_time(release.trees_as_of),
            "head_as_of": format_time(release.head_as_of),
            "trees_age_s": (now - release.trees_as_of).total_seconds(),
            "head_age_s": (now - release.head_as_of).total_seconds(),
            "embeddings": None if embeddings is None else embeddings.name,
            "embeddings_as_of": None if embeddings is None else format_time(embeddings.as_of),
            "embeddings_age_s": None if embeddings is None else (now - embeddings.as_of).total_seconds(),
            "pinned": self._pinned,
            "refreshing": refresher is not None and refresher.is_alive(),
            "checked_age_s": round(time.monotonic() - self._checked_s, 3),
            "failures": self._failures,
            "error": self._error,
            "candidate": None if standing is None else standing.candidate,
            "held": None if standing is None else standing.held,
            "users": self._began.counts(),
        }

    def start_refreshing(
        self,
        period: timedelta | str,
        jitter: float = 0.1,
        *,
        on_refresh: Callable[[bool], object] | None = None,
        wait: Callable[[float], object] | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> Refresher:
        """Refresh in a daemon thread from now on, until :meth:`close` or the ``stop`` of what is returned.

        Parameters
        ----------
        period : from the end of one refresh to the beginning of the next, such as ``30s``
        jitter : up to this share of the period more or less each time, so that a fleet does not ask all at once
        on_refresh : ``on_refresh(changed)`` after each refresh, in that thread
        wait : waits that many seconds, or less when asked to stop, in place of the clock
        uniform : random number between two, in place of Python's

        Raises
        ------
        ConfigError
            A period or jitter that cannot be.
        """
        period = parse_duration(period) if isinstance(period, str) else period
        if period <= timedelta() or not 0 <= jitter < 1:
            raise ConfigError(f"refreshing needs a period above zero and a jitter in [0, 1), not {period} and {jitter}")
        self.close()
        self._refresher = Refresher(self.refresh, period.total_seconds(), jitter, on_refresh, wait, uniform)
        self._refresher.start()
        return self._refresher

    def close(self) -> None:
        """Stop refreshing; scoring still works."""
        refresher, self._refresher = self._refresher, None
        if refresher is not None:
            refresher.stop()

    def __enter__(self) -> Scorer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _named(row: Any, names: Names | None) -> Mapping[str, Any]:
    """A row for a user, whose values have names."""
    if names is not None and not isinstance(row, Mapping):
        values = row.ravel().tolist() if isinstance(row, np.ndarray) else list(row)
        if len(values) != len(names) or len({*names}) < len(names):
            raise SchemaError(f"a row of {len(names)} values of different names expected, not of {len(values)}")
        return dict(zip(names, values, strict=True))
    named = row_of(row)
    if named is None:
        raise SchemaError("the values of a row have no names: give them as names, columns are found by name")
    return named
