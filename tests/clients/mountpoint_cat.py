"""``mountpoint_cat.py ENDPOINT BUCKET KEY [START END]``: an object or a part, by s3torchconnector's client."""

from __future__ import annotations

import os
import sys

from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client


def main(endpoint: str, bucket: str, key: str, *interval: str) -> None:
    client = MountpointS3Client(os.environ["AWS_REGION"], endpoint=endpoint, force_path_style=True)
    bounds = dict(zip(("start", "end"), map(int, interval), strict=False))
    for piece in client.get_object(bucket, key, **bounds):
        sys.stdout.buffer.write(piece)


if __name__ == "__main__":
    main(*sys.argv[1:])
