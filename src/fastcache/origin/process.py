"""Starts an origin as a process of its own and waits until it listens."""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from fastcache.errors import FastcacheError
from fastcache.origin.control import OriginControl
from fastcache.origin.identity import ACCOUNTS_VARIABLE, DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY

READY_TIMEOUT = 20.0
"""Seconds until the process must listen."""
STOP_TIMEOUT = 10.0
"""Seconds between SIGTERM and SIGKILL."""

_READY = re.compile(r"listening on (\S+) \(control (\S+)\)").fullmatch


class OriginStartError(FastcacheError):
    """The process ended, or did not listen in time."""


@dataclass(frozen=True, slots=True)
class AccountSpec:
    """An account of a started origin; no prefixes means all buckets."""

    access_key: str = DEFAULT_ACCESS_KEY
    secret_key: str = field(default=DEFAULT_SECRET_KEY, repr=False)
    session_token: str | None = field(default=None, repr=False)
    prefixes: tuple[str, ...] = ()


class OriginProcess:
    """A running origin; a context manager that stops it."""

    def __init__(
        self, process: subprocess.Popen[str], endpoint: str, control_url: str, accounts: Sequence[AccountSpec]
    ) -> None:
        self._process = process
        self.endpoint = endpoint
        self.control_url = control_url
        self.control = OriginControl(control_url)
        self.accounts = tuple(accounts)

    @property
    def access_key(self) -> str:
        """The first account's."""
        return self.accounts[0].access_key

    @property
    def secret_key(self) -> str:
        """The first account's."""
        return self.accounts[0].secret_key

    @property
    def port(self) -> int:
        return int(self.endpoint.rpartition(":")[2])

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> int:
        """Ask it to end, insist after ten seconds; the exit status (negative: the signal)."""
        self._process.terminate()
        try:
            status = self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_origin(
    *arguments: str,
    accounts: Sequence[AccountSpec] = (AccountSpec(),),
    host: str = "127.0.0.1",
    port: int = 0,
    control_port: int = 0,
    auth: bool = True,
    quirks: str = "none",
    buckets: Sequence[str] = (),
    data_dir: Path | None = None,
    latency: float = 0.0,
    bandwidth: int = 0,
) -> OriginProcess:
    """Start an origin and wait for its ready line; ``arguments`` are further options of its command line.

    Raises OriginStartError.
    """
    command = [sys.executable, "-m", "fastcache.origin", "--host", host, "--port", str(port)]
    command += ["--control-port", str(control_port), "--quirks", quirks]
    # However this process ends, its end of the pipe closes, and no origin is left behind.
    command += ["--until-eof"]
    command += ["--latency", str(latency), "--bandwidth", str(bandwidth)]
    command += [] if auth else ["--no-auth"]
    command += [part for name in buckets for part in ("--bucket", name)]
    command += [] if data_dir is None else ["--data-dir", str(data_dir)]
    described = [
        {
            "access_key": account.access_key,
            "secret_key": account.secret_key,
            "session_token": account.session_token,
            "prefixes": list(account.prefixes),
        }
        for account in accounts
    ]
    environment = {**os.environ, ACCOUNTS_VARIABLE: json.dumps(described)}
    process = subprocess.Popen(
        [*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    line = _first_line(process)
    match = _READY(line.strip())
    if match is None:
        process.kill()
        status = process.wait()
        raise OriginStartError(f"the origin did not start (exit status {status}): {line.strip() or 'no output'}")
    return OriginProcess(process, match[1], match[2], accounts)


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None, "started with a pipe"
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline() if selector.select(READY_TIMEOUT) else ""
