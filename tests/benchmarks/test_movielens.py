"""MovieLens as a stream: both forms of the files give the same rows, and what is counted happened before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import movielens

ROWS = [(1, 10, 5, 7200), (2, 10, 3, 3600), (1, 20, 4, 7100), (2, 20, 1, 10900), (1, 30, 2, 10801)]
FILMS = [(10, "Toy Story (1995)", "Animation|Comedy"), (20, "GoldenEye (1995)", "Action")]
USERS = [(1, "F", 24, 10), (2, "M", 53, 3)]


@pytest.fixture
def large(tmp_path):
    for name, rows in (("ratings", ROWS), ("movies", FILMS), ("users", [(*user, "48067") for user in USERS])):
        text = "\n".join("::".join(map(str, row)) for row in rows) + "\n"
        (tmp_path / f"{name}.dat").write_text(text, "latin-1")
    return tmp_path / "ratings.dat"


@pytest.fixture
def small(tmp_path):
    def write(name, header, rows):
        text = "\n".join(["\t".join(header), *("\t".join(map(str, row)) for row in rows)]) + "\n"
        (tmp_path / f"ml-100k.{name}").write_text(text)

    write("inter", ["user_id:token", "item_id:token", "rating:float", "timestamp:float"], ROWS)
    films = [(item, title[:-7], 1995, genre) for item, title, genre in FILMS]
    write("item", ["item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq"], films)
    users = [(user, age, gender, job, "48067") for user, gender, age, job in USERS]
    header = ["user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token"]
    write("user", header, users)
    return tmp_path


def test_both_forms_give_the_same_rows(large, small):
    one = movielens.samples_of(movielens.Ratings.of_1m(large))
    other = movielens.samples_of(movielens.Ratings.of_100k(small))
    assert one.table.equals(other.table)
    assert one.label.tolist() == other.label.tolist() == [0, 1, 1, 0, 0]
    assert one.table["item"].to_pylist() == ["10", "20", "10", "30", "20"]
    assert one.table["genre"].to_pylist() == ["Animation|Comedy", "Action", "Animation|Comedy", None, "Action"]
    assert (one.known_us == one.event_us).all()
    assert set(movielens.config_of(one).samples.categorical) == {"genre", "gender", "age", "occupation"}


def test_ratings_alone_are_enough(large, monkeypatch):
    for name in ("movies", "users"):
        large.with_name(f"{name}.dat").unlink()
    monkeypatch.setenv(movielens.PATH, str(large))
    found = movielens.Ratings.found()
    assert found.name == "MovieLens-1M"
    samples = movielens.samples_of(found)
    assert movielens.config_of(samples).samples.categorical == ()
    assert samples.table["user_n"].to_pylist() == [0, 0, 1, 2, 1]
    assert samples.table["item_n"].to_pylist() == [0, 0, 1, 0, 1]
    assert samples.table["item_rate"].to_pylist() == [None, None, 0.0, None, 1.0]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 1)), max_size=30))
def test_counts_are_of_the_hours_before(rows):
    key, hour, label = (np.array([row[k] for row in rows], np.int64) for k in range(3))
    n, likes = movielens._so_far(key, hour, label.astype(np.int8))
    for i in range(len(rows)):
        before = (key == key[i]) & (hour < hour[i])
        assert (n[i], likes[i]) == (before.sum(), label[before].sum())
