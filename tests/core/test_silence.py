"""A socket is silent while nothing has arrived, and looking takes nothing from it."""

from __future__ import annotations

import socket

from fastcache._core.silence import is_silent


def test_an_open_socket_is_silent_until_a_byte_arrives_and_keeps_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert is_silent(ours.fileno())
        theirs.send(b"x")
        assert not is_silent(ours.fileno())
        assert ours.recv(2) == b"x"
        assert is_silent(ours.fileno())


def test_an_end_is_told() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        assert not is_silent(ours.fileno())


def test_a_closed_socket_is_not_silent() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    ours.close()
    assert not is_silent(ours.fileno())
