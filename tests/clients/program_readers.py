"""Programs that read objects, one process for each read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from tests.clients.reader import RangeReader, Reader
from tests.clients.sites import Site
from tests.harness.clients import REGION, curl

BIN = Path(sys.executable).parent


def credentials_only(site: Site) -> dict[str, str]:
    """An environment in which nothing of this machine's user is."""
    return {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": "/nonexistent",
        "AWS_ACCESS_KEY_ID": site.access_key,
        "AWS_SECRET_ACCESS_KEY": site.secret_key,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class Program(Reader):
    """A program whose credentials are in its environment."""

    def _run(self, *command: str | Path) -> bytes:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=credentials_only(self.site),
            check=False,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout


class S5cmd(Program):
    needs = ("s5cmd",)

    def whole(self, bucket: str, key: str) -> bytes:
        return self._run("s5cmd", "--endpoint-url", self.endpoint, "cat", f"s3://{bucket}/{key}")


class AwsCli(Program):
    needs = ("awscli",)
    starts_slowly = True

    def whole(self, bucket: str, key: str) -> bytes:
        return self._run("aws", "--endpoint-url", self.endpoint, "s3", "cp", f"s3://{bucket}/{key}", "-")


class S3torchconnector(Program, RangeReader):
    """A process each, because it takes credentials from nowhere but the environment and files."""

    needs = ("s3torchconnector",)

    def _cat(self, *arguments: str) -> bytes:
        return self._run(sys.executable, Path(__file__).with_name("mountpoint_cat.py"), self.endpoint, *arguments)

    def whole(self, bucket: str, key: str) -> bytes:
        return self._cat(bucket, key)

    def part(self, bucket: str, key: str, start: int, end: int) -> bytes:
        return self._cat(bucket, key, str(start), str(end))


class Curl(RangeReader):
    """Presigned URLs at Swift, whose access keys curl cannot carry; curl's own signature elsewhere."""

    needs = ("curl",)

    def _run(self, bucket: str, key: str, *arguments: str) -> bytes:
        target = f"/{bucket}/{quote(key)}"
        if self.site.kind == "swift":
            done = curl(self.site.presigned("GET", target, direct=self.direct), "--fail", *arguments)
        else:
            done = curl(
                self.endpoint + target,
                "--fail",
                *arguments,
                access_key=self.site.access_key,
                secret_key=self.site.secret_key,
            )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def whole(self, bucket: str, key: str) -> bytes:
        return self._run(bucket, key)

    def part(self, bucket: str, key: str, start: int, end: int) -> bytes:
        return self._run(bucket, key, "--range", f"{start}-{end - 1}")


PROGRAM_READERS: dict[str, type[Reader]] = {
    "AWS CLI s3 cp": AwsCli,
    "s3torchconnector get_object": S3torchconnector,
    "s5cmd cat": S5cmd,
    "curl --aws-sigv4": Curl,
}
"""As docs/clients.md calls them."""
