"""Codec: arrays and documents to bytes and back, read with distrust."""
