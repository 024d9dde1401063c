"""Tastes: an option of the click stream, in which users like some items and not others, and more than one alike.

Each row shows its user an item of a catalogue beside the ad. Users and items have hidden factors whose product is the
user's liking of the item; an item's lie around those of its genre. What a user took therefore tells which other items
it likes, which no feature and no id says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from benchmarks.clickworld import Array, pick

N_ITEMS, N_GENRES, RANK = 2000, 12, 4
ROWS_PER_USER = 200
FIELDS = (pa.field("item", pa.string()), pa.field("genre", pa.string()))
_GENRE_SD, _OWN_SD, _EFFECT_SD = 0.5, 0.35, 0.4
_INTERCEPT = 2.2  # a catalogue is clicked more often than ads are


@dataclass(frozen=True)
class Tastes:
    """Users and items with hidden factors, drawn once; arrays by user or item."""

    user_taste: Array  # (n_users, RANK)
    item_factor: Array  # (N_ITEMS, RANK)
    item_effect: Array
    item_genre: Array
    item_weight: Array
    item_start_h: Array

    @classmethod
    def draw(cls, n_users: int, days: int, seed: int) -> Tastes:
        """Tastes of so many users; a generator of their own leaves all other draws of the stream as they are."""
        rng = np.random.default_rng([seed, 1, 1])
        genre = rng.integers(0, N_GENRES, N_ITEMS)
        centre = rng.normal(0, _GENRE_SD, (N_GENRES, RANK))
        start_h = np.where(rng.random(N_ITEMS) < 0.7, 0, rng.integers(0, 24 * days, N_ITEMS))
        return cls(
            user_taste=rng.normal(0, 1, (n_users, RANK)),
            item_factor=centre[genre] + rng.normal(0, _OWN_SD, (N_ITEMS, RANK)),
            item_effect=rng.normal(0, _EFFECT_SD, N_ITEMS),
            item_genre=genre,
            item_weight=(rng.permutation(N_ITEMS) + 30.0) ** -0.9,
            item_start_h=start_h,
        )

    def shown(self, hour: int, n: int, rng: np.random.Generator) -> Array:
        """Items of ``n`` rows of an hour: by popularity, of those that are in the catalogue by then."""
        return pick(self.item_weight * (self.item_start_h <= hour), n, rng)

    def log_odds(self, user: Array, item: Array) -> Array:
        """What user and item add to the log-odds of a click."""
        liking: Array = np.einsum("ij,ij->i", self.user_taste[user], self.item_factor[item])
        return _INTERCEPT + self.item_effect[item] + liking

    def columns(self, item: Array) -> list[pa.Array]:
        """The columns of :data:`FIELDS`."""
        names = pa.array([f"i{i:04d}" for i in range(N_ITEMS)])
        genres = pa.array([f"g{i:02d}" for i in range(N_GENRES)])
        return [names.take(pa.array(item)), genres.take(pa.array(self.item_genre[item]))]
