"""By: who asks for a release, on which machine, and why; the log keeps it, and nothing else depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MOST = 200
"""Letters of a user's or a machine's name that are kept."""


@dataclass(frozen=True)
class By:
    """Who asks, and why.

    Attributes
    ----------
    user, host : names; empty where nobody says
    reason : their own words, for people
    """

    user: str = ""
    host: str = ""
    reason: str = ""

    @classmethod
    def here(cls, reason: str = "") -> By:
        """Whoever runs this process, on this machine; asked for by the doors alone."""
        import getpass
        import os
        import socket

        try:
            user = getpass.getuser()
        except (ImportError, KeyError, OSError):  # a container may run as any number
            user = str(os.getuid()) if hasattr(os, "getuid") else ""
        return cls(user[:MOST], socket.gethostname()[:MOST], reason)

    def values(self, *reasons: str) -> dict[str, Any]:
        """Fields of an entry: who, and their words before further reasons."""
        reason = "; ".join(filter(None, [self.reason, *reasons]))
        return {"user": self.user, "host": self.host, "reason": reason}


NOBODY = By()
