"""The process harness notices what goes wrong with a fastcache, shown with stand-ins that misbehave on purpose."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.harness import processes, proxy
from tests.harness.processes import ProcessError
from tests.harness.proxy import FastcacheProcess
from tests.harness.tools import REPOSITORY, require_tool

PRELUDE = """
import http.server, os, signal, subprocess, sys, threading, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'''# TYPE fastcache_requests counter
fastcache_requests_total{result="HIT",method="GET"} 3.0
fastcache_requests_total{result="MISS",method="GET"} 2.0
# TYPE fastcache_up gauge
fastcache_up 1.0
'''
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

def ready():
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"listening on http://127.0.0.1:1 (admin http://127.0.0.1:{server.server_port})", flush=True)

def until_told(code=0):
    signal.sigwait([signal.SIGTERM])
    os._exit(code)

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
"""

StandIn = Callable[..., FastcacheProcess]


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    """``stand_in(script)``: a FastcacheProcess whose ``python -m fastcache`` runs ``script``."""
    require_tool("setpriv")
    started: list[FastcacheProcess] = []

    def start(script: str, **options: float) -> FastcacheProcess:
        package = tmp_path / "path" / "fastcache"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(PRELUDE + textwrap.dedent(script))
        environment = {"PYTHONPATH": str(package.parent)}
        process = FastcacheProcess(
            "http://origin", tmp_path / "cache", tmp_path / "log", environment=environment, **options
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


def test_addresses_come_from_the_ready_line_and_samples_from_metrics(stand_in: StandIn) -> None:
    process = stand_in("ready(); until_told()")
    assert process.endpoint == "http://127.0.0.1:1"
    assert process.metrics()['fastcache_requests_total{method="GET",result="HIT"}'] == 3
    assert process.metrics()["fastcache_up"] == 1
    assert process.metric("fastcache_requests_total") == 5
    assert process.metric("fastcache_requests_total", result="MISS") == 2
    assert process.metric("fastcache_requests_total", result="PASS") == 0
    process.stop()


def test_processes_that_tell_nothing_for_a_while_are_asked_again(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one is left out that the machine does not let run."""
    monkeypatch.setattr(proxy, "LEFT_OUT_AFTER", 0.5)
    process = stand_in("""
        import json
        asked = []

        class Starved(Handler):
            def do_GET(self):
                asked.append(self.path)
                first = asked.count(self.path) == 1
                if self.path == "/health":
                    state = "does not answer" if first else "ok"
                    body = json.dumps({"processes": [{"role": "worker", "slot": 0, "pid": 7, "state": state}]})
                else:
                    time.sleep(0.5 if first else 0)
                    body = "# TYPE fastcache_up gauge\\n" + ("" if first else "fastcache_up 1.0\\n")
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

        Handler = Starved
        ready(); until_told()
    """)
    assert process.metric("fastcache_up") == 1
    assert process.workers() == {0: 7}
    process.stop()


def test_it_is_started_as_its_users_start_it(stand_in: StandIn, tmp_path: Path) -> None:
    process = stand_in("print(*sys.argv[1:]); ready(); until_told()")
    line = process.stdout.read_text().splitlines()[0]
    assert line == f"serve -e http://origin -p 0 --admin-port 0 --workers 1 --cache-dir {tmp_path / 'cache'}"


def test_an_exit_code_is_noticed(stand_in: StandIn) -> None:
    process = stand_in("ready(); until_told(3)")
    with pytest.raises(AssertionError, match="exited with 3"):
        process.stop()


def test_a_traceback_is_noticed(stand_in: StandIn) -> None:
    process = stand_in("""
        try:
            raise RuntimeError("lost")
        except RuntimeError:
            __import__("traceback").print_exc()
        ready(); until_told()
    """)
    with pytest.raises(AssertionError, match="lost"):
        process.stop()


def test_a_process_left_behind_is_noticed_and_killed(stand_in: StandIn) -> None:
    process = stand_in("subprocess.Popen(['sleep', '1000']); ready(); until_told()")
    with pytest.raises(AssertionError, match="outlived"):
        process.stop()
    processes.wait_until(lambda: not processes.group_members(process.process), 10, "the orphan is gone")


def test_an_early_exit_is_noticed_with_what_it_said(stand_in: StandIn) -> None:
    with pytest.raises(ProcessError, match=r"exited with 2(?s:.*)unknown setting"):
        stand_in("sys.exit(print('unknown setting', file=sys.stderr) or 2)")


def test_a_ready_line_that_does_not_come_is_noticed(stand_in: StandIn) -> None:
    with pytest.raises(ProcessError, match=r"ready line(?s:.*)still thinking"):
        stand_in("print('still thinking', flush=True); until_told()", ready_within=5.0)


def test_one_that_ignores_sigterm_is_noticed(stand_in: StandIn) -> None:
    process = stand_in("ready(); time.sleep(1000)")
    with pytest.raises(ProcessError, match="still there"):
        process.stop(within=0.5)
    assert process.process.poll() == -signal.SIGKILL


def test_a_server_dies_with_the_test_run_that_is_killed(tmp_path: Path) -> None:
    require_tool("setpriv")
    script = """
        import sys, time
        from pathlib import Path
        from tests.harness import processes
        log = Path(sys.argv[1])
        print(processes.start(["sleep", "1000"], stdout=log, stderr=log).pid, flush=True)
        time.sleep(1000)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), tmp_path / "log"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        server = int(run.stdout.readline())
        # From here on it sleeps: before its exec it has not yet asked to be killed with its parent.
        processes.wait_until(lambda: Path(f"/proc/{server}/comm").read_text() == "sleep\n", 10, "it was started")
        run.kill()
    processes.wait_until(lambda: not alive(server), 10, "the server is gone")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan may stay a zombie where nobody reaps.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
