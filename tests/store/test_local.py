"""The local backend: what is durable when, what a reader can see, and what is said when the disk says no."""

from __future__ import annotations

import errno
import os
import sys

import pytest
from store_kit import publish, put_trees, verified

from gbdtlr.errors import ConfigError, Conflict, StoreError, StoreUnavailable
from gbdtlr.store import Store
from gbdtlr.store.backend import is_temporary
from gbdtlr.store.local import LocalBackend

STEPS = ("open", "write", "fsync", "close", "replace", "link", "mkdir")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a" / "store"


@pytest.fixture
def store(path):
    return Store.open(str(path))


def test_all_is_synced_before_anything_refers_to_it(store, path, monkeypatch):
    """Replays the system calls on a disk that keeps only what was synced, as a power cut would leave it."""
    opened, synced, durable = {}, set(), set()
    real = {name: getattr(os, name) for name in ("open", "write", "fsync", "close", "replace", "link")}

    def opening(name, *args, **kwargs):
        descriptor = real["open"](name, *args, **kwargs)
        opened[descriptor] = os.fspath(name)
        return descriptor

    def writing(descriptor, data):
        synced.discard(opened[descriptor])
        return real["write"](descriptor, data)

    def syncing(descriptor):
        name = opened[descriptor]
        synced.add(name)
        # Syncing a folder makes the names in it durable; a file is there if its bytes and all its names are.
        if os.path.isdir(name):
            durable.update(os.path.join(name, inner) for inner in os.listdir(name))
        return real["fsync"](descriptor)

    def naming(how):
        def name(source, target):
            assert os.fspath(source) in synced, f"{target} would be named before its bytes are on the disk"
            if path.joinpath("releases") == target.parent and target.suffix == ".json":
                folders = {
                    folder for name in before for folder in [name, *name.parents] if folder != path.parent.parent
                }
                missing = {str(name) for name in folders if path.parent in [name, *name.parents]} - durable
                assert not missing, f"{target} refers to what a power cut would lose"
            return real[how](source, target)

        return name

    for name, wrapped in (("open", opening), ("write", writing), ("fsync", syncing)):
        monkeypatch.setattr(os, name, wrapped)
    for how in ("replace", "link"):
        monkeypatch.setattr(os, how, naming(how))
    before = []
    trees = put_trees(store)
    before = [file for file in path.rglob("*") if file.is_file()]
    assert len(before) == 3
    publish(store, trees=trees.name)
    releases = path / "releases"
    assert {str(releases), str(releases / "00000001.json")} <= durable, "append returned before its entry was durable"


def test_leaves_no_temporary_files(store, path):
    publish(store)
    with pytest.raises(Conflict):
        store.backend.put_if_absent("releases/00000001.json", b"")
    assert not [file for file in path.rglob("*") if file.name.startswith(".")]


def test_temporary_files_are_no_part_of_anything(store):
    live = publish(store)
    before = store.list_versions()
    for folder in ("releases", "trees", live.trees_id.folder, "heads"):
        store.backend.put(f"{folder}/.00000002.json.0123456789abcdef.tmp", b"torn")
    assert store.list_versions() == before
    assert verified(store) == live


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.ETIMEDOUT])
def test_every_system_call_of_a_publication_fails_in_turn(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # only its failures matter here, and it takes all the time
    n_faults = 0
    for torn in (False, True):
        k = 0
        while True:
            k += 1
            store = Store.open(str(tmp_path / f"{torn}-{k}"))
            publish(store, 0)
            with monkeypatch.context() as patch:
                steps = [0]
                for name in STEPS:
                    patch.setattr(os, name, failing(name, getattr(os, name), steps, k, code, torn))
                try:
                    publish(store, 1)
                    failed = False
                except StoreUnavailable as error:
                    assert str(tmp_path) in str(error)  # noqa: PT017
                    failed = True
            n_faults += steps[0] >= k
            live = verified(store)
            assert live.number in ((1, 2) if failed else (2,))
            assert publish(store, 2) == verified(store), "the next run works without help"
            assert not [stat.key for stat in store.backend.list("") if is_temporary(stat.key)]
            if steps[0] < k:
                break
    assert n_faults >= 100


def failing(name, real, steps, k, code, torn):
    def call(*args, **kwargs):
        steps[0] += 1
        if steps[0] != k:
            return real(*args, **kwargs)
        if torn and name == "write":
            real(args[0], args[1][: len(args[1]) // 2])
        elif torn or name == "close":
            real(*args, **kwargs)
        raise OSError(code, os.strerror(code), *args[:1] if isinstance(args[0], str) else [])

    return call


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota is used up"),
        (errno.EROFS, "mounted read-only"),
        (errno.EACCES, "permission denied; give this user"),
        (errno.EIO, "check the disk"),
        (errno.EMFILE, "Too many open files"),
    ],
)
def test_errors_say_what_to_do(store, monkeypatch, code, said):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(StoreUnavailable, match=said):
        put_trees(store)


def test_a_store_in_what_is_no_folder_is_told_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match=r"file/store/.*: a part of that path is a file and no folder; name"):
        put_trees(Store.open(str(tmp_path / "file/store")))


def test_a_disk_without_hard_links_is_refused_by_name(store, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EPERM, "Operation not permitted", source, None, target)

    publish(store)
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StoreUnavailable, match="this file system has no hard links"):
        publish(store, 1)
    assert store.live().number == 1


def test_a_link_that_was_made_but_reported_as_failed_is_ours(store, monkeypatch):
    """NFS does so when the answer to the first try is lost and the second finds the name taken."""
    real = os.link

    def link(source, target):
        real(source, target)
        raise FileExistsError(errno.EEXIST, "File exists", source, None, target)

    monkeypatch.setattr(os, "link", link)
    assert publish(store).number == 1
    with pytest.raises(Conflict):
        store.append(store.live(), 1)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(store, path):
    live = publish(store)
    folders = [path, *(folder for folder in path.rglob("*") if folder.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert verified(store) == live
        with pytest.raises(StoreUnavailable, match="permission denied"):
            publish(store, 1)
        assert verified(store) == live
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_folders_where_files_should_be(store, path):
    (path / "releases" / "00000001.json").mkdir(parents=True)
    assert store.live() is None
    with pytest.raises(StoreError):
        store.backend.get("releases/00000001.json", 10)


def test_a_file_where_the_store_should_be(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        Store.open(str(tmp_path / "file"))


def test_deleting_removes_empty_folders_but_never_the_store(store, path):
    store.backend.put("trees/a/x", b"")
    store.backend.put("trees/b/x", b"")
    store.backend.delete("trees/a/x")
    assert not (path / "trees" / "a").exists()
    store.backend.delete("trees/b/x")
    assert path.exists()
    assert not (path / "trees").exists()


def test_files_are_as_readable_as_the_users_other_files(store, path):
    put_trees(store)
    umask = os.umask(0)
    os.umask(umask)
    assert {file.stat().st_mode & 0o777 for file in path.rglob("*.json")} == {0o666 & ~umask}


def test_a_relative_path_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store.open("here")
    live = publish(store)
    assert (tmp_path / "here" / "releases").is_dir()
    assert Store.open(str(tmp_path / "here")).live() == live


def test_local_stores_do_not_wait_for_obstore():
    import subprocess

    code = "import sys; from gbdtlr.store import Store; Store.open('x').live(); assert 'obstore' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_backend_is_a_folder_of_plain_files(store, path):
    assert isinstance(store.backend, LocalBackend)
    live = publish(store)
    assert sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()) == [
        f"{live.head_id.folder}/manifest.json",
        f"{live.head_id.folder}/weights.npz",
        "releases/00000001.json",
        "releases/hint",
        f"{live.trees_id.folder}/booster.txt",
        f"{live.trees_id.folder}/manifest.json",
        f"{live.trees_id.folder}/schema.json",
    ]
