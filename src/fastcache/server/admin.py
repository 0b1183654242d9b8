"""Health and metrics over HTTP, on an address of their own: a Starlette application in the running event loop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Generator
from typing import Final, Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from fastcache import __version__
from fastcache.errors import ConfigError
from fastcache.server.health import Health, Status

BACKLOG: Final = 128
MAX_CONNECTIONS: Final = 64
STOP_SECONDS: Final = 2
"""How long an answer under way may take when the server stops."""

_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_INDEX: Final = f"""fastcache {__version__}

/health   state of this instance as JSON: 200 when it is ready, else 503
/metrics  Prometheus text exposition
"""


States = Callable[[], Health | Awaitable[Health]]
"""What tells how this instance is."""


class Renders(Protocol):
    """What has metrics to show: ``Metrics`` itself, or somebody who first gathers those of the workers."""

    def render(self) -> tuple[bytes, str] | Awaitable[tuple[bytes, str]]: ...


class AdminServer:
    """``GET`` and ``HEAD`` of ``/``, ``/health`` and ``/metrics``; whatever else is 404 or 405 as JSON.

    Bound to a loopback address it answers only to Host headers that name an IP address or ``localhost``, or a page in
    the operator's browser could read it under a name of its own that resolves to 127.0.0.1 (DNS rebinding).
    """

    def __init__(self, host: str, port: int, state: States, metrics: Renders) -> None:
        self._host = host
        self._wanted_port = port
        self._app = _application(state, metrics)
        self._server: _EmbeddedServer | None = None
        self._task: asyncio.Task[None] | None = None
        self._port: int | None = None

    @property
    def port(self) -> int:
        """The port in use, the chosen one when 0 was asked for; RuntimeError before ``start`` and after ``stop``."""
        if self._port is None:
            raise RuntimeError("the admin server is not running")
        return self._port

    async def start(self) -> None:
        """Listen; returns when connections are accepted. ConfigError when the address cannot be used."""
        if self._task is not None:
            raise RuntimeError("already started")
        sock = await self._bind()
        address = sock.getsockname()
        loopback = ipaddress.ip_address(address[0].partition("%")[0]).is_loopback
        server = _EmbeddedServer(_LoopbackHosts(self._app) if loopback else self._app)
        task = asyncio.get_running_loop().create_task(server.serve(sockets=[sock]), name="admin")
        ready = asyncio.ensure_future(server.listening.wait())
        try:
            await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            if not server.listening.is_set():
                task.cancel()
                await asyncio.wait((task,))
                sock.close()
        if not server.listening.is_set():
            task.result()
            raise RuntimeError("the admin server ended before it listened")
        self._server, self._task, self._port = server, task, address[1]

    async def stop(self) -> None:
        """Stop listening, let answers under way end (at most STOP_SECONDS), close the rest."""
        server, task = self._server, self._task
        if server is None or task is None:
            return
        self._server = self._task = self._port = None
        server.should_exit = True
        await task

    async def _bind(self) -> socket.socket:
        where = f"admin address {self._host}:{self._wanted_port}"
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                self._host, self._wanted_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except OSError as error:
            raise ConfigError(f"{where} cannot be used: {error.strerror}") from error
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            raise ConfigError(f"{where} cannot be used: {error.strerror}") from error
        return sock


class _EmbeddedServer(uvicorn.Server):
    """uvicorn as a guest in somebody else's event loop: signals stay their owner's, and it tells when it listens."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.listening.set()


class _LoopbackHosts:
    """Refuses requests whose Host is a name other than ``localhost``. One without Host comes from no browser."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hosts = [value for name, value in scope.get("headers", ()) if name == b"host"]
        if len(hosts) <= 1 and all(map(is_local_host, hosts)):
            await self._app(scope, receive, send)
        else:
            await _error(403, "this Host is not served on a loopback address")(scope, receive, send)


def is_local_host(host: bytes) -> bool:
    """Whether a Host header's value is an IP address or ``localhost``, with a port or without (RFC 9110 §7.2)."""
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        port_mark, port = rest[:1], rest[1:]
        if not bracket or (rest and port_mark != ":"):
            return False
    else:
        name, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit()):
        return False
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _application(state: States, metrics: Renders) -> Starlette:
    async def index(request: Request) -> Response:
        return Response(_INDEX, media_type="text/plain", headers=_HEADERS)

    async def health(request: Request) -> Response:
        told = state()
        now = await told if inspect.isawaitable(told) else told
        body: dict[str, object] = {"status": now.status.value, "version": __version__}
        if now.reasons:
            body["reasons"] = list(now.reasons)
        if now.processes:
            body["processes"] = list(now.processes)
        return JSONResponse(body, 200 if now.status is Status.OK else 503, headers=_HEADERS)

    async def exposition(request: Request) -> Response:
        rendered = metrics.render()
        body, content_type = await rendered if inspect.isawaitable(rendered) else rendered
        return Response(body, headers={**_HEADERS, "Content-Type": content_type})

    async def refusal(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = _error(error.status_code, error.detail)
        response.headers.update(error.headers or {})
        return response

    async def failure(request: Request, error: Exception) -> Response:
        return _error(500, "internal error")

    app = Starlette(
        routes=[
            Route("/", index, methods=["GET"]),
            Route("/health", health, methods=["GET"]),
            Route("/metrics", exposition, methods=["GET"]),
        ],
        exception_handlers={HTTPException: refusal, Exception: failure},
    )
    app.router.redirect_slashes = False
    return app


def _error(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"error": detail}, status, headers=_HEADERS)
