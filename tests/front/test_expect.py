"""Bodies that wait for permission, answers that come before the body, and interim answers (RFC 9110 section 10.1.1)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.front.conftest import MIB, Front, ScriptedOrigin, content, read_until
from tests.harness.raw import RawConnection

StartFront = Callable[..., Front]
EXPECT = b"Expect: 100-continue"
CREATED = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n'


def test_a_client_that_waits_gets_the_origins_100_and_then_its_answer(front: Front) -> None:
    for n, body in enumerate((b"x" * 10, b"x" * 200_000)):
        with front.connect() as connection:
            connection.send(front.request(f"w{n}", EXPECT, b"Content-Length: %d" % len(body), method=b"PUT"))
            assert connection.read_head().status == 100
            connection.send(body + front.request(f"w{n}"))
            assert connection.read_response(b"PUT").status == 200
            assert connection.read_response().body == body


def test_a_client_that_does_not_wait_is_answered_the_same(front: Front) -> None:
    with front.connect() as connection:
        for coding in ((b"Content-Length: 5",), (b"Transfer-Encoding: chunked",)):
            body = b"12345" if b"Length" in coding[0] else b"5\r\n12345\r\n0\r\n\r\n"
            connection.send(front.request("now", EXPECT, *coding, method=b"PUT") + body + front.request("now"))
            assert connection.read_response(b"PUT").status == 200
            assert connection.read_response().body == b"12345"


def test_a_body_is_forwarded_though_no_100_came(start_front: StartFront, scripted: ScriptedOrigin) -> None:
    front = start_front(endpoint=scripted.endpoint)
    with front.connect() as connection:
        connection.send(front.request("o", EXPECT, b"Content-Length: 5", method=b"PUT"))
        with scripted.accept() as peer:
            assert b"\r\nExpect: 100-continue\r\n" in read_until(peer, b"\r\n\r\n")
            connection.expect_silence(0.2)  # the 100 is the origin's to give
            connection.send(b"12345")
            read_until(peer, b"12345")
            peer.sendall(CREATED)
            response = connection.read_response(b"PUT")
    assert (response.status, response.interim) == (200, ())


def test_what_is_here_of_a_small_body_is_forwarded_with_its_head_and_the_rest_when_it_comes(
    start_front: StartFront, scripted: ScriptedOrigin
) -> None:
    front = start_front(endpoint=scripted.endpoint)
    with front.connect() as connection:
        put = front.request("o", b"Content-Length: 5", method=b"PUT")
        connection.send(put + b"12")
        with scripted.accept() as peer:
            assert read_until(peer, b"\r\n\r\n12").endswith(b"\r\n\r\n12")
            connection.send(b"345" + put)  # and then one that comes in pieces from its beginning
            assert read_until(peer, b"345").endswith(b"345")
            peer.sendall(CREATED)
            assert connection.read_response(b"PUT").status == 200
            read_until(peer, b"\r\n\r\n")
            connection.send(b"67890" + put + b"abcde")
            assert read_until(peer, b"67890").endswith(b"67890")
            peer.sendall(CREATED)
            assert read_until(peer, b"abcde").endswith(b"\r\n\r\nabcde")
            peer.sendall(CREATED)
            assert [connection.read_response(b"PUT").status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("waits", [True, False])
def test_an_early_refusal_reaches_the_client_and_its_body_nobody(
    start_front: StartFront, scripted: ScriptedOrigin, waits: bool
) -> None:
    refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nContent-Length: 8\r\n\r\n<Error/>"
    size = 8 * MIB
    front = start_front(endpoint=scripted.endpoint)
    with front.connect() as connection:
        connection.send(front.request("o", EXPECT, b"Content-Length: %d" % size, method=b"PUT"))
        with scripted.accept() as peer:
            read_until(peer, b"\r\n\r\n")
            peer.sendall(refusal)
            if not waits:
                connection.send(b"x" * size)
            response = connection.read_response(b"PUT")
            assert (response.status, response.body) == (403, b"<Error/>")
            assert response.get(b"connection") == b"close"
            connection.end_sending()
            connection.expect_close()
            # Whether all of the body or none was sent: this connection cannot carry another request.
            received = 0
            try:
                while piece := peer.recv(65536):
                    received += len(piece)
            except ConnectionResetError:
                pass
            assert received < size
            assert (received == 0) is waits or not waits
    front.until(lambda: front.proxy.metric("fastcache_origin_pool_connections") == 0, "the upstream connection is gone")


def test_an_origin_that_refuses_and_resets_while_the_body_flows_still_gets_its_answer_through(
    start_front: StartFront, scripted: ScriptedOrigin
) -> None:
    front = start_front(endpoint=scripted.endpoint)
    with front.connect() as connection:
        connection.send(front.request("o", b"Content-Length: %d" % (8 * MIB), method=b"PUT") + b"x" * MIB)
        with scripted.accept() as peer:
            read_until(peer, b"\r\n\r\n")
            peer.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 8\r\nConnection: close\r\n\r\n<Error/>")
            # Closed with unread bytes: a reset follows the answer.
        response = connection.read_response(b"PUT")
        assert (response.status, response.body) == (403, b"<Error/>")


def test_interim_answers_pass_to_http_11_and_stay_here_for_http_10(
    start_front: StartFront, scripted: ScriptedOrigin
) -> None:
    front = start_front("--cache", "off", endpoint=scripted.endpoint)
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n"
    final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    for version, expected in ((b"HTTP/1.1", [103, 102]), (b"HTTP/1.0", [])):
        with front.connect() as connection:
            connection.send(front.request("o", b"Connection: close", version=version))
            with scripted.accept() as peer:
                read_until(peer, b"\r\n\r\n")
                peer.sendall(hints + b"HTTP/1.1 102 Processing\r\n\r\n" + final[:20])
                peer.sendall(final[20:-2] + b"ok")
                response = connection.read_response()
                assert [interim.status for interim in response.interim] == expected
                assert response.body == b"ok"
                if expected:
                    assert response.interim[0].get(b"link") == b"</a>; rel=preload"
                    assert response.interim[0].get(b"x-hop") is None
                connection.expect_close()
            front.until(lambda: front.proxy.metric("fastcache_origin_pool_connections") == 0, "it was not reused")


def test_a_101_nobody_asked_for_is_502(start_front: StartFront, scripted: ScriptedOrigin) -> None:
    front = start_front(endpoint=scripted.endpoint)
    with front.connect() as connection:
        connection.send(front.request("o", b"Upgrade: websocket", b"Connection: upgrade"))
        with scripted.accept() as peer:
            assert b"pgrade" not in read_until(peer, b"\r\n\r\n")
            peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
            response = connection.read_response()
    assert response.status == 502


def test_a_waiting_client_of_a_refused_request_is_told_at_once(front: Front) -> None:
    with front.connect() as connection:
        connection.send(front.request("o", EXPECT, b"Content-Length: 5", method=b"PUT", host=b"evil.store"))
        response = connection.read_response(b"PUT")
        assert (response.status, response.interim) == (400, ())


def test_an_upload_and_a_download_through_one_connection_in_turns(front: Front) -> None:
    front.origin.control.synthetic("bkt", "turns", MIB)
    with front.connect() as connection:
        for n in range(5):
            take_turn(front, connection, n)


def take_turn(front: Front, connection: RawConnection, n: int) -> None:
    body = bytes([n]) * (300_000 + n)
    connection.send(front.request(f"turn-{n}", method=b"PUT", body=body))
    assert connection.read_response(b"PUT").status == 200
    connection.send(front.request("turns") + front.request(f"turn-{n}"))
    assert connection.read_response().body == content("turns", 0, MIB)
    assert connection.read_response().body == body
