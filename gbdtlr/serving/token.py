"""Secrets from files: bearer tokens, of which a client must have one, and the key that signs states of users."""

from __future__ import annotations

import hashlib
import hmac

from gbdtlr.config import ServeConfig
from gbdtlr.config.secrets import read_secret
from gbdtlr.errors import ConfigError

SHORTEST_KEY = 16
"""Bytes of a key."""


class Tokens:
    """The tokens in a file, one a line, so that a new one can be taken up before the old one goes."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._tokens = self._read()

    def _read(self) -> tuple[bytes, ...]:
        lines = read_secret("[serve] token_file", self._path).splitlines()
        return tuple(_digest(line.strip()) for line in lines if line.strip())

    def reload(self) -> None:
        """Take up the tokens that are in the file now; those known stay while it cannot be read or is empty."""
        try:
            self._tokens = self._read()
        except ConfigError:
            return

    def allow(self, authorization: bytes) -> bool:
        """Whether the value of that header is ``Bearer`` and one of them; the time it takes tells nothing of them."""
        scheme, _, given = authorization.partition(b" ")
        digest = _digest(given.strip())
        matches = [hmac.compare_digest(token, digest) for token in self._tokens]
        return scheme.lower() == b"bearer" and any(matches)


def user_key_of(settings: ServeConfig) -> bytes | None:
    """The key in ``user_key_file``, None where there is none; raise ConfigError if it cannot be read or is short."""
    if settings.user_key_file is None:
        return None
    key = read_secret("[serve] user_key_file", settings.user_key_file)
    if len(key) < SHORTEST_KEY:
        raise ConfigError(
            f"[serve] user_key_file: the key in {settings.user_key_file} has {len(key)} bytes, at least {SHORTEST_KEY} "
            "are needed; put a long random text into it"
        )
    return key


def _digest(token: bytes) -> bytes:
    """As long for every token, so that not even its length is told."""
    return hashlib.sha256(token).digest()
