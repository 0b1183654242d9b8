"""Every way in which a client changes an object, by client: through the proxy, on one key."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.fs
from boto3.s3.transfer import TransferConfig
from minio.commonconfig import CopySource
from tests.clients.sites import Site
from tests.harness.clients import REGION, curl, minio_client, obstore_store
from tests.harness.raw import exchange
from tests.harness.signing import signed_request
from tests.harness.tools import require_tool

KIB, MIB = 1024, 1024 * 1024
PARTS = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)


class Target:
    """One object to be changed through the proxy, and another whose content may be copied onto it."""

    def __init__(self, site: Site, bucket: str, key: str, other: str, directory: Path) -> None:
        self.site = site
        self.bucket = bucket
        self.key = key
        self.other = other
        self.directory = directory
        self.boto3: Any = site.through

    @property
    def at(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.key}

    def file(self, body: bytes) -> str:
        path = self.directory / "body"
        path.write_bytes(body)
        return str(path)

    @property
    def minio(self) -> Any:
        return minio_client(self.site.endpoint, self.site.access_key, self.site.secret_key)

    @property
    def obstore(self) -> Any:
        return obstore_store(self.site.endpoint, self.bucket, self.site.access_key, self.site.secret_key)

    @property
    def pyarrow(self) -> pyarrow.fs.S3FileSystem:
        return pyarrow_filesystem(self.site)

    @property
    def path(self) -> str:
        return f"{self.bucket}/{self.key}"


def pyarrow_filesystem(site: Site) -> pyarrow.fs.S3FileSystem:
    """pyarrow through the proxy."""
    return pyarrow.fs.S3FileSystem(
        endpoint_override=urlsplit(site.endpoint).netloc,
        scheme="http",
        access_key=site.access_key,
        secret_key=site.secret_key,
        region=REGION,
        background_writes=False,
    )


def chunked_put(site: Site, target: str, body: bytes, *, crc32: int | None = None) -> int:
    """PUT in aws-chunked framing inside HTTP's own chunks, with an unsigned checksum trailer: as the SDKs for
    JavaScript and C++ send a stream. ``crc32`` is sent instead of the right one. The status of the answer."""
    pieces = [body[at : at + 64 * KIB] for at in range(0, len(body), 64 * KIB)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    checksum = base64.b64encode((zlib.crc32(body) if crc32 is None else crc32).to_bytes(4, "big"))
    framed += b"0\r\nx-amz-checksum-crc32:%b\r\n\r\n" % checksum
    request = signed_request(
        "PUT",
        site.endpoint + target,
        site.access_key,
        site.secret_key,
        signed=(
            ("Content-Encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", str(len(body))),
            ("x-amz-trailer", "x-amz-checksum-crc32"),
        ),
        unsigned=(("Transfer-Encoding", "chunked"),),
        payload_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    )
    outer = b"".join(
        b"%x\r\n%b\r\n" % (len(framed[at : at + 50_000]), framed[at : at + 50_000])
        for at in range(0, len(framed), 50_000)
    )
    return exchange(site.endpoint, request + outer + b"0\r\n\r\n").status


def _upload_part_copy(to: Target) -> None:
    upload = to.boto3.create_multipart_upload(**to.at)["UploadId"]
    part = to.boto3.upload_part_copy(
        **to.at, UploadId=upload, PartNumber=1, CopySource={"Bucket": to.bucket, "Key": to.other}
    )
    parts = [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]
    to.boto3.complete_multipart_upload(**to.at, UploadId=upload, MultipartUpload={"Parts": parts})


def _curl(to: Target, method: str, *arguments: str) -> None:
    require_tool("curl")
    target = f"/{to.bucket}/{to.key}"
    if to.site.kind == "swift":
        done = curl(to.site.presigned(method, target), "--fail", *arguments)
    else:
        done = curl(
            to.site.endpoint + target,
            "--fail",
            *arguments,
            access_key=to.site.access_key,
            secret_key=to.site.secret_key,
        )
    assert done.returncode == 0, done.stderr


def _pyarrow_write(to: Target, body: bytes) -> None:
    with to.pyarrow.open_output_stream(to.path) as stream:
        for at in range(0, len(body), MIB):
            stream.write(body[at : at + MIB])


def _put_url(to: Target, body: bytes) -> None:
    host, target = urlsplit(to.site.endpoint).netloc, f"/{to.bucket}/{to.key}"
    url = to.site.presigned("PUT", target).removeprefix(to.site.endpoint)
    head = f"PUT {url} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    assert exchange(to.site.endpoint, head + body).status == 200


def _chunked(to: Target, body: bytes) -> None:
    assert chunked_put(to.site, f"/{to.bucket}/{to.key}", body) == 200


WRITERS: dict[str, Callable[[Target, bytes], object]] = {
    "boto3 put_object": lambda to, body: to.boto3.put_object(**to.at, Body=body),
    "boto3 put_object, sha256": lambda to, body: to.boto3.put_object(**to.at, Body=body, ChecksumAlgorithm="SHA256"),
    "boto3 upload_file": lambda to, body: to.boto3.upload_file(to.file(body), to.bucket, to.key, Config=PARTS),
    "boto3 upload_fileobj": lambda to, body: to.boto3.upload_fileobj(io.BytesIO(body), **to.at, Config=PARTS),
    "minio put_object": lambda to, body: to.minio.put_object(to.bucket, to.key, io.BytesIO(body), len(body)),
    "minio put_object, parts": lambda to, body: to.minio.put_object(
        to.bucket, to.key, io.BytesIO(body), -1, part_size=5 * MIB
    ),
    "obstore put": lambda to, body: to.obstore.put(to.key, body, use_multipart=False),
    "obstore put, parts": lambda to, body: to.obstore.put(to.key, body, use_multipart=True),
    "pyarrow output stream": _pyarrow_write,
    "curl -T": lambda to, body: _curl(to, "PUT", "-T", to.file(body)),
    "presigned PUT": _put_url,
    "chunks within chunks": _chunked,
}
"""Name to a call that puts ``body``."""

COPIERS: dict[str, Callable[[Target], object]] = {
    "boto3 copy_object": lambda to: to.boto3.copy_object(**to.at, CopySource={"Bucket": to.bucket, "Key": to.other}),
    "boto3 upload_part_copy": _upload_part_copy,
    "minio copy_object": lambda to: to.minio.copy_object(to.bucket, to.key, CopySource(to.bucket, to.other)),
    "obstore copy": lambda to: to.obstore.copy(to.other, to.key),
    "pyarrow copy_file": lambda to: to.pyarrow.copy_file(f"{to.bucket}/{to.other}", to.path),
}
"""Name to a call that copies the other object's content."""

DELETERS: dict[str, Callable[[Target], object]] = {
    "boto3 delete_object": lambda to: to.boto3.delete_object(**to.at),
    "boto3 delete_objects": lambda to: to.boto3.delete_objects(
        Bucket=to.bucket, Delete={"Objects": [{"Key": "not there"}, {"Key": to.key}]}
    ),
    "minio remove_object": lambda to: to.minio.remove_object(to.bucket, to.key),
    "obstore delete": lambda to: to.obstore.delete([to.key]),
    "pyarrow delete_file": lambda to: to.pyarrow.delete_file(to.path),
    "curl -X DELETE": lambda to: _curl(to, "DELETE", "-X", "DELETE"),
}
"""Name to a call that deletes."""
