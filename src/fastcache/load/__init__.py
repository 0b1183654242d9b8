"""A client that measures: requests as real S3 clients send them, over the compiled load generator of ``_core``."""
