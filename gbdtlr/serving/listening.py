"""Where a service listens: an address of this machine or a unix socket, bound before any worker begins."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat

from gbdtlr.errors import ConfigError

UNIX = "unix:"
SOCKET_MODE = 0o660


def bind(address: str) -> socket.socket:
    """Socket bound to ``host:port``, ``[ipv6]:port`` or ``unix:path``; it does not listen yet.

    Raises
    ------
    ConfigError
        Not an address, not one of this machine, or taken.
    """
    try:
        return _unix(address.removeprefix(UNIX)) if address.startswith(UNIX) else _internet(address)
    except (OSError, UnicodeError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        hint = "something listens there; stop it, or choose another" if taken else "choose another"
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"cannot listen at {address}: {reason}; {hint}") from None


def name_of(listener: socket.socket) -> str:
    """The address as a client writes it."""
    if listener.family == socket.AF_UNIX:
        return UNIX + str(listener.getsockname())
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"


def close(listener: socket.socket, address: str) -> None:
    """Close it if that has not been done, and take a unix socket's file away.

    Parameters
    ----------
    address : as :func:`name_of` gave it
    """
    listener.close()
    if address.startswith(UNIX):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address.removeprefix(UNIX))


def _internet(address: str) -> socket.socket:
    host, colon, port = address.rpartition(":")
    host = host.strip("[]")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"{address!r} is not an address; write one such as 127.0.0.1:8000 or unix:/run/gbdtlr.sock")
    found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    listener = socket.socket(found[0][0], socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(found[0][4])
    except OSError:
        listener.close()
        raise
    return listener


def _unix(path: str) -> socket.socket:
    if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode) and not _answers(path):
        os.unlink(path)  # left by one that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o777 - SOCKET_MODE)
    try:
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return listener


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(path)
        except OSError:
            return False
    return True
