"""``python -m gbdtlr`` is the command ``gbdtlr``."""

from gbdtlr.cli import run

if __name__ == "__main__":
    run()
