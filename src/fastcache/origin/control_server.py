"""The control API: JSON over HTTP on a loopback port of its own, so that no S3 request can reach it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fastcache.errors import ConfigError, FastcacheError
from fastcache.origin.content import Content, Literal, Synthetic
from fastcache.origin.faults import KINDS, fault_from_json
from fastcache.origin.state import OriginState, Settings
from fastcache.origin.store import Bucket, Version

MAX_BODY = 64 << 20
_HEAD_TIMEOUT = 30.0

Json = dict[str, Any]


class Control:
    """The handlers, one for each method and path."""

    def __init__(self, state: OriginState, drop: Callable[[], int]) -> None:
        self._state = state
        self._drop = drop
        self._routes: dict[tuple[str, str], Callable[[Json], Json]] = {
            ("GET", "/stats"): lambda body: state.stats.snapshot(int(body.get("last", 1000))),
            ("POST", "/reset"): self._reset,
            ("POST", "/buckets"): self._bucket,
            ("POST", "/objects"): self._object,
            ("POST", "/flip"): self._flip,
            ("GET", "/faults"): lambda _: {"faults": [asdict(f) for f in state.faults.waiting()], "kinds": KINDS},
            ("POST", "/faults"): self._fault,
            ("DELETE", "/faults"): self._clear,
            ("GET", "/settings"): lambda _: asdict(state.settings),
            ("POST", "/settings"): self._settings,
            ("POST", "/drop-connections"): lambda _: {"dropped": drop()},
        }

    def handle(self, method: str, path: str, body: bytes) -> tuple[int, Json]:
        """The status and the answer."""
        route = self._routes.get((method, path))
        if route is None:
            return 404, {"error": f"no {method} {path}"}
        try:
            parsed = json.loads(body) if body else {}
            if not isinstance(parsed, dict):
                raise ConfigError("the body must be a JSON object")
            return 200, route(parsed)
        except (ValueError, KeyError, TypeError, binascii.Error, FastcacheError) as error:
            return 400, {"error": f"{type(error).__name__}: {error}"}

    def _reset(self, body: Json) -> Json:
        """Counters and faults; with ``store``, buckets too."""
        self._state.stats.reset()
        self._state.faults.clear()
        if body.get("store"):
            self._state.store.buckets.clear()
        return {}

    def _bucket(self, body: Json) -> Json:
        bucket = self._bucket_named(body["bucket"])
        bucket.public_read = bool(body.get("public_read", bucket.public_read))
        bucket.versioning = str(body.get("versioning", bucket.versioning))
        bucket.cors = str(body.get("cors", bucket.cors.decode())).encode()
        return {"bucket": body["bucket"]}

    def _object(self, body: Json) -> Json:
        """``size`` makes a synthetic object; otherwise the bytes are ``text`` or ``base64``."""
        bucket = self._bucket_named(body["bucket"])
        keys = body["keys"] if "keys" in body else [body["key"]]
        versions = [bucket.add(self._made(key.encode(), body)) for key in keys]
        return _described(versions[-1])

    def _made(self, key: bytes, body: Json) -> Version:
        generation = None
        content: Content
        if "size" in body:
            generation = int(body.get("generation", 1))
            content = Synthetic(key, generation, int(body["size"]))
        elif "base64" in body:
            content = Literal(base64.b64decode(body["base64"], validate=True))
        else:
            content = Literal(body["text"].encode())
        headers = {"Content-Type": "binary/octet-stream", **body.get("headers", {})}
        return Version(
            key,
            content,
            body["etag"].encode() if "etag" in body else content.md5(),
            float(body.get("modified", self._state.now())),
            [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
            {name.encode(): value.encode() for name, value in body.get("checksums", {}).items()},
            generation=generation,
        )

    def _flip(self, body: Json) -> Json:
        """The next generation of a synthetic object, ``size`` changed if given."""
        bucket = self._state.store.buckets[body["bucket"].encode()]
        old = bucket.latest(body["key"].encode())
        if old is None or old.generation is None:
            raise ConfigError(f"{body['bucket']}/{body['key']} is not a synthetic object")
        generation = int(body.get("generation", old.generation + 1))
        content = Synthetic(old.key, generation, int(body.get("size", old.size)))
        return _described(
            bucket.add(Version(old.key, content, content.md5(), self._state.now(), old.headers, generation=generation))
        )

    def _fault(self, body: Json) -> Json:
        described = body.get("faults", [body])
        for fault in [fault_from_json(item) for item in described]:
            self._state.faults.add(fault)
        return {"waiting": len(self._state.faults.waiting())}

    def _clear(self, _body: Json) -> Json:
        self._state.faults.clear()
        return {}

    def _settings(self, body: Json) -> Json:
        settings = self._state.settings
        known = asdict(Settings())
        for name, value in body.items():
            if name not in known:
                raise ConfigError(f"unknown setting {name!r}; known: {', '.join(known)}")
            setattr(settings, name, type(known[name])(value))
        return asdict(settings)

    def _bucket_named(self, name: str) -> Bucket:
        store = self._state.store
        encoded = name.encode()
        found = store.buckets.get(encoded)
        return store.create(encoded, b"control", self._state.now()) if found is None else found


async def serve_control(state: OriginState, host: str, port: int, drop: Callable[[], int]) -> asyncio.Server:
    """Listen for control requests; one request for each connection."""
    control = Control(state, drop)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEAD_TIMEOUT):
                method, path, body = await _read_request(reader)
            status, answer = control.handle(method, path, body)
            text = json.dumps(answer).encode()
            head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
            writer.write(head.encode() + b"Connection: close\r\n\r\n" + text)
            await writer.drain()
        except (OSError, EOFError, ValueError, TimeoutError):
            writer.transport.abort()
        finally:
            writer.close()

    return await asyncio.start_server(serve, host, port)


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, str, bytes]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ", 2)
    length = 0
    for line in lines[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            length = int(value)
    if not 0 <= length <= MAX_BODY:
        raise ValueError("the control request is too large")
    return method, path, await reader.readexactly(length)


def _described(version: Version) -> Json:
    return {
        "etag": version.etag.decode(),
        "size": version.size,
        "generation": version.generation,
        "version_id": version.version_id.decode() if version.version_id else None,
        "last_modified": version.last_modified.decode(),
    }
