"""Users over HTTP: the state goes in and comes out, the client needs no table, and nothing of it is kept."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_kit import ROOT, Application, application, ask

from gbdtlr.config import Config, ServeConfig
from gbdtlr.errors import ConfigError
from gbdtlr.jobs import train_embeddings, train_trees, update_lr
from gbdtlr.scoring import Scorer
from gbdtlr.serving.token import user_key_of

sys.path.insert(0, str(ROOT / "tests/users"))
from users_kit import START, at, config_of, write
from users_kit import rows as rows_of

Made = tuple[Config, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A config whose store has a release with vectors and a learned weight of users' scores, and rows without it."""
    folder = tmp_path_factory.mktemp("for-users")
    write(folder)
    embeddings = {"window": "4d", "dimensions": 4, "min_item_count": 2}
    config = config_of(folder, samples={"user": "u", "item": "item"}, embeddings=embeddings)
    assert train_trees(config, at(1.5)).status == "published"
    assert train_embeddings(config, at(1.6), force=True).status == "published"
    assert update_lr(config, at(2.1)).status == "published"
    table = rows_of(START, 99, 20).drop_columns(["ts", "label", "user_score", "u", "colour"])
    return config, table.to_pylist()


@pytest.fixture(scope="module")
def app(made: Made) -> Application:
    return application(made[0].store)


def client() -> Any:
    spec = importlib.util.spec_from_file_location("gbdtlr_user", ROOT / "clients/python/gbdtlr_user.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_client_without_a_table_comes_to_what_the_server_answers(app: Application, made: Made) -> None:
    rows = made[1]
    first = ask(app, "/score", {"rows": rows, "user": None, "vectors": True}).json
    assert set(first["user_score"]) == {0.0}
    assert first["rule"].keys() == {"alpha", "l2", "weight"}
    own = client().User(first["user"], **first["rule"])
    vectors = [client().vector(text) for text in first["vector"]]
    assert {len(vector) for vector in vectors} == {4}
    for i in (0, 3, 3, 7):
        own.learn(vectors[i], i % 2, first["margin"][i])
    second = ask(app, "/score", {"rows": rows, "user": str(own)}).json
    assert second.keys() == {"probability", "release", "user", "user_score"}
    assert second["user"] == str(own)
    own = client().User(str(own), **first["rule"])
    expected = [own.probability(vector, margin) for vector, margin in zip(vectors, first["margin"], strict=True)]
    np.testing.assert_allclose(second["probability"], expected, atol=1e-12)
    np.testing.assert_allclose(second["user_score"], [own.score(vector) for vector in vectors], atol=1e-12)
    assert np.ptp(np.subtract(second["probability"], first["probability"])) > 1e-3


def test_events_are_learned_by_the_server_for_who_has_no_client(app: Application, made: Made) -> None:
    rows = made[1]
    events = [{"item": rows[i]["item"], "label": i % 2, "margin": -0.5} for i in range(5)]
    found = ask(app, "/score", {"rows": rows, "user": None, "events": events}).json
    user = Scorer.open(made[0].store).user()
    for event in events:
        user.learn(event["item"], event["label"], event["margin"])
    assert found["user"] == user.to_text()
    np.testing.assert_array_equal(found["user_score"], user.margins_of_rows(rows).score)


def test_rows_columns_few_and_many_are_alike_and_no_user_is_a_new_one(app: Application, made: Made) -> None:
    rows = made[1]
    state = ask(app, "/score", {"rows": [], "user": None, "events": [{"item": 3, "label": 1, "margin": 0.5}]}).json[
        "user"
    ]
    many = ask(app, "/score", {"rows": rows, "user": state}).json
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    assert ask(app, "/score", {"columns": columns, "user": state}).json == many
    few = [ask(app, "/score", {"rows": [row], "user": state}).json["probability"][0] for row in rows]
    assert few == many["probability"]
    mixed = [{**row, "item": str(row["item"]) if i % 2 else row["item"]} for i, row in enumerate(rows)]
    assert ask(app, "/score", {"rows": mixed, "user": state}).json == many
    nobody = ask(app, "/score", {"rows": rows, "user": None}).json["probability"]
    assert ask(app, "/score", {"rows": rows}).json["probability"] == nobody
    assert ask(app, "/score", rows[0]).json["probability"] == nobody[0]
    assert ask(app, "/explain", rows[0]).json["probability"] == pytest.approx(nobody[0], abs=1e-12)
    assert ask(app, "/invocations", {"dataframe_records": rows}).json["predictions"] == nobody


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"user": 7}, "the state that the last answer had"),
        ({"user": "x" * 5000}, "the state that the last answer had"),
        ({"vectors": 1}, "true or false"),
        ({"events": {}}, "events must be a list"),
        ({"events": [{"item": 1}]}, "event 0 cannot be learned"),
        ({"events": [{"item": 1, "label": 2, "margin": 0.0}]}, "a label is 0 or 1"),
        ({"events": [{"item": 1, "label": 1, "margin": "x"}]}, "a margin is a number"),
        ({"events": [{"item": [1], "label": 1, "margin": 1.0}]}, "event 0 cannot be learned"),
        ({"rows": [{"x": 1.0}]}, "columns are missing"),
        ({"rows": [{"x": "y", "item": 1}]}, "columns are missing"),
        ({"rows": [{"x": 1.0, "item": 1, "z": 1}]}, "columns are missing"),
        ({"rows": [1]}, "row 0 is none"),
    ],
)
def test_what_is_wrong_is_told(app: Application, change: dict[str, Any], told: str) -> None:
    reply = ask(app, "/score", {"rows": [{"x": 1.0, "item": 1}], "user": None, **change})
    assert reply.status == 422
    assert told in reply.json["detail"]
    assert (change.get("rows", [1]) == [1]) or reply.json["problems"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"rows": [{"x": 1.0, "item": [1]}], "user": None}, "item: in row 0: is [1] (list), a text"),
        ({"rows": [], "user": None, "vector": True}, "but not vector; did you mean vectors?"),
        (
            {"rows": [], "columns": {}, "user": None},
            "user, events and vectors, but not columns",
        ),
        (
            {"columns": {"x": [1]}, "user_id": "u1"},
            "user, events and vectors, but not user_id",
        ),
        ({"rows": [], "vectors": True}, "send user too, null for a new one"),
        ({"x": 1.0, "user": None}, "user: is no column of release 3; it stands beside rows or columns, for a user"),
    ],
)
def test_what_stands_in_the_wrong_place_is_told_by_name(app: Application, body: dict[str, Any], told: str) -> None:
    reply = ask(app, "/score", body)
    assert reply.status == 422
    problems = [f"{name}: {problem}" for name, problem in reply.json["problems"].items()]
    assert any(told in each for each in (reply.json["detail"], *problems)), reply.json


def test_states_that_cannot_be_used_begin_anew_and_are_counted(app: Application, made: Made) -> None:
    rows, before = made[1], ask(app, "/healthz").json["users"]
    new = ask(app, "/score", {"rows": rows, "user": None}).json
    for state in ("%", "AAAA", new["user"][:-4]):
        found = ask(app, "/score", {"rows": rows, "user": state})
        assert found.json == new
    after = ask(app, "/healthz").json["users"]
    assert after["new"] == before["new"] + 1
    assert sum(after.values()) == sum(before.values()) + 4


def test_a_state_is_named_nowhere_but_in_its_answer(app: Application, made: Made) -> None:
    event = {"item": 3, "label": 1, "margin": 0.5}
    state = ask(app, "/score", {"rows": made[1], "user": None, "events": [event]}).json["user"]
    for route in ("/healthz", "/metrics", "/status.json", "/openapi.json", "/"):
        assert state[8:40] not in ask(app, route).body.decode()
    kept = [path.read_bytes() for path in Path(made[0].store).rglob("*") if path.is_file()]
    assert not any(state[8:40].encode() in data for data in kept)


def test_the_description_has_the_form_of_a_user(app: Application, store: str) -> None:
    schemas = ask(app, "/openapi.json").json["components"]["schemas"]
    forms = [form for form in schemas["Score"]["anyOf"] if "user" in form.get("properties", {})]
    assert [form["required"] for form in forms] == [["rows", "user"], ["columns", "user"]]
    assert "item" in forms[0]["properties"]["rows"]["items"]["properties"]
    assert "user_score" not in schemas["Row"]["properties"]
    plain = ask(application(store), "/openapi.json").json["components"]["schemas"]["Score"]["anyOf"]
    assert not [form for form in plain if "user" in form.get("properties", {})]
    refused = ask(application(store), "/score", {"rows": [{}], "user": None})
    assert refused.status == 422
    assert "train-embeddings" in refused.json["detail"]


def test_the_key_of_states_comes_from_a_file(made: Made, tmp_path: Path) -> None:
    from gbdtlr.serving import app as app_of

    path = tmp_path / "key"
    settings = ServeConfig.from_dict({"user_key_file": str(path), "refresh": "1h"})
    with pytest.raises(
        ConfigError, match=r"\[serve\] user_key_file: cannot read .*key: No such file or directory; name"
    ):
        user_key_of(settings)
    path.write_text("short\n")
    with pytest.raises(ConfigError, match=r"\[serve\] user_key_file: the key in .* at least 16"):
        user_key_of(settings)
    path.write_text("a long random text, or so\n")
    signing, other = app_of(made[0].store, settings), application(made[0].store)
    signed = ask(signing, "/score", {"rows": made[1], "user": None}).json["user"]
    with pytest.raises(ValueError, match="signed"):
        client().User(signed)
    ask(signing, "/score", {"rows": made[1], "user": signed})
    assert ask(signing, "/healthz").json["users"]["known"] == 1
    ask(other, "/score", {"rows": made[1], "user": signed})
    assert ask(other, "/healthz").json["users"]["signature"] == 1
    assert "a long random" not in json.dumps(ask(signing, "/status.json").json)
    signing.close()


def test_the_age_of_the_vectors_and_what_became_of_states_are_told(made: Made) -> None:
    config, rows = made
    app = application(config.store)
    assert ask(app, "/score", {"rows": rows[:1], "user": "AQcICQAA"}).status == 200
    assert ask(app, "/score", {"rows": rows[:1], "user": None}).status == 200
    health = ask(app, "/healthz", method="GET").json
    embeddings = Scorer.open(config.store).loaded.embeddings
    assert embeddings is not None
    assert health["embeddings"] == embeddings.name
    assert health["embeddings_as_of"].startswith("2024-03-02T14:24")
    assert health["embeddings_age_s"] > health["head_age_s"]
    assert sum(health["users"].values()) == 2
    text = ask(app, "/metrics", method="GET").body.decode()
    assert 'gbdtlr_users_total{began="new"} 1' in text
    assert f'gbdtlr_users_total{{began="foreign"}} {health["users"]["foreign"]}' in text
    assert health["users"]["new"] == 1
    (age,) = (float(line.split()[1]) for line in text.splitlines() if line.startswith("gbdtlr_embeddings_age_seconds"))
    assert age == pytest.approx(health["embeddings_age_s"], abs=3600)
    (card,) = ask(app, "/status.json", method="GET").json["releases"]
    assert card["embeddings"] == embeddings.name
    assert card["embeddings_age_s"] > card["head_age_s"]
