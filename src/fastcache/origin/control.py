"""Client of the control API, for tests, benchmarks and the demo."""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from fastcache.errors import FastcacheError

Json = dict[str, Any]


class OriginControlError(FastcacheError):
    """The origin refused a control request; the text says why."""


class OriginControl:
    """One method for each thing that can be asked of a running origin."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        """``url`` is the control URL of the ready line; ``timeout`` in seconds."""
        parts = urlsplit(url)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"not a control URL: {url}")
        self._host, self._port = parts.hostname, parts.port
        self._timeout = timeout

    def stats(self, last: int = 1000) -> Json:
        """Counters, bytes sent for each object, and the newest ``last`` requests (see stats.Entry)."""
        return self._call("GET", "/stats", {"last": last})

    def log(self, last: int = 1000) -> list[Json]:
        """The newest requests, oldest first."""
        entries: list[Json] = self.stats(last)["log"]
        return entries

    def requests(self, method: str | None = None, key: str | None = None) -> int:
        """How many requests reached the origin, of one method or key if named (the newest 10,000)."""
        if method is None and key is None:
            return int(self.stats(0)["requests"])
        return sum(1 for entry in self.log(10_000) if method in (None, entry["method"]) and key in (None, entry["key"]))

    def body_sent(self, bucket: str | None = None, key: str | None = None) -> int:
        """Object bytes sent (no error documents, no listings): of all objects, of a bucket or of one object."""
        return sum(
            int(item["bytes"])
            for item in self.stats(0)["body_by_object"]
            if bucket in (None, item["bucket"]) and key in (None, item["key"])
        )

    def reset(self, *, store: bool = False) -> None:
        """Forget counters and faults; with ``store``, all buckets."""
        self._call("POST", "/reset", {"store": store})

    def bucket(self, name: str, *, public_read: bool = False, versioning: str = "", cors: str = "") -> None:
        """Create a bucket or change it. ``versioning``: "", "Enabled" or "Suspended"; ``cors``: the XML document."""
        fields = {"bucket": name, "public_read": public_read, "versioning": versioning, "cors": cors}
        self._call("POST", "/buckets", fields)

    def synthetic(
        self,
        bucket: str,
        key: str | list[str],
        size: int,
        *,
        generation: int = 1,
        headers: dict[str, str] | None = None,
    ) -> Json:
        """Create objects of pattern bytes; the bucket is created if need be. Returns etag, size, version_id."""
        keys = [key] if isinstance(key, str) else key
        fields = {"bucket": bucket, "keys": keys, "size": size, "generation": generation, "headers": headers or {}}
        return self._call("POST", "/objects", fields)

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        headers: dict[str, str] | None = None,
        modified: float | None = None,
        etag: str | None = None,
    ) -> Json:
        """Create an object behind every proxy's back; ``modified`` in seconds since the epoch."""
        fields: Json = {"bucket": bucket, "key": key, "base64": base64.b64encode(data).decode("ascii")}
        fields["headers"] = headers or {}
        if modified is not None:
            fields["modified"] = modified
        if etag is not None:
            fields["etag"] = etag
        return self._call("POST", "/objects", fields)

    def flip(self, bucket: str, key: str, *, size: int | None = None) -> Json:
        """Put the next generation of a synthetic object behind every proxy's back."""
        fields: Json = {"bucket": bucket, "key": key}
        if size is not None:
            fields["size"] = size
        return self._call("POST", "/flip", fields)

    def fault(self, kind: str, **parameters: Any) -> None:
        """Add a fault: ``kind`` and parameters as in :mod:`fastcache.origin.faults`."""
        self._call("POST", "/faults", {"kind": kind, **parameters})

    def clear_faults(self) -> None:
        """Remove the faults that wait."""
        self._call("DELETE", "/faults", {})

    def faults(self) -> list[Json]:
        """The faults that wait."""
        waiting: list[Json] = self._call("GET", "/faults", {})["faults"]
        return waiting

    def settings(self, **settings: float) -> Json:
        """Change latency (s), bandwidth_connection, bandwidth_total (bytes/s) or clock_offset (s); returns all."""
        return self._call("POST", "/settings", settings)

    def drop_connections(self) -> int:
        """Abort all client connections; how many there were."""
        return int(self._call("POST", "/drop-connections", {})["dropped"])

    def _call(self, method: str, path: str, body: Json) -> Json:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer: Json = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise OriginControlError(f"{method} {path}: {answer.get('error', response.status)}")
        return answer
