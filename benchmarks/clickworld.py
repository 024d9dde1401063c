"""Who lives in the click stream: campaigns, sites and users, how they come and go, drift, and are remembered."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

DEVICES = ("mobile", "desktop", "tablet", "tv")
FORMATS = ("banner", "native", "video")
TOPICS = ("autos", "fashion", "finance", "food", "games", "news", "sport", "travel")
N_SITES = 2000
HOUR_US = 3_600_000_000

_CAMPAIGNS_PER_DAY, _FLAGSHIP_WEIGHT = 40, 32.0
_RANK = 4  # of the affinity between campaigns and sites

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class World:
    """Who exists and how they click, drawn once; arrays by campaign, site or user. Hours count from the start."""

    campaign_start_h: Array
    campaign_life_h: Array
    campaign_weight: Array
    campaign_effect: Array
    campaign_topic: Array
    campaign_format: Array
    campaign_taste: Array  # (n_campaigns, _RANK)
    site_start_h: Array
    site_life_h: Array
    site_weight: Array
    site_topic: Array
    site_taste: Array  # (n_sites, _RANK)
    user_start_h: Array
    user_end_h: Array
    user_weight: Array
    user_effect: Array
    topic_effect: Array

    @classmethod
    def draw(cls, n_users: int, days: int, rng: np.random.Generator) -> World:
        """The inhabitants of ``days`` days, and of the weeks before so that the first hour finds them at work."""
        n_hours, past_h = 24 * days, 24 * 30
        arrivals = rng.poisson(_CAMPAIGNS_PER_DAY / 24, past_h + n_hours)
        ordinary = np.repeat(np.arange(-past_h, n_hours), arrivals)
        flagships = 24 * np.arange(-2, days) + rng.integers(0, 24, days + 2)
        start = np.concatenate([ordinary, flagships])
        life = np.exp(rng.normal(math.log(60), 0.7, len(start)))
        weight = np.exp(rng.normal(0, 1.2, len(start)))
        life[len(ordinary) :] = rng.uniform(24, 48, len(flagships))
        weight[len(ordinary) :] = _FLAGSHIP_WEIGHT
        order = np.argsort(start, kind="stable")  # ids count up in order of appearance, as a database's do
        n = len(start)
        site_topic = rng.integers(0, len(TOPICS), N_SITES)
        topic_taste = rng.normal(0, 0.45, (len(TOPICS), _RANK))
        return cls(
            campaign_start_h=start[order],
            campaign_life_h=life[order],
            campaign_weight=weight[order],
            campaign_effect=rng.normal(0, 0.8, n),
            campaign_topic=rng.integers(0, len(TOPICS), n),
            campaign_format=rng.choice(len(FORMATS), n, p=[0.5, 0.3, 0.2]),
            campaign_taste=rng.normal(0, 0.45, (n, _RANK)),
            site_start_h=rng.integers(-24 * 60, n_hours, N_SITES),
            site_life_h=rng.exponential(24 * 60, N_SITES) + 24,
            site_weight=_zipf(N_SITES, rng),
            site_topic=site_topic,
            site_taste=topic_taste[site_topic] + rng.normal(0, 0.35, (N_SITES, _RANK)),
            user_start_h=(user_start := rng.integers(-past_h, n_hours, n_users)),
            user_end_h=user_start + rng.exponential(24 * 30, n_users),
            user_weight=_zipf(n_users, rng),
            user_effect=rng.normal(0, 0.55, n_users),
            topic_effect=rng.normal(0, 0.25, len(TOPICS)),
        )


def _zipf(n: int, rng: np.random.Generator) -> Array:
    """Zipf-Mandelbrot activity in random order: a long tail, yet nobody with more than a few per cent."""
    weight: Array = (rng.permutation(n) + 10 + n / 200) ** -0.9
    weight /= weight.sum()
    return weight


def presence(age_h: Array, life_h: Array, ramp_h: float) -> Array:
    """Part of its full traffic a thing gets at an age: rises over ``ramp_h``, fades over its last quarter."""
    rise: Array = np.clip((age_h + 1) / ramp_h, 0, 1)
    return rise * np.clip((life_h - age_h) / (life_h / 4), 0, 1)


def pick(weight: Array, n: int, rng: np.random.Generator) -> Array:
    """``n`` indices drawn in proportion to ``weight``; those of weight 0 never."""
    total = np.cumsum(weight)
    index: Array = np.searchsorted(total, rng.random(n) * total[-1], side="right")
    return index


class Drift:
    """Ornstein-Uhlenbeck process, one step an hour: wanders with deviation ``sd``, forgets over ``memory_h``."""

    def __init__(self, n: int, sd: float, memory_h: float, rng: np.random.Generator) -> None:
        self._keep = math.exp(-1 / memory_h)
        self._kick = sd * math.sqrt(1 - self._keep**2)
        self.value = rng.normal(0, sd, n)

    def step(self, rng: np.random.Generator) -> Array:
        self.value = self._keep * self.value + rng.normal(0, self._kick, len(self.value))
        return self.value


class History:
    """What the log knows of each user: views and clicks up to the hour, and the moment of the last view."""

    def __init__(self, world: World, rows_per_h: float, rng: np.random.Generator) -> None:
        n = len(world.user_weight)
        known_h = np.clip(-world.user_start_h, 0, 24 * 14)
        self.views = rng.poisson(world.user_weight * rows_per_h * known_h)
        self.clicks = rng.binomial(self.views, np.minimum(1, 0.02 * np.exp(world.user_effect)))
        idle_us = rng.exponential(HOUR_US / np.maximum(world.user_weight * rows_per_h, 1e-9))
        self._never = np.iinfo(np.int64).min
        self._last_us = np.full(n, self._never)
        self._last_us[self.views > 0] = -np.minimum(idle_us[self.views > 0], 24 * 14 * HOUR_US).astype(np.int64)
        self._late_user, self._late_us = np.empty(0, np.int64), np.empty(0, np.int64)

    def idle_minutes(self, user: Array, offset_us: Array) -> Array:
        """Minutes since the user's view before; rows in order of time. NaN at the first."""
        order = np.argsort(user, kind="stable")
        who, when = user[order], offset_us[order]
        before = np.empty_like(when)
        first = np.append(True, who[1:] != who[:-1])
        before[1:] = when[:-1]
        before[first] = self._last_us[who[first]]
        last = np.append(first[1:], True)
        self._last_us[who[last]] = when[last]
        idle = np.empty(len(user))
        idle[order] = np.where(before == self._never, np.nan, (when - before) / 60e6)
        return idle

    def add(self, user: Array, clicked: Array, known_us: Array, until_us: int) -> None:
        """Count the hour's views, and every click that has come by its end; the others wait for theirs."""
        self.views += np.bincount(user, minlength=len(self.views))
        late_user = np.append(self._late_user, user[clicked])
        late_us = np.append(self._late_us, known_us[clicked])
        come = late_us <= until_us
        self.clicks += np.bincount(late_user[come], minlength=len(self.clicks))
        self._late_user, self._late_us = late_user[~come], late_us[~come]
