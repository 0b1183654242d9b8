"""A gateway with buckets of several endpoints under names of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.gateway.conftest import Gate
from tests.harness.clients import boto3_client

from fastcache.origin.control import OriginControl


@dataclass(frozen=True)
class There:
    """What a mount is mounted on."""

    bucket: str
    direct: Any
    """boto3 straight to its endpoint, as the gateway is known there."""
    control: OriginControl | None = None


@dataclass(frozen=True, eq=False)
class MountedGate(Gate):
    """Its mounts by their names here."""

    mounts: dict[str, There] = field(default_factory=dict)

    def as_client(self, access_key: str, secret_key: str) -> Any:
        return boto3_client(self.endpoint, access_key, secret_key)


def credentials_file(path: Path, access_key: str, secret_key: str) -> str:
    """The option of a mount that has these credentials."""
    path.touch(mode=0o600)
    path.write_text(f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n")
    return f"credentials=file:{path}"
