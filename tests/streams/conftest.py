"""A cluster for the tests of streams."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.streams.kafka_kit import MockCluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[MockCluster]:
    """A mock cluster; each test has topics of its own."""
    return MockCluster()
