"""Lakes: tables whose snapshots name their files, and queries whose rows stand for files."""
