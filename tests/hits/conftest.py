"""A worker in this process whose hit branch can be looked at, in front of our own origin."""

from __future__ import annotations

from tests.engine.conftest import embed  # noqa: F401 - the fixture
