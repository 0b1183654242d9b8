"""More ways to put an object: Amazon's C client, Mountpoint's, s5cmd, s3fs and Polars."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.clients.program_readers import credentials_only
from tests.clients.sdk_readers import Awscrt, S3fs
from tests.clients.table_readers import Polars
from tests.clients.writes import Target
from tests.harness.tools import require_tool


def _program(to: Target, *command: str | Path) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=credentials_only(to.site),
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")


def _s5cmd(to: Target, body: bytes) -> None:
    require_tool("s5cmd")
    _program(to, "s5cmd", "--endpoint-url", to.site.endpoint, "cp", "-p", "5", to.file(body), f"s3://{to.path}")


def _mountpoint(to: Target, body: bytes) -> None:
    require_tool("s3torchconnector")
    script = Path(__file__).with_name("mountpoint_put.py")
    _program(to, sys.executable, script, to.site.endpoint, to.bucket, to.key, to.file(body))


def _awscrt(to: Target, body: bytes) -> None:
    require_tool("awscrt")
    import awscrt.http
    import awscrt.s3

    reader = Awscrt(to.site)
    headers = awscrt.http.HttpHeaders([("host", reader.netloc), ("content-length", str(len(body)))])
    asked = reader._client.make_request(
        type=awscrt.s3.S3RequestType.PUT_OBJECT,
        request=awscrt.http.HttpRequest("PUT", f"/{to.path}", headers),
        send_filepath=to.file(body),
        checksum_config=awscrt.s3.S3ChecksumConfig(
            algorithm=awscrt.s3.S3ChecksumAlgorithm.CRC32, location=awscrt.s3.S3ChecksumLocation.TRAILER
        ),
    )
    asked.finished_future.result(60)


def _s3fs(to: Target, body: bytes) -> None:
    S3fs(to.site)._filesystem.pipe_file(to.path, body)


def _polars(to: Target, body: bytes) -> None:
    """A table whose one column is made of ``body``: the object is Polars' own file."""
    require_tool("polars")
    import polars

    options = Polars(to.site).options
    polars.DataFrame({"value": [body[: len(body) // 2], body[len(body) // 2 :]]}).write_parquet(
        f"s3://{to.path}", storage_options=options, compression="uncompressed"
    )


PROGRAM_WRITERS: dict[str, Callable[[Target, bytes], object]] = {
    "awscrt PUT_OBJECT, parts": _awscrt,
    "s3torchconnector put_object, parts": _mountpoint,
    "s5cmd cp, parts": _s5cmd,
    "s3fs pipe": _s3fs,
    "polars write_parquet": _polars,
}
"""Name to a call that puts ``body``, or what it makes of it."""
