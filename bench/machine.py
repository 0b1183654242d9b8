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
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    return [
        f"kernel: {platform.system()} {platform.release()} {platform.machine()}",
        f"CPU: {os.cpu_count()} x {_cpu()}",
        f"Python: {platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()})",
        f"versions: fastcache {fastcache.__version__}, {versions}, {_nginx_version(nginx)}",
    ]


def describe_load() -> str:
    """How busy the machine is, all its work together."""
    return ", ".join(f"{value:.1f}" for value in os.getloadavg()) + " (1, 5 and 15 minutes)"


def describe_filesystem(directory: Path) -> str:
    """What kind of file system the caches of the run are on."""
    here = directory.resolve()
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    below = [(mount[1], mount[2]) for mount in mounts if here.is_relative_to(mount[1])]
    return f"cache directory on: {max(below, key=lambda mount: len(mount[0]))[1]}"


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
