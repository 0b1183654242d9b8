"""fastcache: a transparent caching proxy for S3."""

__version__ = "0.1.0"
