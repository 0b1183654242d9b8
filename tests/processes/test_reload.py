"""SIGHUP: settings are read again, processes are replaced by others, and no client notices."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.front.conftest import MIB, Front, content
from tests.gateway.conftest import Key, write_keys
from tests.harness import processes
from tests.harness.signing import signed_request
from tests.processes.conftest import StartFront, connections, log_of, until_logged
from tests.processes.reading import Reading


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "fastcache.yaml"


@pytest.fixture
def front(start_front: StartFront, config: Path) -> Front:
    config.write_text("authorization: none\nttl: 1h\n")
    return start_front("--workers", "2", "--config", str(config))


def reload(front: Front, times: int = 1) -> None:
    before = front.proxy.metric("fastcache_reloads_total", outcome="done")
    front.proxy.signal(signal.SIGHUP)
    front.until(
        lambda: front.proxy.metric("fastcache_reloads_total", outcome="done") == before + times, "the reload is done"
    )


def test_new_settings_count_for_all_workers(front: Front, config: Path) -> None:
    front.origin.control.synthetic("bkt", "o", 1000)
    with front.connect() as client:
        client.send(front.request("o") + front.request("o"))
        assert [client.read_response().get(b"x-cache") for _ in range(2)] == [b"MISS", b"HIT"]
    former = front.proxy.workers()
    config.write_text("authorization: revalidate\n")
    reload(front)
    front.until(lambda: len(front.proxy.health()["processes"]) == 3, "the old generation is gone")
    assert not set(front.proxy.workers().values()) & set(former.values())
    with connections(front) as clients:
        for client in clients:
            client.send(front.request("o"))
            assert client.read_response().get(b"x-cache") == b"REVALIDATED"


@pytest.mark.parametrize("text", ["ttl: 1h\nauthorization: sometimes\n", "ttl: [", "no-such-thing: 1\n"])
def test_settings_that_cannot_be_used_leave_everything_as_it_is(front: Front, config: Path, text: str) -> None:
    former = front.proxy.workers()
    before = log_of(front).count("\n")
    config.write_text(text)
    front.proxy.signal(signal.SIGHUP)
    until_logged(front, "reload refused")
    assert log_of(front).count("\n") == before + 1
    assert str(config) in log_of(front)
    assert front.proxy.workers() == former
    assert front.proxy.metric("fastcache_reloads_total", outcome="refused") == 1
    config.write_text("authorization: none\nttl: 2h\n")
    reload(front)


def test_keys_are_read_again_too_and_kept_when_they_cannot_be_used(
    start_front: StartFront, config: Path, tmp_path: Path
) -> None:
    """In every worker as soon as the reload is done, without the second that a look at the file may take."""
    keys = write_keys(tmp_path / "keys.yaml", [Key("RELOADONE", "first-secret")])
    config.write_text(f"authorization: verify\nkeys: {keys}\nttl: 1h\n")
    front = start_front("--workers", "2", "--config", str(config))
    front.origin.control.synthetic("bkt", "o", 1000)

    def results(access_key: str, secret_key: str) -> set[bytes | None]:
        request = signed_request("GET", f"{front.proxy.endpoint}/bkt/o", access_key, secret_key)
        found = set()
        with connections(front) as clients:
            for client in clients:
                client.send(request)
                found.add(client.read_response().get(b"x-cache"))
        return found

    results("RELOADONE", "first-secret")
    assert results("RELOADONE", "first-secret") == {b"HIT"}
    keys.write_text("- access_key: RELOADTWO\n")
    front.proxy.signal(signal.SIGHUP)
    until_logged(front, "reload refused")
    assert results("RELOADONE", "first-secret") == {b"HIT"}
    write_keys(keys, [Key("RELOADTWO", "second-secret")])
    reload(front)
    front.until(lambda: len(front.proxy.health()["processes"]) == 3, "the old generation is gone")
    results("RELOADTWO", "second-secret")
    assert results("RELOADTWO", "second-secret") == {b"HIT"}
    assert results("RELOADONE", "first-secret") == {b"REVALIDATED"}, "only the origin knows it"


def test_workers_that_cannot_begin_with_the_new_settings_do_not_replace_the_old(
    front: Front, config: Path, tmp_path: Path
) -> None:
    former = front.proxy.workers()
    config.write_text(f"authorization: none\naccess-log: all\naccess-log-file: {tmp_path}/missing/log\n")
    front.proxy.signal(signal.SIGHUP)
    until_logged(front, "reload failed")
    assert "access log" in log_of(front)
    assert front.proxy.workers() == former
    assert front.proxy.metric("fastcache_reloads_total", outcome="failed") == 1
    front.origin.control.synthetic("bkt", "o", 1000)
    with connections(front) as clients:
        for client in clients:
            client.send(front.request("o"))
            assert client.read_response().body == content("o", 0, 1000)
    front.until(lambda: len(front.proxy.health()["processes"]) == 3, "those that failed are gone")


def test_what_needs_a_restart_is_told_and_the_rest_taken_over(front: Front, config: Path) -> None:
    config.write_text("authorization: revalidate\nport: 1\nworkers: 3\n")  # the port is a flag's, which decides
    front.origin.control.synthetic("bkt", "o", 1000)
    reload(front)
    assert len(front.proxy.workers()) == 2
    config.write_text("authorization: revalidate\ncache: off\n")
    reload(front)
    assert "cache changed, which needs a restart" in log_of(front)


def test_connections_go_on_in_the_new_generation_without_a_byte_lost(front: Front) -> None:
    size = 8 * MIB
    front.origin.control.synthetic("bkt", ["o", "long"], size)
    front.origin.control.settings(bandwidth_connection=8 * MIB)
    with front.connect() as busy, front.connect() as typing, connections(front) as idle:
        for client in idle:
            client.send(front.request("o", b"Range: bytes=0-99"))
            assert client.read_response().body == content("o", 0, 100)
        busy.send(front.request("long"))
        head = busy.read_head()
        typing.send(b"GET /bkt/o HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes=0-9\r\n")
        front.until(lambda: front.proxy.metric("fastcache_open_connections") == 26, "all are connected")
        reload(front)
        for client in idle:
            client.send(front.request("o", b"Range: bytes=100-199"))
            response = client.read_response()
            assert response.body == content("o", 100, 200)
            assert response.get(b"connection") is None, "it is as good as before"
        typing.send(b"\r\n")
        response = typing.read_response()
        assert (response.body, response.get(b"connection")) == (content("o", 0, 10), b"close")
        typing.expect_close()
        assert busy.read_exactly(size, head) == content("long", 0, size)
        assert head.get(b"connection") is None
        busy.send(front.request("o", b"Range: bytes=0-9"))
        assert busy.read_response().body == content("o", 0, 10), "its answer did not say that it would end"
        front.until(lambda: front.proxy.metric("fastcache_open_connections") == 25, "they are counted once")
    front.until(lambda: front.proxy.metric("fastcache_client_connections_closed_total") == 26, "each ends once")
    assert front.proxy.metric("fastcache_client_connections_opened_total") == 26


def storm(front: Front, reloads: int) -> Reading:
    keys = [f"k{n}" for n in range(8)]
    front.origin.control.synthetic("bkt", keys, 300_000)
    with Reading(front, keys, 300_000) as reading:
        for _ in range(reloads):
            before = front.proxy.metric("fastcache_reloads_total", outcome="done")
            front.proxy.signal(signal.SIGHUP)
            processes.wait_until(
                lambda before=before: front.proxy.metric("fastcache_reloads_total", outcome="done") > before,  # type: ignore[misc]
                60,
                "a reload is done",
            )
    return reading


def test_no_request_fails_over_a_few_reloads(front: Front) -> None:
    reading = storm(front, 5)
    assert reading.failures == []
    assert reading.answers > 50


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_request_fails_over_a_hundred_reloads(front: Front) -> None:
    reading = storm(front, 100)
    assert reading.failures == []
    assert reading.answers > 5000
