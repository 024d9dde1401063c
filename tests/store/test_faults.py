"""Every call of the backend, and many a request to a bucket, fails in turn; the old or the new release stands."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from store_kit import Watched, publish, put_head, put_trees, verified

from gbdtlr.errors import Conflict, StoreError, StoreUnavailable
from gbdtlr.store import Store

LATER = datetime(2099, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["local", "memory"])
def new_url(request, tmp_path):
    base = str(tmp_path) if request.param == "local" else "memory:/"
    return lambda: f"{base}/{uuid.uuid4().hex}"


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)


def in_turn(new_url, prepare, work, how, expected):
    """Let call after call of the work fail, each on a new store; yields the store and the error."""
    fail_at = 0
    while True:
        fail_at += 1
        store = Store.open(new_url())
        prepare(store)
        watched = Watched(store.backend, fail_at, how)
        error = None
        try:
            work(Store(watched))
        except StoreError as caught:
            error = caught
            assert isinstance(error, expected), error
        yield store, error
        if len(watched.calls) < fail_at:
            assert error is None
            assert fail_at > 10
            return


@pytest.mark.parametrize("how", ["error", "lost", "torn"])
@pytest.mark.parametrize("n_before", [0, 1])
def test_every_call_of_a_publication(new_url, how, n_before):
    def prepare(store):
        for i in range(n_before):
            publish(store, i)

    seen = set()
    for store, error in in_turn(new_url, prepare, lambda store: publish(store, 5), how, StoreUnavailable):
        live = verified(store, orphans=how == "torn")
        number = live.number if live else 0
        assert number in (n_before, n_before + 1)
        assert number == n_before + 1 or error is not None, "it said it had published"
        seen.add((number, error is None))
        assert publish(store, 6).number == number + 1
        assert verified(store, orphans=how == "torn").number == number + 1
        publish(store, 5)
        verified(store)
    # Where only the hint failed the release stands, and where the answer to the entry was lost it is found.
    assert seen == {(n_before, False), (n_before + 1, True)}


@pytest.mark.parametrize("how", ["error", "lost"])
def test_every_call_of_a_prune(new_url, how):
    def prepare(store):
        publish(store, 0)
        put_head(store, put_trees(store, 9).name)
        publish(store, 1)

    def work(store):
        return store.prune(keep=1, min_age=timedelta(days=1), now=LATER)

    for store, _ in in_turn(new_url, prepare, work, how, StoreUnavailable):
        live = verified(store)
        assert live.number == 2
        work(store)
        assert verified(store) == live
        assert len(store.list_versions()) == 2
        assert len(list(store.backend.list(""))) == 8


@pytest.mark.parametrize("how", ["error", "lost"])
def test_every_call_of_a_reader(new_url, how):
    def work(store):
        live = store.live()
        return store.read_version("trees", live.trees), store.read_version("heads", live.head, live.trees)

    url = new_url()
    store = Store.open(url)
    for i in range(3):
        publish(store, i)
    for fail_at in range(1, 9):
        with pytest.raises(StoreUnavailable):
            work(Store(Watched(store.backend, fail_at, how)))
    work(Store(Watched(store.backend, 9, how)))


def test_a_lost_answer_is_recognised_as_our_own(new_url):
    """What a retry inside the backend meets: the first try arrived, the second finds the name taken."""

    class Retrying(Watched):
        def put_if_absent(self, key, data):
            super().put_if_absent(key, data)
            super().put_if_absent(key, data)

    store = Store.open(new_url())
    live = publish(Store(Retrying(store.backend)))
    assert verified(store) == live
    with pytest.raises(Conflict):
        store.append(live, 1)


def test_two_writers_sent_away_at_once_try_again(new_url):
    """S3 may answer two conditional writes that meet with a conflict each, and store neither."""

    class Meeting(Watched):
        n = 0

        def put_if_absent(self, key, data):
            self.n += 1
            if self.n < 3:
                raise Conflict("a conflicting conditional operation is in progress")
            super().put_if_absent(key, data)

    store = Store.open(new_url())
    assert publish(Store(Meeting(store.backend))) == verified(store)


def test_a_write_that_was_cut_short_is_noticed(new_url):
    class Cutting(Watched):
        def put(self, key, data):
            super().put(key, data[:-1] if key.endswith("booster.txt") else data)

    store = Store.open(new_url())
    with pytest.raises(StoreUnavailable, match=r"booster.txt was written with 350 bytes, but has 349 of them"):
        put_trees(Store(Cutting(store.backend)))
    assert store.list_versions() == []


class TestS3:
    """Faults on the wire, met by obstore's own retries."""

    @pytest.fixture
    def store(self, s3, monkeypatch):  # noqa: ARG002
        monkeypatch.setenv("GBDTLR_STORE_TIMEOUT", "1s")
        store = Store.open(f"s3://bucket/{uuid.uuid4().hex}")
        publish(store, 0)
        return store

    @pytest.mark.parametrize("kind", ["error", "slow-down", "lost", "late", "cut"])
    @pytest.mark.parametrize("method", ["PUT", "GET", "HEAD"])
    def test_passing_faults_are_ridden_out(self, s3, store, kind, method):
        s3.fault()
        publish(Store.open(store.url), 1)
        n_requests = s3.fault(f"kind={kind}&method={method}&times=2&skip=3")
        assert publish(store, 2).number == 3
        assert n_requests > 10
        s3.fault()
        assert verified(store).number == 3

    @pytest.mark.parametrize("kind", ["lost", "late"])
    @pytest.mark.parametrize("skip", range(7))
    def test_every_put_loses_its_answer_once(self, s3, store, kind, skip):
        s3.fault(f"kind={kind}&method=PUT&skip={skip}")
        assert publish(store, 1).number == 2
        s3.fault()
        assert verified(store).number == 2

    @pytest.mark.parametrize("kind", ["error", "denied"])
    def test_lasting_faults_at_every_put(self, s3, store, kind):
        for skip in range(6 if kind == "denied" else 1):
            s3.fault(f"kind={kind}&method=PUT&skip={skip}&times=99")
            said = "permission denied; check the credentials" if kind == "denied" else "500|on purpose"
            with pytest.raises(StoreUnavailable, match=said):
                publish(store, 1)
            s3.fault()
            assert verified(store).number == 1
        assert publish(store, 1) == verified(store)

    def test_a_server_that_never_answers(self, s3, store):
        s3.fault("kind=silent&times=99")
        with pytest.raises(StoreUnavailable, match="cannot read s3://bucket/") as error:
            store.live()
        assert "Debug source" not in str(error.value)
        s3.fault()
        assert store.live().number == 1

    def test_nobody_listens(self, s3, store, monkeypatch):  # noqa: ARG002
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
        with pytest.raises(StoreUnavailable, match="cannot read s3://bucket/"):
            Store.open(store.url).live()

    def test_no_such_bucket(self, s3):  # noqa: ARG002
        store = Store.open("s3://nobody-made-it/x")
        for ask in (store.live, store.list_versions, lambda: put_trees(store)):
            with pytest.raises(StoreUnavailable, match="there is no such bucket"):
                ask()
