"""Formats: what stands in a file - Parquet, CSV, JSON lines - and how tables are written to one."""
