"""fastcache: a transparent caching proxy for S3."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("fastcache-s3")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"
