"""Heads that the tests of this directory share."""

from __future__ import annotations


def head(*fields: bytes, line: bytes = b"GET /bucket/key HTTP/1.1", host: bytes | None = b"127.0.0.1:9000") -> bytes:
    """A complete head of a request line, Host (unless None) and ``fields``."""
    hosts = () if host is None else (b"Host: " + host,)
    return b"\r\n".join([line, *hosts, *fields, b"", b""])
