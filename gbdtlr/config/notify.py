"""Who is told how jobs end: the table ``[notify]``."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from datetime import timedelta

from gbdtlr.errors import ConfigError

_URL = re.compile(r"https?://[^\s/?#]+([/?#]\S*)?")
TOLD = ("published", "refused", "rolled_back", "error")
"""Ends of jobs that somebody may be told of."""


@dataclass(frozen=True)
class NotifyConfig:
    """Who is told how jobs end, each key in docs/operating.md.

    ``command`` is a program and its arguments, given a JSON object on stdin; ``url`` is sent the same, signed with
    what is in ``secret_file``. Neither has longer than ``timeout``.
    """

    command: tuple[str, ...] = ()
    url: str | None = None
    secret_file: str | None = None
    on: tuple[str, ...] = TOLD
    timeout: timedelta = timedelta(seconds=10)

    def __post_init__(self) -> None:
        if unknown := [name for name in self.on if name not in TOLD]:
            raise ConfigError(f"[notify] on has {unknown[0]!r}; choose of {', '.join(TOLD)}")
        if not self.on:
            raise ConfigError(f"[notify] on is empty, so that nobody would be told; choose of {', '.join(TOLD)}")
        if self.url is not None and not _URL.fullmatch(self.url):
            raise ConfigError(f"[notify] url must begin with http:// or https:// and name a host, not {self.url!r}")
        if self.command and not self.command[0].strip():
            raise ConfigError("[notify] command is empty; name a program and its arguments, or leave it out")
        if len(self.command) == 1 and " " in self.command[0] and shutil.which(self.command[0]) is None:
            words = ", ".join(f'"{word}"' for word in self.command[0].split())
            raise ConfigError(f"[notify] command {self.command[0]!r} is no program; write it as a list: [{words}]")
        if self.secret_file is not None and self.url is None:
            raise ConfigError("[notify] secret_file signs what is sent to url, which is missing")
        if not timedelta() < self.timeout <= timedelta(minutes=5):
            raise ConfigError("[notify] timeout must be above zero and at most 5m: a job waits as long")
