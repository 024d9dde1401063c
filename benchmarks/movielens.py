"""MovieLens as a stream of rows: a rating of 4 or 5 is a click, known at once.

Its licence forbids to hand it on, so it is read from where it is: ``ratings.dat`` of MovieLens-1M at the path that
the environment variable ``MOVIELENS`` names (``movies.dat`` and ``users.dat`` are read too if they lie beside it), or
MovieLens-100k as an installed ``recbole`` brings it.

What users and films did before is counted up to the start of the hour, as a feature store gives it.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from gbdtlr.config import Config
from gbdtlr.samples import Samples

PATH = "MOVIELENS"
"""Environment variable that names ``ratings.dat``."""
LIKED = 4
HOUR_US = 3_600_000_000
RATING, FILM, USER = (
    ["user", "item", "rating", "at"],
    ["item", "title", "genre"],
    ["user", "gender", "age", "occupation"],
)


@dataclass(frozen=True)
class Ratings:
    """Ratings by time, and what is known of films and users; columns of :data:`RATING` and the others."""

    name: str
    ratings: pd.DataFrame
    films: pd.DataFrame | None
    users: pd.DataFrame | None

    @classmethod
    def found(cls) -> Ratings | None:
        """Those that are here, None if there are none."""
        if path := os.environ.get(PATH):
            return cls.of_1m(Path(path))
        spec = importlib.util.find_spec("recbole")
        if spec is None or spec.origin is None:
            return None
        folder = Path(spec.origin).parent / "dataset_example" / "ml-100k"
        return cls.of_100k(folder) if folder.exists() else None

    @classmethod
    def of_1m(cls, path: Path) -> Ratings:
        """Of ``ratings.dat``, fields parted by ``::``."""
        films, users = (
            _dat(path.with_name(name), columns) if path.with_name(name).exists() else None
            for name, columns in (("movies.dat", FILM), ("users.dat", [*USER, "zip"]))
        )
        return cls("MovieLens-1M", _by_time(_dat(path, RATING)), films, users)

    @classmethod
    def of_100k(cls, folder: Path) -> Ratings:
        """Of RecBole's files, fields parted by tabs, their types in the names of the columns."""
        ratings, films, users = (
            pd.read_csv(folder / f"ml-100k.{part}", sep="\t").rename(columns=lambda name: name.partition(":")[0])
            for part in ("inter", "item", "user")
        )
        ratings = ratings.set_axis(RATING, axis=1)
        films = films.rename(columns={"item_id": "item", "class": "genre"})[["item", "genre"]]
        return cls("MovieLens-100k", _by_time(ratings), films, users.rename(columns={"user_id": "user"})[USER])


def samples_of(found: Ratings) -> Samples:
    """Rows by time, with all columns that :func:`config_of` names."""
    ratings = found.ratings
    event_us = ratings["at"].to_numpy(np.int64) * 1_000_000
    label = (ratings["rating"] >= LIKED).to_numpy(np.int8)
    hour = event_us // HOUR_US
    columns: dict[str, object] = {"hour_of_day": hour % 24}
    for name in ("user", "item"):
        n, likes = _so_far(ratings[name].to_numpy(), hour, label)
        columns[f"{name}_n"] = n
        columns[f"{name}_rate"] = np.divide(likes, n, out=np.full(len(n), np.nan), where=n > 0)
        columns[name] = ratings[name].astype(str).to_numpy()
    for beside, key in ((found.films, "item"), (found.users, "user")):
        if beside is not None:
            of_rows = beside.drop_duplicates(key).set_index(key).reindex(ratings[key])
            columns |= {name: of_rows[name].astype(str).to_numpy() for name in of_rows if name in CATEGORIES}
    table = {name: pa.array(column, from_pandas=True) for name, column in columns.items()}
    for name in table:
        if pa.types.is_string(table[name].type) or pa.types.is_large_string(table[name].type):
            table[name] = table[name].cast(pa.string()).dictionary_encode()
    return Samples(pa.table(table), label, np.ones(len(label)), event_us, event_us)


CATEGORIES = ("genre", "gender", "age", "occupation")


def config_of(samples: Samples) -> Config:
    """What the jobs would be told."""
    there = samples.table.column_names
    numeric = ["hour_of_day", "user_n", "user_rate", "item_n", "item_rate"]
    return Config.from_dict(
        {
            "samples": {
                "path": "-",
                "event_time": "at",
                "label_time": "at",
                "numeric": numeric,
                "categorical": [name for name in CATEGORIES if name in there],
                "wide": ["user", "item"],
                "user": "user",
                "item": "item",
            },
            "trees": {"window": "70d", "params": {"num_iterations": 40, "num_leaves": 16, "min_data_in_leaf": 100}},
            "embeddings": {"window": "3650d", "content": ["genre"] if "genre" in there else []},
            "head": {"window": "70d", "half_lives": ["1d", "7d", "28d", "84d"]},
        }
    )


def _dat(path: Path, columns: list[str]) -> pd.DataFrame:
    """A file of MovieLens-1M, in Latin-1."""
    lines = path.read_text("latin-1").splitlines()
    table = pd.DataFrame([line.split("::")[: len(columns)] for line in lines if line], columns=columns)
    numbers = [name for name in ("user", "item", "rating", "at") if name in columns]
    return table.astype(dict.fromkeys(numbers, np.int64))


def _by_time(ratings: pd.DataFrame) -> pd.DataFrame:
    return ratings.astype(np.int64).sort_values("at", kind="stable").reset_index(drop=True)


def _so_far(
    key: NDArray[np.int64], hour: NDArray[np.int64], label: NDArray[np.int8]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the same key before the hour of each, and how many of these are positive."""
    order = np.lexsort((hour, key))
    key, hour = key[order], hour[order]
    place = np.arange(len(key))
    new_key = np.append(True, key[1:] != key[:-1])
    new_hour = new_key | np.append(True, hour[1:] != hour[:-1])
    of_key, of_hour = (np.maximum.accumulate(np.where(new, place, 0)) for new in (new_key, new_hour))
    before = np.append(0, np.cumsum(label[order]))
    n, likes = np.empty(len(key), np.int64), np.empty(len(key), np.int64)
    n[order], likes[order] = of_hour - of_key, before[of_hour] - before[of_key]
    return n, likes
