"""The command ``gbdtlr`` from a checkout: ``python cli.py``."""

import sys

from gbdtlr.cli import main

if __name__ == "__main__":
    sys.exit(main())
