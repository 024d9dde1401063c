"""Secrets: what stands in a file that a key of the config names, so that it stands in no config."""

from __future__ import annotations

from pathlib import Path

from gbdtlr.errors import ConfigError

_LONGEST = 1 << 20


def read_secret(key: str, path: str) -> bytes:
    """What is in the file, without white space around it.

    Parameters
    ----------
    key : that names the file, as messages name it: ``[serve] token_file``

    Raises
    ------
    ConfigError
        It cannot be read, is empty, or is longer than secrets are; the message names key and path, and tells nothing
        of what is in it.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LONGEST + 1)
    except (OSError, ValueError) as error:  # a path may hold what no path can
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(
            f"{key}: cannot read {path}: {reason}; name a file that is there and that this user may read"
        ) from None
    if len(content) > _LONGEST:
        raise ConfigError(f"{key}: {path} has more than {_LONGEST} bytes, which no secret needs; name another file")
    if not content.strip():
        raise ConfigError(f"{key}: {path} is empty; put a long random text into it")
    return content.strip()
