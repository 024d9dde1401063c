"""Buckets: object stores of all clouds, opened with the credentials people have for them, and files put there."""
