"""Compiled loops over keys: outcomes sorted in place, those of an impression found, impressions that may repeat others.

Keys are hashes, so that their first bits alone spread them evenly, and where a key stands among sorted ones can be
told from what it is. Where somebody chose keys that do not spread, the loops take longer and find the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gbdtlr.compute.compiled import inline, kernel

FLAGS = 3
"""Bits of an outcome's stamp below its time: whether it is a 1, and what an impression has made of it."""
ONE, LATE, TAKEN = 1, 2, 4
_SHORT = 48  # rows that are faster put into their places one by one


@kernel()
def sort_outcomes(key: Any, stamp: Any, weight: Any, shift: Any, next_: Any, stop: Any) -> None:
    """Sort rows by key, stamp and weight, where they are.

    By the first bits of their keys all go to where those of the same bits stand together (the *American flag sort* of
    McIlroy, Bostic and McIlroy 1993), and these are then sorted among themselves.

    Parameters
    ----------
    key, stamp : uint64 and int64, (n,)
    weight : float32, (n,), or of no length
    shift : 64 less the number of those bits
    next_, stop : uint32 (2^(64 - shift),), zeros; written over
    """
    for i in range(len(key)):
        stop[key[i] >> shift] += np.uint32(1)
    n = np.uint32(0)
    for b in range(len(stop)):
        next_[b] = n
        n += stop[b]
        stop[b] = n
    for b in range(len(stop)):
        while next_[b] < stop[b]:
            own = np.int64(key[next_[b]] >> shift)
            if own != b:
                _swap(key, stamp, weight, np.int64(next_[b]), np.int64(next_[own]))
            next_[own] += np.uint32(1)
    start: Any = 0
    for b in range(len(stop)):
        end = np.int64(stop[b])
        if end - start <= _SHORT:
            _sort_few(key, stamp, weight, start, end)
        else:
            _sort_many(key, stamp, weight, start, end)
        start = end


@inline
def _swap(key: Any, stamp: Any, weight: Any, i: Any, j: Any) -> None:
    key[i], key[j] = key[j], key[i]
    stamp[i], stamp[j] = stamp[j], stamp[i]
    if len(weight):
        weight[i], weight[j] = weight[j], weight[i]


@inline
def _is_less(key: Any, stamp: Any, weight: Any, i: Any, j: Any) -> Any:
    if key[i] != key[j]:
        return key[i] < key[j]
    if stamp[i] != stamp[j]:
        return stamp[i] < stamp[j]
    return len(weight) > 0 and weight[i] < weight[j]


@inline
def _sort_few(key: Any, stamp: Any, weight: Any, start: Any, end: Any) -> None:
    for i in range(start + 1, end):
        j = i
        while j > start and _is_less(key, stamp, weight, j, j - 1):
            _swap(key, stamp, weight, j, j - 1)
            j -= 1


@inline
def _sort_many(key: Any, stamp: Any, weight: Any, start: Any, end: Any) -> None:
    """Heapsort: never slow, however the rows lie."""
    n = end - start
    for root in range(n // 2 - 1, -1, -1):
        _sift(key, stamp, weight, start, root, n)
    for last in range(n - 1, 0, -1):
        _swap(key, stamp, weight, start, start + last)
        _sift(key, stamp, weight, start, 0, last)


@inline
def _sift(key: Any, stamp: Any, weight: Any, start: Any, root: Any, n: Any) -> None:
    while 2 * root + 1 < n:
        child = 2 * root + 1
        if child + 1 < n and _is_less(key, stamp, weight, start + child, start + child + 1):
            child += 1
        if not _is_less(key, stamp, weight, start + root, start + child):
            return
        _swap(key, stamp, weight, start + root, start + child)
        root = child


@kernel()
def last_of_each(key: Any, stamp: Any, weight: Any) -> Any:
    """Of sorted rows with the same key and time the last goes to the front, in order, and the others behind all these.

    Returns
    -------
    n : how many stand in front; of those behind, only the stamps are still their own
    """
    n = 0
    for i in range(len(key)):
        if i + 1 < len(key) and key[i + 1] == key[i] and stamp[i + 1] >> FLAGS == stamp[i] >> FLAGS:
            continue
        key[n] = key[i]
        stamp[n], stamp[i] = stamp[i], stamp[n]
        if len(weight):
            weight[n] = weight[i]
        n += 1
    return n


@inline
def _has(bits: Any, place: Any) -> Any:
    return (bits[place >> np.uint64(3)] >> np.uint8(place & np.uint64(7))) & np.uint8(1) != 0


@inline
def _set(bits: Any, place: Any) -> None:
    bits[place >> np.uint64(3)] |= np.uint8(1) << np.uint8(place & np.uint64(7))


@kernel()
def mark(key: Any, shift: Any, bits: Any) -> None:
    """Set the bits, uint8 (2^(61 - shift),), of all keys' first ``64 - shift`` bits."""
    for i in range(len(key)):
        _set(bits, key[i] >> shift)


@inline
def _two_bits(key: Any) -> Any:
    one = np.uint64(1)
    return (one << (key & np.uint64(63))) | (one << ((key >> np.uint64(6)) & np.uint64(63)))


@kernel()
def fill_filter(key: Any, shift: Any, words: Any) -> None:
    """Set two bits a key, told by its last bits, in the word that its first ``64 - shift`` bits number.

    Source
    ------
    Putze, Sanders and Singler 2007, "Cache-, hash- and space-efficient Bloom filters".
    """
    for i in range(len(key)):
        words[key[i] >> shift] |= _two_bits(key[i])


@kernel()
def fill_starts(key: Any, shift: Any, starts: Any) -> None:
    """Where among sorted keys those begin that have each number in their first ``64 - shift`` bits, and where all end.

    Parameters
    ----------
    starts : uint32 (2^(64 - shift) + 1,), written over
    """
    n = len(key)
    i = 0
    for b in range(len(starts) - 1):
        starts[b] = i
        while i < n and key[i] >> shift == np.uint64(b):
            i += 1
    starts[len(starts) - 1] = n


_TOGETHER = 1024  # rows that are looked up side by side, as memory answers many questions in the time of one


@kernel()
def first_outcomes(
    outcomes: Any, filter_: Any, directory: Any, asked: Any, event_us: Any, deadline_us: Any, found: Any
) -> None:
    """Place of each asked key's first outcome from the event on to the deadline, or -1, to ``found``, int64 (m,).

    One that comes first, but after the deadline, is noted as late; one that is found, as taken.

    Parameters
    ----------
    outcomes : keys and stamps, sorted, uint64 and int64 (n,)
    filter_ : words and shift as :func:`fill_filter` leaves them; no words for none
    directory : starts and shift as :func:`fill_starts` leaves them; no starts for none
    asked, event_us, deadline_us : uint64, int64 and int64 (m,)
    """
    key, stamp = outcomes
    rows, places = np.empty(_TOGETHER, np.int64), np.empty(_TOGETHER, np.int64)
    found[:] = -1
    if len(key) == 0:
        return
    for first in range(0, len(asked), _TOGETHER):
        n = _let_through(filter_, asked, first, rows)
        for j in range(_with_key(key, directory, asked, rows, places, n)):
            i, place = rows[j], places[j]
            if stamp[place] >> FLAGS < event_us[i]:
                place = _from_moment(outcomes, place + 1, event_us[i])
                if place == len(key) or key[place] != asked[i]:
                    continue
            if stamp[place] >> FLAGS <= deadline_us[i]:
                stamp[place] |= TAKEN
                found[i] = place
            else:
                stamp[place] |= LATE


@inline
def _let_through(filter_: Any, asked: Any, first: Any, rows: Any) -> Any:
    """Rows from ``first`` on whose keys may be there as far as the filter tells, to ``rows``; how many they are."""
    words, shift = filter_
    n = 0
    for i in range(first, min(first + len(rows), len(asked))):
        rows[n] = i
        if len(words) == 0 or _two_bits(asked[i]) & ~words[asked[i] >> shift] == 0:
            n += 1
    return n


@inline
def _with_key(key: Any, directory: Any, asked: Any, rows: Any, places: Any, n: Any) -> Any:
    """Those of the first ``n`` rows whose key is there, and its first place, to the front; how many they are."""
    for j in range(n):
        likely = _likely_place(key, directory, asked[rows[j]])
        places[j] = likely if key[likely] < asked[rows[j]] else -1 - likely
    n_there = 0
    for j in range(n):
        i = rows[j]
        place = _lower_bound(key, asked[i], places[j])
        rows[n_there], places[n_there] = i, place
        if place < len(key) and key[place] == asked[i]:
            n_there += 1
    return n_there


@inline
def _likely_place(key: Any, directory: Any, asked: Any) -> Any:
    """Where a key would be if those around it were spread evenly."""
    starts, shift = directory
    start, count, rest, half = np.uint64(0), np.uint64(len(key)), asked, np.uint64(32)
    if len(starts):
        bucket = asked >> shift
        start = np.uint64(starts[bucket])
        count = np.uint64(starts[bucket + np.uint64(1)]) - start
        rest = asked << (np.uint64(64) - shift)
    return min(np.int64(start + ((rest >> half) * count >> half)), len(key) - 1)


@inline
def _lower_bound(key: Any, asked: Any, near: Any) -> Any:
    """The first place of a key that is not less, in growing steps from ``near``, or down from ``-1 - near``."""
    step = 1
    if near >= 0:  # the key there is less
        low, high = near + 1, len(key)
        while low + step < high and key[low + step] < asked:
            low += step + 1
            step *= 2
        high = min(high, low + step)
    else:
        low, high = 0, -1 - near
        while high - step > 0 and key[high - step] >= asked:
            high -= step
            step *= 2
        low = max(0, high - step)
    while low < high:
        middle = (low + high) // 2
        if key[middle] < asked:
            low = middle + 1
        else:
            high = middle
    return low


@inline
def _from_moment(outcomes: Any, low: Any, event_us: Any) -> Any:
    """The first place from ``low`` on of a later key than the one before, or not before a moment, in growing steps."""
    key, stamp = outcomes
    own, step, high = key[low - 1], 1, len(key)
    while low + step < high and key[low + step] == own and stamp[low + step] >> FLAGS < event_us:
        low += step + 1
        step *= 2
    high = min(high, low + step)
    while low < high:
        middle = (low + high) // 2
        if key[middle] == own and stamp[middle] >> FLAGS < event_us:
            low = middle + 1
        else:
            high = middle
    return low


@kernel()
def mark_twice(key: Any, shift: Any, once: Any, twice: Any) -> None:
    """Set the bits of all keys as :func:`mark` does; those that were set already, among ``twice`` as well."""
    for i in range(len(key)):
        place = key[i] >> shift
        if _has(once, place):
            _set(twice, place)
        else:
            _set(once, place)


@kernel()
def marked(key: Any, shift: Any, bits: Any, rows: Any) -> Any:
    """Those rows whose bit is set, in order, to the front of ``rows``, int64 (n,); how many there are."""
    n = 0
    for i in range(len(key)):
        rows[n] = i
        if _has(bits, key[i] >> shift):
            n += 1
    return n


@kernel()
def repeats(key: Any, time_us: Any, rows: Any, window_us: Any, latest: Any, repeated: Any) -> None:
    """Tell which rows have a key that another had at most a window before them.

    Parameters
    ----------
    key, time_us : uint64 and int64 (n,), in order of time
    rows : int64 (n,), where in ``repeated`` to tell of it; -1 for those of which nothing is told
    latest : int64, a power of two and more than n, all -1; written over
    repeated : bool, told where it is so
    """
    mask = np.uint64(len(latest) - 1)
    for i in range(len(key)):
        place = key[i] & mask
        while latest[place] >= 0 and key[latest[place]] != key[i]:
            place = (place + np.uint64(1)) & mask
        before = latest[place]
        if before >= 0 and rows[i] >= 0 and time_us[i] - time_us[before] <= window_us:
            repeated[rows[i]] = True
        latest[place] = i
