"""Inspect: what a head says, what moved between two, and why a row got its probability."""
