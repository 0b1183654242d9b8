"""What a start costs is what it imports: no process brings what only another one uses."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Each of them a tenth of a second or so, with what it brings itself.
OF_READING_SETTINGS = {"pydantic", "click", "importlib.metadata", "fastcache.lifecycle.rules"}
OF_TELLING = {"prometheus_client", "uvicorn", "starlette"}
OF_SERVING = {"fastcache.engine", "fastcache.lifecycle.worker", "fastcache.upstream.pool"}
OF_NOBODY = {"rich", "boto3", "botocore", "http.server", "urllib.request"}


@pytest.mark.parametrize(
    ("modules", "others"),
    [
        (("fastcache.lifecycle.nursery",), OF_READING_SETTINGS | OF_TELLING | OF_NOBODY),
        # The first who asks for metrics waits for what renders them.
        (("fastcache.cli.serve", "fastcache.lifecycle.supervisor"), OF_SERVING | OF_NOBODY | {"prometheus_client"}),
        (("fastcache.cli.main",), OF_READING_SETTINGS - {"click"} | OF_TELLING | OF_SERVING | OF_NOBODY),
    ],
    ids=["nursery", "supervisor", "command"],
)
def test_a_process_imports_nothing_that_only_another_one_uses(modules: tuple[str, ...], others: set[str]) -> None:
    program = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = set(told.stdout.split())
    assert imported >= set(modules)
    assert sorted(imported & others) == []
