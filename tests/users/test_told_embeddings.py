"""Wherever trees and head are told, embeddings are told too."""

from __future__ import annotations

import pytest
from likes_kit import HOUR, config_of, day, write

from gbdtlr.cli.group import main
from gbdtlr.config import Config
from gbdtlr.inspect.diff import diff
from gbdtlr.inspect.embeddings import embeddings_in_words
from gbdtlr.jobs import train_embeddings, train_trees, update_lr
from gbdtlr.report.live import store_page
from gbdtlr.scoring import Scorer
from gbdtlr.store import Store

FIRST, NOW = day(1.5), day(2.0)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A store of four releases: without vectors, with some, with newer ones, and with some of another length."""
    folder = tmp_path_factory.mktemp("told")
    write(folder, 50)
    config = config_of(folder, users={"replay": False})
    assert train_trees(config, FIRST).status == "published"
    for moment in (FIRST, NOW):
        assert train_embeddings(config, moment, force=True).status == "published"
    longer = config.replace(embeddings=config.embeddings.__class__(dimensions=5, min_item_count=2))
    assert train_embeddings(longer, NOW + HOUR, force=True).status == "published"
    assert update_lr(config, NOW + HOUR).status == "published"
    return config


def test_a_diff_tells_how_far_they_have_moved(shop: Config, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(shop.store)
    moved = diff(store, 2, 3)["embeddings"]
    entries = store.entries()
    assert (moved["a"], moved["b"]) == (entries[1].embeddings, entries[2].embeddings)
    assert moved["items_a"] == moved["items_b"] == moved["shared"] == 24
    assert moved["turned"]
    assert 0.5 < moved["cosine"] < 1.0
    assert "24 items, 24 of 24 before among them, with a mean cosine of 0." in embeddings_in_words(moved)
    assert diff(store, 4, 5)["embeddings"] is None
    began, anew = diff(store, 1, 2)["embeddings"], diff(store, 3, 4)["embeddings"]
    assert embeddings_in_words(began) == "there were no embeddings, and are now"
    assert not anew["turned"]
    assert anew["cosine"] is None
    assert embeddings_in_words(anew).endswith("all users begin anew")
    assert main(["diff", "2", "3", "--store", shop.store]) == 0
    assert "the embeddings are new: 24 items" in capsys.readouterr().out


def test_the_report_and_health_tell_their_age(shop: Config) -> None:
    page = store_page(Store.open(shop.store))
    assert "with embeddings as of 2024-03-03 01:00" in page
    assert "<th>embeddings</th>" in page
    health = Scorer.open(shop.store).health(NOW + 3 * HOUR)
    assert health["embeddings_as_of"] == "2024-03-03T01:00:00Z"
    assert health["embeddings_age_s"] == 2 * 3600
    assert health["embeddings"] == Scorer.open(shop.store).loaded.entry.embeddings
    none = Scorer.open(shop.store, 1).health(NOW)
    assert none["embeddings"] is none["embeddings_as_of"] is none["embeddings_age_s"] is None
