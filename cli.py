"""The command ``gbdtlr`` from a checkout: ``python cli.py``."""

from gbdtlr.cli import run

if __name__ == "__main__":
    run()
