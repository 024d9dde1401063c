"""The third job on a small shop: what it publishes, what the other jobs make of it, and what stops it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from importlib import import_module

import numpy as np
import pyarrow as pa
import pytest
from jobs_kit import at, with_guard, write_stream
from pyarrow import parquet
from shop_kit import N_ITEMS, shop_of, with_embeddings, with_tastes, write_shop

from gbdtlr.cli.group import main
from gbdtlr.compute import threads
from gbdtlr.embeddings import keys_of, pmi
from gbdtlr.errors import ConfigError, DamagedError, FormatError, MismatchError, NoReleaseError
from gbdtlr.jobs import draft, train_trees, update_lr
from gbdtlr.jobs.carrying import try_publish_embeddings
from gbdtlr.jobs.drop_items import drop_items
from gbdtlr.jobs.learn import learn
from gbdtlr.jobs.taken import Taken
from gbdtlr.jobs.train_embeddings import train_embeddings
from gbdtlr.operate.rollback import rollback
from gbdtlr.operate.status import status
from gbdtlr.operate.verify import verify
from gbdtlr.release import Embedded, Release
from gbdtlr.scoring import Scorer
from gbdtlr.store import Store

ITEMS = list(range(N_ITEMS))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Folder with the shop's samples and a store of one release of trees."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder)
    assert train_trees(shop_of(folder), at(5)).status == "published"
    return folder


@pytest.fixture
def config(shop, tmp_path):
    return shop_of(shop, str(shutil.copytree(shop / "store", tmp_path / "store")))


def live(config) -> Release:
    return Release.live(Store.open(config.store))


def vectors(config, number: int | None = None):
    store = Store.open(config.store)
    release = Release.load(store, store.entry(number)) if number else live(config)
    return release.embeddings.vectors


def test_new_embeddings_go_live_with_the_live_head(config):
    before = live(config)
    result = train_embeddings(config, at(5, 1))
    after = live(config)
    assert (result.status, result.reason, result.release) == ("published", "", 2)
    assert (result.trees, result.embeddings) == after.entry.slow
    assert result.as_dict()["embeddings"] == after.entry.embeddings
    assert after.entry.trees == before.entry.trees
    assert after.entry.head != before.entry.head
    assert after.head_as_of == before.head_as_of
    assert after.head.weights.tobytes() == before.head.weights.tobytes()
    assert dict(after.learned) == dict(before.learned)
    assert (after.entry.why, after.entry.base, after.entry.as_of) == ("train-embeddings", 1, at(5, 1))
    embeddings = after.embeddings.vectors
    assert (embeddings.item, embeddings.content, embeddings.dimensions) == ("id", (), 4)
    assert after.embeddings.as_of == at(5, 1)
    metrics = result.metrics
    assert (metrics["items"], metrics["left_out"]) == (len(embeddings), 0)
    assert metrics["known"] > 0.9
    assert "cosine" not in metrics
    found, known = embeddings.vectors_of(ITEMS)
    even = np.arange(N_ITEMS)[known] % 2 == 0
    products = found[known] @ found[known].T
    assert products[even][:, even].mean() > 0.3 > 0.1 > products[even][:, ~even].mean()
    assert verify(config.store).ok


def test_it_learns_nothing_that_was_not_known_then(config):
    taken = Taken.read(config, at(5))
    assert max(int(part.at_us.max()) for part in taken.events) <= (at(5, -1)).timestamp() * 1e6
    assert taken.told.n_rows == 4 * 24 * 40 - 40
    assert taken.told.shown.n.sum() == taken.told.n_newest == 23 * 40
    everything = dataclasses.replace(config.samples, negative_keep_rate=0.1)
    assert Taken.read(config.replace(samples=everything), at(5)).told.n_rows == taken.told.n_rows


def test_the_same_samples_give_the_same_version(config, shop, tmp_path):
    first = train_embeddings(config, at(5, 1))
    other = shop_of(shop, str(shutil.copytree(shop / "store", tmp_path / "other")))
    with threads.limited(3):
        again = train_embeddings(other.replace(store=other.store), at(5, 1))
    folders = [
        tmp_path / name / "embeddings" / found.embeddings for name, found in (("store", first), ("other", again))
    ]
    for name in ("vectors.npy", "keys.npy", "embeddings.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_the_other_jobs_carry_them_along(config):
    name = train_embeddings(config, at(5, 1)).embeddings
    assert update_lr(config, at(5, 12)).embeddings == name
    assert train_trees(config, at(6)).embeddings == name
    assert update_lr(config, at(6, 3)).embeddings == name
    store = Store.open(config.store)
    assert [entry.embeddings for entry in store.entries()] == [None, *[name] * 4]
    assert [entry.why for entry in store.entries()][1:] == ["train-embeddings", "update-lr", "train-trees", "update-lr"]
    assert verify(config.store).ok
    progressive = [entry.metrics["progressive"]["rows"] for entry in store.entries()[2:]]
    # Each label once, by what was live then, under other embeddings too; but for the hour before there was anything.
    assert sum(progressive) == 26 * 40
    back = rollback(config.store, 1, at(6, 4))
    assert (back.status, back.embeddings) == ("published", None)
    assert rollback(config.store, 5, at(6, 5)).embeddings == name
    assert verify(config.store).ok
    assert rollback(config.store, None, at(6, 6)).release == 8


def test_a_stream_carries_them_along(shop, tmp_path):
    config = shop_of(shop, str(tmp_path / "store"), head={"method": "ftrl"})
    assert train_trees(config, at(5)).status == "published"
    name = train_embeddings(config, at(5, 1)).embeddings
    rows = parquet.read_table(shop / "data" / "2024-03-06.parquet", columns=["x", "y", "c", "id", "label"]).to_pylist()
    result = learn(config, [[json.dumps(row) for row in rows]], lambda: at(6), publish_every=at(0, 1) - at(0))
    assert (result.status, result.release, result.embeddings) == ("published", 3, name)
    assert live(config).entry.why == "learn"


def test_an_update_is_as_if_there_were_none(config, shop, tmp_path):
    other = shop_of(shop, str(shutil.copytree(shop / "store", tmp_path / "other")))
    train_embeddings(config, at(5, 1))
    for each in (config, other):
        assert update_lr(each, at(5, 12)).status == "published"
    np.testing.assert_allclose(live(config).head.weights, live(other).head.weights, rtol=1e-6)  # sums in other pieces
    rows = parquet.read_table(shop / "data" / "2024-03-07.parquet")
    scores = [Scorer.open(each.store).score(rows) for each in (config, other)]
    np.testing.assert_allclose(*scores, rtol=1e-6)


def test_a_client_one_version_behind_loses_nothing(config, shop, tmp_path):
    """What was learned on the old vectors says the same of items on the new ones: as these are turned onto the old."""
    train_embeddings(config, at(5, 1))
    assert update_lr(config, at(5, 12)).status == "published"
    result = train_embeddings(config, at(7))
    assert result.status == "published"
    assert result.metrics["shared"] > 20
    old, new = vectors(config, 2), vectors(config)
    both = [item for item in ITEMS if old.has([item])[0] and new.has([item])[0]]
    cosines = []
    for embeddings in (old, new):
        found = embeddings.vectors_of(both)[0].astype(float)
        cosines.append(found / np.sqrt((found**2).sum(axis=1, keepdims=True)))
    shown = Taken.read(config, at(7)).told.shown
    weight = np.array(
        [dict(zip(shown.keys.tolist(), shown.n.tolist(), strict=True)).get(key, 0) for key in keys_of(both)[0].tolist()]
    )
    cosine = float(((cosines[0] * cosines[1]).sum(axis=1) * weight).sum() / weight.sum())
    assert result.metrics["cosine"] == pytest.approx(cosine, abs=1e-6)
    alone = shop_of(shop, str(shutil.copytree(shop / "store", tmp_path / "alone")))
    train_embeddings(alone, at(7))
    turned, plain = vectors(config).vectors_of(both)[0], vectors(alone).vectors_of(both)[0]
    np.testing.assert_allclose(turned @ turned.T, plain @ plain.T, atol=0.02)
    taste = np.where(np.array(both) % 2 == 0, 1.0, -1.0)
    before = old.vectors_of(both)[0]
    weights = np.linalg.lstsq(before, taste, rcond=None)[0]  # a user's, as a client keeps them
    assert np.corrcoef(turned @ weights, taste)[0, 1] > 0.8
    assert np.corrcoef(turned @ weights, taste)[0, 1] > np.corrcoef(before @ weights, taste)[0, 1] - 0.1


def test_vectors_somebody_else_made(config, tmp_path):
    rng = np.random.default_rng(0)
    made = rng.normal(size=(N_ITEMS, 3))
    path = str(tmp_path / "vectors.parquet")
    table = pa.table({"id": ITEMS, "vector": pa.array(made.tolist(), pa.list_(pa.float32()))})
    parquet.write_table(table, path)
    brought = with_embeddings(config, method="file", path=path)
    assert train_embeddings(brought, at(5, 1)).metrics == {"items": N_ITEMS, "dimensions": 3, "known": 1.0}
    np.testing.assert_array_equal(vectors(config).vectors_of(ITEMS)[0], made.astype(np.float32).astype(np.float16))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned = pa.array((made @ turn).tolist(), pa.list_(pa.float32()))
    parquet.write_table(table.set_column(1, "vector", turned), path)
    assert train_embeddings(brought, at(5, 2)).metrics["cosine"] == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(vectors(config).vectors_of(ITEMS)[0], made, atol=0.01)
    told = []
    wider = train_embeddings(config, at(5, 3), on_event=lambda name, **fields: told.append((name, fields)))
    assert wider.status == "published"
    assert ("embeddings.not_rotated", {"dimensions": 4, "live": 3}) in told
    assert "cosine" not in wider.metrics
    no_user = dataclasses.replace(config.samples, user=None)
    assert train_embeddings(brought.replace(samples=no_user), at(5, 4), force=True).status == "published"


def test_items_without_a_vector_are_known_by_their_content(config):
    rare = with_embeddings(config, content=("c",), min_item_count=60)
    result = train_embeddings(rare, at(5, 1))
    embeddings = vectors(config)
    assert (result.metrics["groups"], embeddings.columns) == (4, ("id", "c"))
    assert result.metrics["rare"] > 10
    found, known = embeddings.vectors_of([999, 998], {"c": ["red", "purple"]})
    assert known.tolist() == [True, False]
    reds = [item for item in ITEMS if item % 4 == 0 and embeddings.has([item])[0]]
    np.testing.assert_allclose(found[0], embeddings.vectors_of(reds)[0].mean(axis=0), atol=2e-3)


def test_of_too_many_items_the_most_frequent_are_taken_and_it_is_said(config, monkeypatch):
    monkeypatch.setattr(pmi, "MOST_ITEMS", 10)
    result = train_embeddings(config, at(5, 1))
    assert result.status == "published"
    assert (
        result.reason
        == f"the 10 most frequent items were given vectors, {result.metrics['left_out']} others were left out"
    )
    entry = Store.open(config.store).live()
    assert (entry.reason, entry.forced) == (result.reason, False)


# What stops it


def test_it_needs_trees_and_columns(config, shop, tmp_path):
    with pytest.raises(NoReleaseError, match="run first: gbdtlr train-trees"):
        train_embeddings(shop_of(shop, str(tmp_path / "empty")), at(5))
    for missing, told in (({"user": None}, "user must name the column"), ({"item": None}, "item must name the column"),
                          ({"user": None, "item": None}, "item and user must name columns")):  # fmt: skip
        samples = dataclasses.replace(config.samples, **missing)
        with pytest.raises(ConfigError, match=rf"\[samples\] {told} that \[embeddings\] method = 'pmi' reads"):
            train_embeddings(config.replace(samples=samples), at(5))
    assert len(Store.open(config.store).entries()) == 1


def test_items_that_nobody_is_shown_are_refused(config, shop, tmp_path):
    folder = tmp_path / "renamed"
    shutil.copytree(shop / "data", folder / "data")

    def renamed(columns, rng):
        return {**with_tastes(columns, rng), "id": with_tastes(columns, rng)["id"] + 1000}

    write_stream(folder, renamed, since=at(4), per_hour=40)
    bad = shop_of(folder, config.store, min_item_count=25)
    result = train_embeddings(bad, at(5, 0.5))
    assert result.status == "refused"
    assert "% of the last day's 920 rows have an item with a vector" in result.reason
    assert "[guard] vectors = 0.3 asks for 30%" in result.reason
    assert train_embeddings(with_guard(bad, vectors=0.0), at(5, 0.5)).status == "published"


def test_vectors_far_from_the_live_ones_are_refused(config, tmp_path):
    train_embeddings(config, at(5, 1))
    strict = with_guard(config, cosine=1.0)
    result = train_embeddings(strict, at(6))
    assert result.status == "refused"
    assert result.reason.startswith("the mean cosine between new vectors, rotated, and live ones is 0.")
    assert result.release == 2
    assert Store.open(config.store).refusals()[0].job == "train-embeddings"
    forced = train_embeddings(strict, at(6), force=True)
    assert (forced.status, forced.reason) == ("published", result.reason)
    assert Store.open(config.store).live().forced
    path = tmp_path / "others.parquet"
    foreign = pa.array(np.eye(4).tolist(), pa.list_(pa.float32()))
    parquet.write_table(pa.table({"id": ["a", "b", "c", "d"], "vector": foreign}), path)
    others = with_embeddings(config, method="file", path=str(path))
    assert "no item of the live embeddings has a vector any more" in train_embeddings(others, at(7)).reason


def test_what_is_not_finite_is_refused_even_if_forced(config, tmp_path):
    path = tmp_path / "vectors.parquet"
    spoilt = np.ones((N_ITEMS, 2))
    spoilt[3] = np.inf
    spoilt[5] = 1e6
    parquet.write_table(pa.table({"id": ITEMS, "vector": spoilt.tolist()}), path)
    result = train_embeddings(with_embeddings(config, method="file", path=str(path)), at(5, 1), force=True)
    assert result.status == "refused"
    assert result.reason == "2 of 40 items have vectors that are not finite, or beyond 65504 in size"
    assert Store.open(config.store).list_versions()[1].kind == "heads"  # nothing was written


def test_too_few_samples_are_refused(config):
    assert "[guard] min_samples" in train_embeddings(config, at(-1)).reason


# When jobs overlap


def meanwhile(monkeypatch, *jobs):
    """Let jobs publish right before the embeddings are."""
    waiting = list(jobs)

    def publish(*args):
        if waiting:
            waiting.pop(0)()
        return try_publish_embeddings(*args)

    monkeypatch.setattr(import_module("gbdtlr.jobs.train_embeddings"), "try_publish_embeddings", publish)


def test_updates_and_trees_meanwhile_are_kept(config, monkeypatch):
    meanwhile(monkeypatch, lambda: update_lr(config, at(5, 12)), lambda: train_trees(config, at(6)))
    result = train_embeddings(config, at(5, 1))
    store = Store.open(config.store)
    assert [entry.why for entry in store.entries()][1:] == ["update-lr", "train-trees", "train-embeddings"]
    trees, last = store.entries()[-2:]
    assert (result.status, last.trees, last.as_of) == ("published", trees.trees, at(6))
    release = live(config)
    assert release.head_as_of == at(6)
    assert release.head.weights.tobytes() == Release.load(store, trees).head.weights.tobytes()
    assert verify(config.store).ok


def test_a_rollback_and_other_embeddings_meanwhile_stand(config, monkeypatch):
    assert update_lr(config, at(5, 12)).status == "published"
    meanwhile(monkeypatch, lambda: rollback(config.store, 1, at(5, 13)))
    result = train_embeddings(config, at(5, 14))
    assert (result.status, result.reason, result.release) == ("superseded", "release 3 rolled back meanwhile", 3)
    meanwhile(monkeypatch, lambda: train_embeddings(config, at(5, 12)))
    result = train_embeddings(config, at(5, 14))
    assert (result.status, result.reason) == ("superseded", "release 4 has other embeddings meanwhile")
    for as_of in (at(5, 11), at(5, 12)):
        again = train_embeddings(config, as_of)
        assert (again.status, again.reason) == ("superseded", "release 4 has embeddings as new as these")


def test_an_update_under_way_is_superseded_and_trees_take_them(config, monkeypatch):
    for under_way, publish in ((update_lr, "publish_head"), (train_trees, "try_publish_trees")):
        as_of = at(5, 12) if under_way is update_lr else at(6)
        real, waiting = getattr(draft, publish), [None]

        def late(*args, real=real, waiting=waiting, as_of=as_of):
            if waiting:
                waiting.pop()
                train_embeddings(config, as_of)
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(draft, publish, late)
            result = under_way(config, as_of)
        if under_way is update_lr:
            assert (result.status, result.reason) == ("superseded", "release 2 brought other embeddings meanwhile")
        else:
            assert result.status == "published"
        assert result.embeddings == Store.open(config.store).entries()[1 if under_way is update_lr else 2].embeddings
        assert verify(config.store).ok


# What cannot be trusted


def test_a_head_is_tied_to_its_embeddings(config):
    train_embeddings(config, at(5, 1))
    train_embeddings(config, at(6))
    store = Store.open(config.store)
    for other in (None, store.entry(2).embeddings):
        wrong = store.append(dataclasses.replace(store.live(), embeddings=other), store.newest() + 1)
        with pytest.raises(MismatchError, match="was fitted on other embeddings than"):
            Release.load(store, wrong)


def test_damage_is_said_and_new_trees_are_the_cure(config):
    train_embeddings(config, at(5, 1))
    store = Store.open(config.store)
    release = live(config)
    path = store.places("embeddings", release.entry.embeddings)["vectors.npy"]
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DamagedError, match=r"embeddings/.* cannot be used: .*vectors\.npy is damaged"):
        _ = live(config).embeddings.vectors
    assert not verify(config.store).ok
    store.backend.delete(f"embeddings/{release.entry.embeddings}/manifest.json")
    with pytest.raises(DamagedError, match=r"has no manifest\.json"):
        live(config)
    told = []
    result = train_trees(config, at(6), on_event=lambda name, **_: told.append(name))
    assert (result.status, result.embeddings) == ("published", None)
    assert "embeddings.unusable" in told


def test_a_newer_format_is_refused_by_verify(config):
    name = train_embeddings(config, at(5, 1)).embeddings
    files = {path.name: path.read_bytes() for path in Store.open(config.store).places("embeddings", name).values()}
    about = {**json.loads(files["embeddings.json"]), "format": 2}
    store = Store.open(config.store)
    version = store.write_version("embeddings", {**files, "embeddings.json": json.dumps(about).encode()}, {}, at(6))
    (bad,) = verify(store).damaged
    assert bad == str(version.id)
    with pytest.raises(FormatError, match="newer than the 1"):
        _ = Embedded.load(store, version.name).vectors


# Deleting items


def test_items_can_be_deleted(config):
    train_embeddings(with_embeddings(config, content=("c",)), at(5, 1))
    store, before = Store.open(config.store), vectors(config)
    result = drop_items(store, ["0", " 8".strip(), "8.0", "nobody"], at(5, 2))
    after = vectors(config)
    assert (result.status, result.metrics) == ("published", {"dropped": 2, "items": len(before) - 2})
    assert not after.has([0, 8]).any()
    rest = [item for item in ITEMS if item not in (0, 8)]
    np.testing.assert_array_equal(after.vectors_of(rest)[0], before.vectors_of(rest)[0])
    entry = store.live()
    assert (entry.why, entry.reason, entry.as_of) == ("embeddings drop", "2 items were to be deleted", at(5, 2))
    assert live(config).embeddings.as_of == at(5, 1)
    again = drop_items(store, ["0"], at(5, 3))
    assert (again.status, again.reason, again.release) == ("unchanged", "none of 1 items has a vector", 3)
    assert verify(config.store).ok
    pruned = store.prune(keep=1, min_age=at(0, 1) - at(0), now=store.clock() + (at(1) - at(0)))
    assert "embeddings" in {version.kind for version in pruned.versions}
    assert verify(config.store).ok


def test_there_must_be_some(config, tmp_path):
    with pytest.raises(NoReleaseError, match=r"release 1 has no embeddings .* train-embeddings makes the first"):
        drop_items(Store.open(config.store), ["1"], at(6))
    with pytest.raises(NoReleaseError, match="nothing is published in"):
        drop_items(Store.open(str(tmp_path / "none")), ["1"], at(6))


# The command line


def test_commands(config, tmp_path, capsys):
    path = tmp_path / "shop.toml"
    path.write_text(toml(config))
    assert main(["train-embeddings", "-c", str(path), "--as-of", "2024-03-06T01:00", "-q"]) == 0
    assert "embeddings  20240306T010000Z" in capsys.readouterr().out
    argv = ["status", "-c", str(path), "--as-of", "2024-03-06T03:00", "--max-embeddings-age"]
    assert main([*argv, "2h", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["embeddings_age_s"] == 7200
    assert main([*argv, "1h"]) == 4
    told = capsys.readouterr()
    assert "2h old" in told.out
    assert "the live embeddings of release 2 are 2h old, more than 1h" in told.err
    items = tmp_path / "items.txt"
    items.write_text("1\n\n2\n")
    drop = ["embeddings", "drop", "--store", config.store, "--items"]
    assert main([*drop, str(items), "--as-of", "2024-03-06T04:00", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["dropped"] == 2
    assert main(["releases", "--store", config.store]) == 0
    assert "embeddings drop" in capsys.readouterr().out
    for text, said in ((None, "cannot read the items"), ("\n", "has no items; write one a line")):
        items.unlink(missing_ok=True)
        if text:
            items.write_text(text)
        assert main([*drop, str(items)]) == 2
        assert said in capsys.readouterr().err


def test_a_store_without_any_is_too_old_for_who_asks(config, capsys):
    assert status(config.store, at(6))["embeddings_age_s"] is None
    assert main(["status", "--store", config.store, "--as-of", "2024-03-06", "--max-embeddings-age", "1d"]) == 4
    assert "release 1 has no embeddings; see why gbdtlr train-embeddings did not publish" in capsys.readouterr().err


def toml(config) -> str:
    """The config as a file: its tables one level deep are all that the shop has."""
    table = config.as_dict()
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for name in ("samples", "embeddings"):
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table[name].items())]
    return "\n".join(lines)
