"""The machine a result is from, in words that name no path and no user."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

import fastcache
from bench.congestion import WANTED

_PACKAGES = ("uvloop", "httptools")


def describe(nginx: str | None) -> list[str]:
    """One fact a line."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    return [
        f"kernel: {platform.system()} {platform.release()} {platform.machine()}",
        f"CPU: {os.cpu_count()} x {_cpu()}",
        f"Python: {platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()})",
        f"versions: fastcache {fastcache.__version__}, {versions}, {_nginx_version(nginx)}",
        f"load averages before the first run, other work on the machine included: {load}",
    ]


def describe_congestion(in_force: bool) -> str:
    """Whether both ends used WANTED."""
    if in_force:
        return f"TCP congestion control: {WANTED} on both ends"
    default = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    return f"TCP congestion control: {WANTED} was REFUSED by the kernel on one end at least; its default is {default}"


def _cpu() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or "unknown"


def _nginx_version(program: str | None) -> str:
    if program is None:
        return "nginx not installed: SKIPPED"
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    return told.strip().removeprefix("nginx version: ").replace("/", " ")
