"""A process that does as it is told, for the tests of seats; one of them runs for ever, as LightGBM may."""

from __future__ import annotations

import os
import sys

from gbdtlr.engine.process import Inbox


def main() -> None:
    inbox = Inbox()
    print("libraries print what they like")
    while True:
        what, *values = inbox.next()
        if what == "say":
            inbox.say((os.getpid(), *values))
        elif what == "spin":
            inbox.say("spinning")
            while True:
                pass
        elif what == "exit":
            sys.exit(3)


if __name__ == "__main__":
    main()
