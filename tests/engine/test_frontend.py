"""From the connection core to a task and back: nothing stays behind, whenever the client leaves."""

from __future__ import annotations

import asyncio
import socket
import struct

from tests.engine.conftest import Embed, until


async def test_a_client_that_leaves_before_its_task_began_leaves_nothing_behind(embed: Embed) -> None:
    async with embed() as proxy:
        frontend = proxy.worker.frontend
        reactor = frontend.reactor
        loop = asyncio.get_running_loop()
        loop.remove_reader(reactor.fileno())  # this test drains, so that nothing runs between two drains
        with socket.create_connection(proxy.address) as client:
            client.sendall(proxy.request("nothing"))
            for _ in range(1000):
                reactor.drain()
                if frontend.in_flight:
                    break
            assert frontend.in_flight == 1
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reactor.drain()  # the task was made and has not taken its first step
        loop.add_reader(reactor.fileno(), reactor.drain)
        await until(lambda: frontend.in_flight == 0, "the task is gone")
        assert reactor.parked() == 0
        assert reactor.connections() == 0
        assert await frontend.drain(5.0)
