"""Compute: threads, and compiled kernels with their cache."""
