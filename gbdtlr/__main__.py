"""``python -m gbdtlr`` is the command ``gbdtlr``."""

import sys

from gbdtlr.cli import main

if __name__ == "__main__":
    sys.exit(main())
