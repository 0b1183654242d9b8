"""TLS to the origin: verified against the CA that was configured, and against nothing less."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.upstream.certificates import Authority, make_authority
from tests.upstream.origins import GET, Peer, origin, pool_for, put, read_all, settled, sized

from fastcache.errors import ConfigError, UpstreamConnectError, UpstreamProtocolError
from fastcache.model import OriginId
from fastcache.upstream.pool import Pool
from fastcache.upstream.settings import UpstreamSettings
from fastcache.upstream.tls import client_context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def localhost(authority: Authority) -> ssl.SSLContext:
    return authority.server_context("DNS:localhost", "IP:127.0.0.1")


async def answers(peer: Peer) -> None:
    count = 0
    while True:
        await peer.answer(sized(bytes([count]) * 300_000))
        count += 1


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_a_known_ca_and_the_right_name_are_accepted_and_connections_reused(
    authority: Authority, localhost: ssl.SSLContext, name: str
) -> None:
    settings = UpstreamSettings(ca_file=authority.ca_file)
    async with origin(answers, tls=localhost, name=name) as source, pool_for(source, settings) as pool:
        for count in range(3):
            body = await read_all(await pool.request(b"GET", GET, retry_safe=True))
            assert body == bytes([count]) * 300_000
        assert source.accepted == 1


async def test_uploads_go_through_tls(authority: Authority, localhost: ssl.SSLContext) -> None:
    body = bytes(range(256)) * 8192

    async def script(peer: Peer) -> None:
        await peer.head()
        assert await peer.reader.readexactly(len(body)) == body
        await peer.send(sized(b"stored"))
        await peer.gone()

    async def pieces() -> AsyncIterator[memoryview]:
        for at in range(0, len(body), 65536):
            yield memoryview(body)[at : at + 65536]

    settings = UpstreamSettings(ca_file=authority.ca_file)
    async with origin(script, tls=localhost) as source, pool_for(source, settings) as pool:
        response = await pool.request(b"PUT", put(len(body)), body=pieces(), content_length=len(body), retry_safe=False)
        assert response.request_complete
        assert await read_all(response) == b"stored"


async def test_a_slow_consumer_holds_the_origin_back_under_tls_too(
    authority: Authority, localhost: ssl.SSLContext
) -> None:
    size, block = 16 << 20, 64 << 10

    async def script(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(64):
            await peer.send(bytes(size // 64))
        await peer.gone()

    settings = UpstreamSettings(ca_file=authority.ca_file, receive_block=block, first_block=block, idle_timeout=2.0)
    async with origin(script, tls=localhost) as source, pool_for(source, settings) as pool:
        response = await pool.request(b"GET", GET, retry_safe=True)
        read = most = 0
        while piece := await response.read():
            if read < 1 << 20:
                await asyncio.sleep(0.13)
            most = max(most, response.bytes_received - read)
            read += len(piece)
        assert read == size
        assert most < 4 * block


async def test_an_unknown_ca_is_refused_in_words(localhost: ssl.SSLContext) -> None:
    async with origin(answers, tls=localhost) as source, pool_for(source) as pool:
        with pytest.raises(UpstreamConnectError, match=r"certificate not accepted: .*issuer"):
            await pool.request(b"GET", GET, retry_safe=True)
        await settled(lambda: pool.open_connections == 0 and source.open == 0)


async def test_a_certificate_for_another_name_is_refused_in_words(authority: Authority) -> None:
    other = authority.server_context("DNS:other.example")
    settings = UpstreamSettings(ca_file=authority.ca_file)
    async with origin(answers, tls=other, name="localhost") as source, pool_for(source, settings) as pool:
        with pytest.raises(UpstreamConnectError, match=r"certificate not accepted: .*localhost"):
            await pool.request(b"GET", GET, retry_safe=True)
        await settled(lambda: pool.open_connections == 0)


async def test_an_origin_without_tls_or_with_an_old_one_is_refused(authority: Authority) -> None:
    async def plain(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    settings = UpstreamSettings(ca_file=authority.ca_file)
    async with origin(plain) as source:
        pool = Pool(OriginId("https", "localhost", source.id.port), settings)
        with pytest.raises(UpstreamConnectError, match="TLS to"):
            await pool.request(b"GET", GET, retry_safe=True)
        await pool.close()
    assert client_context().minimum_version == ssl.TLSVersion.TLSv1_2
    assert client_context().verify_mode == ssl.CERT_REQUIRED
    assert client_context().check_hostname


async def test_a_cut_under_tls_is_an_error(authority: Authority, localhost: ssl.SSLContext) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(sized(b"x" * 50_000)[:-1])

    settings = UpstreamSettings(ca_file=authority.ca_file)
    async with origin(script, tls=localhost) as source, pool_for(source, settings) as pool:
        response = await pool.request(b"GET", GET, retry_safe=True)
        with pytest.raises(UpstreamProtocolError, match="before the end"):
            await read_all(response)


def test_a_ca_file_that_cannot_be_used_is_a_config_error(tmp_path: Path) -> None:
    broken = tmp_path / "ca.pem"
    broken.write_text("not a certificate")
    for path in (broken, tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match=path.name):
            Pool(OriginId("https", "localhost", 443), UpstreamSettings(ca_file=str(path)))
