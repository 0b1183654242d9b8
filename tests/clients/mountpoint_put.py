"""``mountpoint_put.py ENDPOINT BUCKET KEY FILE``: put an object, by s3torchconnector's client."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client


def main(endpoint: str, bucket: str, key: str, file: str) -> None:
    client = MountpointS3Client(os.environ["AWS_REGION"], endpoint=endpoint, force_path_style=True)
    stream = client.put_object(bucket, key)
    stream.write(Path(file).read_bytes())
    stream.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
