"""Speed and quality, measured beside named peers in one run: ``python -m benchmarks --help``."""
