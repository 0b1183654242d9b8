"""Every fuzz target by its name."""

from __future__ import annotations

from tests.fuzz import files, hits, messages, values

TARGETS = {**messages.TARGETS, **values.TARGETS, **files.TARGETS, **hits.TARGETS}
