"""Scoring for a user: the margin without the user's part and the part itself, alike from frames, rows and clients."""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from test_clients import client
from users_kit import START, Vectors, config_of, rows, with_vectors

from gbdtlr.errors import ConfigError, SchemaError
from gbdtlr.metrics import sigmoid
from gbdtlr.scoring import Scorer
from gbdtlr.scoring.user import User
from gbdtlr.users import pack, tag_of


@pytest.fixture
def scorer(tastes: Path) -> Scorer:
    return with_vectors(Scorer.open(config_of(tastes).store))


def frame_of(n: int = 60) -> pa.Table:
    table = rows(START, 99, n).drop_columns(["ts", "label", "user_score", "u"])
    items = table.column("item").to_pylist()
    items[3], items[4] = 1000, None  # of no vector but their colour's
    return table.set_column(table.schema.get_field_index("item"), "item", pa.array(items))


def taught(scorer: Scorer) -> User:
    user, table = scorer.user(), frame_of()
    margins = user.margins(table)
    for i, item in enumerate(table.column("item").to_pylist()):
        user.learn(item, int(i % 3 == 0), margins.without[i], {"colour": table.column("colour")[i].as_py()})
    return user


def test_a_row_of_a_frame_and_a_row_alone_are_scored_alike(scorer: Scorer) -> None:
    user, table = taught(scorer), frame_of()
    expected = scorer.score(table, user=user)
    assert np.abs(expected - scorer.score(table)).max() > 0.01
    found = [scorer.score_row(row, user=user) for row in table.to_pylist()]
    assert found == expected.tolist()
    names = table.column_names
    values = [[row[name] for name in names] for row in table.to_pylist()]
    assert [scorer.score_row(each, names, user) for each in values] == expected.tolist()
    assert scorer.score(table.to_pandas().astype({"item": "Int64"}), user=user).tolist() == expected.tolist()
    margins, alone = user.margins(table), user.margins_of_rows(table.to_pylist())
    for key in ("margin", "without", "score"):
        np.testing.assert_array_equal(getattr(margins, key), getattr(alone, key))
    weight = user.rule["weight"]
    np.testing.assert_array_equal(margins.margin, margins.without + weight * margins.score)
    colours = table.column("colour").to_pylist()
    items = table.column("item").to_pylist()
    assert margins.score.tolist() == [
        user.score(item, {"colour": colour}) for item, colour in zip(items, colours, strict=True)
    ]


def test_the_column_in_a_frame_is_the_score_as_it_was_served(scorer: Scorer) -> None:
    user, table = taught(scorer), frame_of()
    margins = user.margins(table)
    logged = table.append_column("user_score", pa.array(margins.score))
    np.testing.assert_allclose(scorer.margin(logged), margins.margin, atol=1e-6)  # the head reads single precision
    np.testing.assert_array_equal(scorer.margin(table), margins.without)
    np.testing.assert_array_equal(user.margins(logged).margin, margins.margin)  # the state is what counts
    nobody = table.append_column("user_score", pa.nulls(len(table), pa.float64()))
    np.testing.assert_allclose(scorer.margin(nobody), margins.without, rtol=0, atol=1e-12)
    for row, margin in zip(table.to_pylist(), margins.without, strict=True):
        assert scorer.score_row(row) == sigmoid(np.array([margin]))[0]


def test_the_client_comes_to_the_probabilities_of_the_server(scorer: Scorer) -> None:
    user, table = taught(scorer), frame_of()
    own = client().User(user.to_text(), **user.rule)
    user = scorer.user(user.to_text())
    margins = user.margins(table)
    for i, (numbers, scale) in enumerate(zip(*margins.packed, strict=True)):
        vector = client().vector(base64.b64encode(pack(numbers, scale)).decode())
        probability = own.probability(vector, float(margins.without[i]))
        assert probability == pytest.approx(sigmoid(margins.margin[i : i + 1])[0], abs=1e-12)
    item, vector = 5, client().vector(_packed(Vectors(), 5))
    for label in (1, 0, 1):
        own.learn(vector, label, -0.5)
        user.learn(item, label, -0.5)
    np.testing.assert_allclose(own.weights, user.weights, atol=1e-12)
    assert str(own) == user.to_text()


def _packed(vectors: Vectors, item: int) -> str:
    from gbdtlr.users import quantised

    numbers, scale = quantised(vectors.matrix[item][None])
    return base64.b64encode(pack(numbers[0], scale[0])).decode()


def test_no_foreign_or_older_state_is_a_new_user_and_counted(scorer: Scorer) -> None:
    scorer = with_vectors(scorer, turned=("before",))
    known = taught(scorer).to_bytes()
    scorer = with_vectors(Scorer.open(scorer.store), turned=("before",))
    before = known[:1] + tag_of("before") + known[4:]
    given: dict[str, Any] = {
        "new": None,
        "damaged": "%%%",
        "signature": bytes([known[0] | 0x80]) + known[1:],
        "foreign": known[:4] + known[6:],
        "older": known[:1] + b"xyz" + known[4:],
    }
    for reason, state in given.items():
        user = scorer.user(state)
        assert user.began == reason
        assert not any(user.weights)
        assert user.to_bytes()[1:4] == tag_of("now")
    for state in (known, before, base64.b64encode(known).decode()):
        user = scorer.user(state)
        assert user.began == "known"
        assert user.to_bytes() == known
    assert scorer.health()["users"] == {"known": 3, **dict.fromkeys(given, 1)}
    other = with_vectors(Scorer.open(scorer.store), Vectors(size=3))
    assert not any(other.user(user).weights)
    assert other.health()["users"]["foreign"] == 1


def test_a_signed_state_cannot_be_changed_by_others(tastes: Path) -> None:
    scorer = with_vectors(Scorer.open(config_of(tastes).store, user_key=b"secret"))
    data = taught(scorer).to_bytes()
    assert scorer.user(data).began == "known"
    assert scorer.user(data[:5] + b"\x00" + data[6:]).began == "signature"
    assert with_vectors(Scorer.open(config_of(tastes).store)).user(data).began == "signature"


def test_what_is_wrong_with_rows_is_told_of_model_and_vectors_at_once(scorer: Scorer) -> None:
    user = scorer.user()
    with pytest.raises(SchemaError, match=r"x.*columns of the embeddings missing: item|item"):
        user.margins_of_rows([{"colour": "red"}])
    with pytest.raises(SchemaError, match="a label is 0 or 1"):
        user.learn(1, 7, 0.0)
    with pytest.raises(SchemaError, match="no names"):
        scorer.score_row([1.0, 2.0], user=user)
    with pytest.raises(SchemaError, match="a row of 2 values"):
        scorer.score_row([1.0], ["x", "item"], user)


def test_a_release_without_vectors_says_what_to_run(tastes: Path) -> None:
    scorer = Scorer.open(config_of(tastes).store)
    for ask in (lambda: scorer.user(), lambda: scorer.score(frame_of(), user=b"")):
        with pytest.raises(ConfigError, match="gbdtlr train-embeddings"):
            ask()
    assert scorer.score(frame_of()).shape == (60,)


def test_without_a_learned_weight_the_score_weighs_its_anchor(store: str) -> None:
    scorer = Scorer.open(store)
    vectors = Vectors(20)
    vectors.item = "shop"
    vectors.columns = ("shop",)
    vectors.vectors_of_rows = lambda rows: (  # type: ignore[method-assign]
        vectors.matrix[np.asarray(pa.table(rows).column("shop"))],
        np.ones(len(rows), bool),
    )
    scorer = with_vectors(scorer, vectors)
    table = pd.DataFrame({"x": [0.5, 1.0], "y": [0.0, 1.0], "colour": ["red", None], "shop": [3, 4]})
    user = scorer.user()
    user.learn(3, 1, 0.0)
    margins = user.margins(pa.Table.from_pandas(table, preserve_index=False))
    assert user.rule == {"alpha": 0.5, "l2": 0.0, "weight": 1.0}
    np.testing.assert_array_equal(margins.without, scorer.margin(table))
    np.testing.assert_array_equal(margins.margin, margins.without + margins.score)
    assert margins.score[0] > 0


def test_vectors_are_opened_with_a_release_once_somebody_has_asked_for_a_user(scorer: Scorer) -> None:
    assert not scorer._has_users
    scorer.user()
    assert scorer._has_users
    assert isinstance(scorer._serving.users.source, SimpleNamespace)
