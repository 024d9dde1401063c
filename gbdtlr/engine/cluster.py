"""The cluster: workers as actors of Ray, on this machine or on others; the only place that imports Ray."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gbdtlr.compute import blas
from gbdtlr.compute.cores import cores
from gbdtlr.engine import warden
from gbdtlr.engine.crew import WorkerLost
from gbdtlr.engine.seats import set_address
from gbdtlr.engine.wire import packed, unpacked
from gbdtlr.engine.worker import Setup, Worker, versions
from gbdtlr.errors import EngineError

INLINE = 2**16
"""Bytes up to which what is put travels with each call."""
PATIENCE_S, GROWING_S = 60.0, 900.0
"""How long the first worker, and where so many were asked for all of them, may take: a cluster may have to grow."""
LISTENING_S = 15.0
"""How long whoever listens at the address of a cluster may take to say so."""
SOCKET = 107 - 70
"""Letters of a path at most: the names of Ray's sockets take the rest of what the system allows."""
CREDENTIALS = ("AWS_", "AZURE_", "GOOGLE_", "STORAGE_", "GBDTLR_")
"""Beginnings of the variables that buckets are opened by."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""Variables that give a token of a cluster, or name its file."""
REMEDY = "install it there too, such as by runtime_env or in the image"
MOST_HERE = 32
"""Processors that a cluster begun on this machine may pretend to have, each of which has a process."""


class Actor:
    """A worker in a process of Ray's."""

    def __init__(self, setup: bytes) -> None:
        ray = _ray()
        unpacked(setup).take()
        set_address(_ray().util.get_node_ip_address())
        # For good: threads of its own would change the last bits of sums, and there are as many workers as processors.
        blas.single_threaded().__enter__()
        self._worker = Worker(ray.get)

    def begun(self) -> bytes:
        """The machine's name, and versions of what is installed here."""
        return packed((platform.node(), versions()))

    def work(self, handles: Sequence[Any], *blobs: bytes) -> bytes:
        """As of :meth:`Worker.work`."""
        return self._worker.work(handles, *blobs)

    def give(self, n: int, *blobs: bytes) -> Any:
        """As of :meth:`Worker.give`."""
        given = self._worker.give(n, *blobs)
        return given[0] if n == 1 else given


@dataclass
class RayCluster:
    """Actors of Ray; :class:`~gbdtlr.engine.crew.Cluster`.

    Attributes
    ----------
    hosts : of each actor
    """

    hosts: Sequence[str]
    actors: Sequence[Any]
    own: contextlib.ExitStack
    """What ends them, and the cluster if it was begun here"""

    def put(self, data: bytes) -> Any:
        ray = _ray()
        return data if len(data) <= INLINE else _lost_if_gone(lambda: ray.put(data))

    def call(self, worker: int, method: str, *arguments: Any, n_results: int = 1) -> list[Any]:
        called = getattr(self.actors[worker], method).options(num_returns=n_results)
        found = _lost_if_gone(lambda: called.remote(*arguments))
        return [found] if n_results == 1 else list(found)

    def get(self, handle: Any) -> bytes:
        ray = _ray()
        exceptions = ray.exceptions

        try:
            data: bytes = ray.get(handle)
        except (exceptions.RayActorError, exceptions.ObjectLostError, exceptions.WorkerCrashedError) as error:
            raise WorkerLost(str(error)) from None
        except (exceptions.RayError, ConnectionError) as error:
            raise _gone(error) from None
        return data

    def close(self) -> None:
        self.own.close()


def call_together(address: str | None, n_threads: int | None, n_workers: int | None) -> RayCluster:
    """Actors on a cluster, each with so many threads, ready to work.

    Parameters
    ----------
    address : ``ray://host:port``; None for the cluster this process is on, or one of this machine alone, begun here
    n_threads : of each worker; None for all processors of a machine
    n_workers : at most so many; None for as many as there is room for

    Raises
    ------
    EngineError
        Ray is not installed, the cluster cannot be reached, has no room, or runs other versions.
    """
    if importlib.util.find_spec("ray") is None:
        raise EngineError('engine = "ray" needs Ray: pip install "gbdtlr[ray]"')
    with contextlib.ExitStack() as own:
        _connect(address, own, (n_workers or 1) * (n_threads or 1))
        actors = _started(_rooms(n_threads, n_workers))
        own.callback(_kill, actors)
        ready = _ready(actors, wait_for_all=n_workers is not None)
        cluster = RayCluster([""] * len(ready), [*ready], own)
        cluster.hosts = [_host(cluster, handle) for handle in ready.values()]
        _tell_wardens()
        cluster.own = own.pop_all()
    return cluster


def _kill(actors: Sequence[Any]) -> None:
    ray = _ray()
    for actor in actors:
        with contextlib.suppress(Exception):  # what is gone needs no end
            ray.kill(actor)


def _ray() -> Any:
    """The module, which has types for some of its functions only."""
    import ray

    return ray


def _connect(address: str | None, own: contextlib.ExitStack, n_wanted: int) -> None:
    """Connect to the cluster, unless this process is connected; ``own`` undoes it.

    Parameters
    ----------
    n_wanted : processors that one begun here has at least, by name: whoever asks for them knows what that means
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if any(os.environ.get(name) for name in TOKENS):
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # at an address of its own Ray would keep it to itself
    ray = _ray()
    if ray.is_initialized():
        return
    try:
        if given := address or os.environ.get("RAY_ADDRESS"):
            _check_listening(given)
            own.callback(ray.shutdown)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it took its time, beside the error that says so
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
            return
        if n_wanted > (most := max(MOST_HERE, cores())):
            raise EngineError(
                f"workers of {n_wanted} processors in all are asked for on this machine, which has {cores()}; ask for "
                f"{most} at most, or for a cluster of others by its address"
            )
        folder = _short_folder(own)
        own.callback(ray.shutdown)
        n_cpus = max(cores(), n_wanted)
        ray.init(
            "local", num_cpus=n_cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
            _temp_dir=folder,
        )  # fmt: skip
    except (RuntimeError, ConnectionError, ValueError, OSError, ray.exceptions.RayError) as error:
        where = address or os.environ.get("RAY_ADDRESS") or "on this machine"
        if differing := _refused_versions(str(error)):
            raise EngineError(f"the cluster {where} runs {differing}; {REMEDY}") from None
        hint = "; is it there, and is its token in RAY_AUTH_TOKEN, if it asks for one?" if address is not None else ""
        raise EngineError(f"cannot reach the cluster {where}: {_line(error)}{hint}") from None


def _check_listening(address: str) -> None:
    """Nothing, if somebody listens at ``host:port``; else ``OSError`` at once, where Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), LISTENING_S).close()


def _short_folder(own: contextlib.ExitStack) -> str:
    """A folder for Ray's own files, removed at last; the system's where that of temporary files has a long name."""
    folder = tempfile.gettempdir()
    made = tempfile.mkdtemp(prefix="gbr", dir=folder if len(folder) + 12 <= SOCKET else "/tmp")
    own.callback(shutil.rmtree, made, ignore_errors=True)
    own.enter_context(_watched(made))
    return made


@contextlib.contextmanager
def _watched(folder: str) -> Iterator[None]:
    """While inside, a warden waits: where this process is killed, it ends what Ray leaves behind."""
    command = [sys.executable, "-I", "-S", warden.__file__, folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True) as process:
        _WARDENS[folder] = process
        try:
            yield
        finally:
            del _WARDENS[folder]


def _tell_wardens() -> None:
    """Tell each warden the processes of its cluster, and no others below this one."""
    for folder, process in _WARDENS.items():
        assert process.stdin is not None
        for pid, began in warden.descendants(os.getpid(), folder + os.sep):
            if pid != process.pid:
                process.stdin.write(f"{pid} {began}\n")
        process.stdin.flush()


_WARDENS: dict[str, subprocess.Popen[str]] = {}
"""Of clusters that this process began, by their folders"""


def _rooms(n_threads: int | None, n_workers: int | None) -> list[int]:
    """Processors of each worker there is room for, or, where so many were asked for, will be.

    Raises
    ------
    EngineError
    """
    nodes = [int(node["Resources"].get("CPU", 0)) for node in _ray().nodes() if node["Alive"]]
    nodes = [n_cpus for n_cpus in nodes if n_cpus] or [0]
    n_of_node = 1 if n_workers is None else -(-n_workers // len(nodes))
    rooms: list[int] = []
    for n_cpus in nodes:
        each = n_threads or max(1, n_cpus // n_of_node)
        rooms += [each] * (n_cpus // each)
    if not rooms:
        raise EngineError(
            f"the cluster is too small: a worker needs {n_threads or 1} processors, and its largest machine has "
            f"{max(nodes)}; set threads to less, or use larger machines"
        )
    return rooms if n_workers is None else (rooms + rooms[-1:] * n_workers)[:n_workers]


def _started(rooms: Sequence[int]) -> list[Any]:
    ray = _ray()
    actor = ray.remote(Actor)
    environ = {name: value for name, value in os.environ.items() if name.startswith(CREDENTIALS)}
    return [
        actor.options(num_cpus=n_cpus, scheduling_strategy="SPREAD", max_restarts=0).remote(
            packed(Setup(os.getcwd(), environ, [*sys.path], n_cpus))
        )
        for n_cpus in rooms
    ]


def _ready(actors: Sequence[Any], *, wait_for_all: bool) -> dict[Any, Any]:
    """The actors that have begun, at least one, and what they say; the others are given up.

    Raises
    ------
    EngineError
    """
    ray = _ray()
    begun = {actor.begun.remote(): actor for actor in actors}
    n_asked = len(begun) if wait_for_all else 1
    found, _ = ray.wait([*begun], num_returns=n_asked, timeout=GROWING_S if wait_for_all else PATIENCE_S)
    if len(found) >= n_asked and not wait_for_all:  # those that have room begin together
        found, _ = ray.wait([*begun], num_returns=len(begun), timeout=PATIENCE_S / 4)
    if len(found) < n_asked:
        room = ray.available_resources().get("CPU", 0)
        raise EngineError(
            f"the cluster has no room: {len(found)} of {len(begun)} workers could begin, and {room:g} processors "
            "are free; wait until others are done, add machines, or ask for fewer by workers"
        )
    _kill([actor for handle, actor in begun.items() if handle not in found])
    return {actor: handle for handle, actor in begun.items() if handle in found}


def _host(cluster: RayCluster, handle: Any) -> str:
    """The machine of an actor that has begun, if it runs what this process runs.

    Raises
    ------
    EngineError
    """
    try:
        host, there = unpacked(cluster.get(handle))
    except WorkerLost as error:
        said = str(error)
        missing = "gbdtlr cannot be imported there" if "No module named 'gbdtlr" in said else _line(error)
        raise EngineError(f"a worker did not begin: {missing}; {REMEDY}") from None
    if differing := differences(versions(), there):
        raise EngineError(f"the worker on {host} runs {differing}; {REMEDY}")
    return str(host)


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    """Which versions differ, as people say it; empty where none does."""
    names = [name for name in here if there.get(name, "none") != here[name]]
    return ", ".join(f"{name} {there.get(name, 'none')} and not {here[name]}" for name in names)


def _refused_versions(message: str) -> str:
    """Which versions differ, where that is why Ray refuses; else empty."""
    found = re.findall(r"(Ray|Python): (\S+)", message)
    if not message.startswith("Version mismatch") or len(found) != 4:
        return ""
    return differences(dict(found[2:]), dict(found[:2]))


def _gone(error: BaseException) -> EngineError:
    return EngineError(f"the cluster went away: {_line(error)}; nothing was published, run it once more")


def _lost_if_gone(work: Any) -> Any:
    try:
        return work()
    except (_ray().exceptions.RayError, ConnectionError, OSError) as error:
        raise _gone(error) from None


def _line(error: BaseException) -> str:
    """The first sentence of what Ray says, which may be pages."""
    lines: Iterator[str] = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:300].rstrip(".")
