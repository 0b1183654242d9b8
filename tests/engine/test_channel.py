"""A channel whose exchange is cancelled in the middle of an output."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from tests.harness.reactor import GET, connect, receive, running

from fastcache.engine.channel import ClientGoneError, PlainChannel

MORE_THAN_A_SOCKET_TAKES = 64 * 1024 * 1024


async def to_the_end(sock: socket.socket, got: bytearray) -> None:
    while piece := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 1 << 20), 10):
        got += piece


@pytest.mark.parametrize("what", ["file", "memory"])
async def test_output_that_nobody_waits_for_any_more_is_never_sent_from_what_is_given_back(
    tmp_path: Path, what: str
) -> None:
    """Whoever is cancelled lets the file go, and its descriptor's number may be another object's a moment later."""
    loop = asyncio.get_running_loop()
    (tmp_path / "ours").write_bytes(b"a" * MORE_THAN_A_SOCKET_TAKES)
    (tmp_path / "another").write_bytes(b"b" * MORE_THAN_A_SOCKET_TAKES)
    fd = os.open(tmp_path / "ours", os.O_RDONLY)
    another = os.open(tmp_path / "another", os.O_RDONLY)
    memory = bytearray(b"a" * MORE_THAN_A_SOCKET_TAKES)
    try:
        async with running() as (recorder, address):
            recorder.answer = lambda cid, head: None
            with await connect(address) as sock:
                sock.send(GET % 1)
                (_, cid, _), *_ = await recorder.until("request")
                channel = PlainChannel(recorder.reactor, cid, loop)
                size = MORE_THAN_A_SOCKET_TAKES
                task = loop.create_task(channel.send_file(fd, 0, size) if what == "file" else channel.write(memory))
                assert set(await receive(sock, 1000)) == {ord("a")}
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                os.dup2(another, fd)
                memory[:] = b"b" * size
                got = bytearray()
                with pytest.raises(ConnectionResetError):
                    await to_the_end(sock, got)
                assert set(got) <= {ord("a")}
                with pytest.raises(ClientGoneError):
                    await channel.write(b"more")
    finally:
        os.close(fd)
        os.close(another)
