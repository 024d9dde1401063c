"""Settings of the client: properties of librdkafka from a file, some of them secrets, which are never told."""

from __future__ import annotations

from pathlib import Path

from gbdtlr.errors import ConfigError

OWN = (
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "metadata.broker.list",
)
"""Properties that gbdtlr sets itself: where it reads on is in the head's manifest alone."""
_SECRET = ("password", "secret", "key.pem", "oauthbearer.config", "token", "passphrase")
_SHORTEST = 4  # letters of a secret that is blotted out: a shorter one would be found in any word


def read_settings(path: str) -> dict[str, str]:
    """Properties of a file: one ``name=value`` a line; empty lines and those that begin with ``#`` are passed over.

    Raises
    ------
    ConfigError
        It cannot be read, a line is none, or sets what gbdtlr sets itself; nothing of a value is told.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise ConfigError(f"--kafka-config: cannot read {path}: {told}") from None
    settings: dict[str, str] = {}
    for i, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not name:
            raise ConfigError(f"--kafka-config: line {i} of {path} is not name=value, as librdkafka's properties are")
        if name in OWN:
            raise ConfigError(f"--kafka-config: line {i} of {path} sets {name}, which gbdtlr sets itself; remove it")
        if name in settings:
            raise ConfigError(f"--kafka-config: line {i} of {path} sets {name} a second time; remove one of them")
        settings[name] = value
    return settings


def without_secrets(text: str, settings: dict[str, str]) -> str:
    """The text without any value of a property that is a secret."""
    for name, value in settings.items():
        if len(value) >= _SHORTEST and any(part in name for part in _SECRET):
            text = text.replace(value, "***")
    return text
