"""Real clients, path-style, pointed at any endpoint: the origin itself or fastcache in front of it."""

from __future__ import annotations

import subprocess
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
import minio
import obstore.store
from botocore.config import Config
from botocore.loaders import Loader

REGION = "us-east-1"
_LOADER = Loader()
"""Reads the descriptions of S3's operations once for all clients: they are most of what a client costs."""


def boto3_client(endpoint: str, access_key: str, secret_key: str, **settings: Any) -> Any:
    """A boto3 S3 client that does not retry, so that a test sees each answer; ``settings`` go into its Config."""
    config = {
        "s3": {"addressing_style": "path"},
        "signature_version": "s3v4",
        "retries": {"total_max_attempts": 1},
        "connect_timeout": 10,
        "read_timeout": 60,
        "max_pool_connections": 32,
        **settings,
    }
    # A session of its own: the default one is shared, not thread-safe, and reads this user's configuration.
    session = botocore.session.Session()
    session.register_component("data_loader", _LOADER)
    return boto3.session.Session(botocore_session=session, region_name=REGION).client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(**config),
    )


def minio_client(endpoint: str, access_key: str, secret_key: str) -> minio.Minio:
    parts = urlsplit(endpoint)
    return minio.Minio(
        parts.netloc, access_key=access_key, secret_key=secret_key, secure=parts.scheme == "https", region=REGION
    )


def obstore_store(endpoint: str, bucket: str, access_key: str, secret_key: str) -> obstore.store.S3Store:
    return obstore.store.S3Store(
        bucket,
        endpoint=endpoint,
        access_key_id=access_key,
        secret_access_key=secret_key,
        region=REGION,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


def curl(
    url: str, *arguments: str, access_key: str | None = None, secret_key: str = "", timeout: float = 60
) -> subprocess.CompletedProcess[bytes]:
    """Run curl on ``url`` as it is; with ``access_key`` curl signs (it does not sign Range).

    curl joins user and password with a colon and splits at the first: an access key that holds one cannot be used,
    presign the URL instead.
    """
    signature = []
    if access_key is not None:
        if ":" in access_key:
            raise ValueError("curl cannot carry an access key that holds a colon")
        signature = ["--aws-sigv4", f"aws:amz:{REGION}:s3", "--user", f"{access_key}:{secret_key}"]
        # S3 requires this header and curl before 8 does not send it of itself.
        signature += ["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]
    return subprocess.run(
        ["curl", "-q", "-sS", "--globoff", "--path-as-is", "--noproxy", "*", *signature, *arguments, url],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=timeout,
    )
