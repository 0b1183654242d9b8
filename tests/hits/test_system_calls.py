"""What the loop's thread asks of the kernel while it answers hits: little, and never by a path."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.harness.origin import running_origin
from tests.harness.processes import wait_until
from tests.harness.proxy import FastcacheProcess

from fastcache._core.load import Load
from fastcache._core.load_task import Task
from fastcache.load.connections import opener
from fastcache.load.heads import request_head

SIZES = {"small": 4096, "large": 200_000}
REQUESTS = 2000
NEVER = re.compile(r"open|stat|rename|unlink|link|access|mkdir|rmdir|chmod|utime|getdents|fsync|truncate|creat")
EVENTS = {"epoll_wait", "epoll_pwait", "epoll_pwait2"}


def hits(port: int, key: str, size: int, count: int, interval: tuple[int, int] | None = None) -> Counter[str]:
    """How ``count`` requests over 8 connections were answered."""
    start, end = interval or (0, size)
    head = request_head("boto3", b"127.0.0.1:%d" % port, f"/bkt/{key}".encode(), interval=interval)
    task = Task([(head, None, start, end - start)], count=count)
    load = Load()
    crowd = load.add(opener(("127.0.0.1", port)), 8)
    load.run({crowd: task})
    load.close()
    assert not task.failures
    return Counter(task.results)


def test_hits_cost_three_system_calls_and_none_names_a_path(
    tmp_path: Path, require_tool: Callable[[str], None]
) -> None:
    require_tool("strace")
    with running_origin(auth=False) as origin:
        for key, size in SIZES.items():
            origin.control.synthetic("bkt", key, size)
        arguments = ("--authorization", "none", "--ttl", "1h", "--hit-branch", "on")
        proxy = FastcacheProcess(origin.endpoint, tmp_path / "cache", tmp_path, arguments=arguments)
        port = int(proxy.endpoint.rpartition(":")[2])
        for key, size in SIZES.items():
            deadline = time.monotonic() + 20
            while hits(port, key, size, 8)["HIT"] < 8:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            hits(port, key, size, 50)
        answered = proxy.metric("fastcache_requests_total", result="HIT")
        out = tmp_path / "strace"
        command = ["strace", "-o", str(out), "-p", str(proxy.worker)]  # the loop's thread alone
        with subprocess.Popen(command, stderr=subprocess.PIPE) as strace:
            assert strace.stderr is not None
            assert b"attached" in strace.stderr.readline()
            assert hits(port, "small", SIZES["small"], REQUESTS) == {"HIT": REQUESTS}
            assert hits(port, "large", SIZES["large"], REQUESTS) == {"HIT": REQUESTS}
            assert hits(port, "large", SIZES["large"], REQUESTS, (70_000, 80_000)) == {"HIT": REQUESTS}
            strace.send_signal(signal.SIGINT)
            strace.wait(20)
        calls = Counter(re.findall(r"^(\w+)\(", out.read_text(), re.MULTILINE))
        wait_until(
            lambda: proxy.metric("fastcache_requests_total", result="HIT") == answered + 3 * REQUESTS,
            20,
            "every request is counted, the last one too",
        )
        assert {name for name in calls if NEVER.search(name)} == set()
        assert calls["recvfrom"] >= 3 * REQUESTS
        # Head in, head out, body out (and a cork from 256 KiB on); one look for events serves all that are ready.
        per_hit = sum(count for name, count in calls.items() if name not in EVENTS) / (3 * REQUESTS)
        assert per_hit < 3.2, calls
        wait_until(
            lambda: proxy.metric("fastcache_hit_branch_total", outcome="answered") >= 3 * REQUESTS,
            20,
            "the hit branch's own count",
        )
        proxy.stop()
