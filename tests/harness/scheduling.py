"""Which tests run in one process of a parallel run: those of a file, and those of a directory that shares servers."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

TOGETHER = ("tests/clients/", "tests/gateway/", "tests/shapes/")
"""Their fixtures start Swift, origins and a proxy of each mode for the whole run, which here is that of one process: in
four of them they would be started four times."""


class Scheduling(LoadFileScheduling):
    """``--dist loadfile``, and the directories of ``TOGETHER`` undivided."""

    def _split_scope(self, nodeid: str) -> str:
        return next((directory for directory in TOGETHER if nodeid.startswith(directory)), super()._split_scope(nodeid))
