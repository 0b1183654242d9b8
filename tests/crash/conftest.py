"""Lives of a store that end badly."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.crash.sweeping import Lives, forked_lives
from tests.harness.tools import require_tool


@pytest.fixture(scope="session")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    """The process whose forks lead them, under strace."""
    require_tool("strace")
    with forked_lives(tmp_path_factory.mktemp("lives")) as made:
        yield made
