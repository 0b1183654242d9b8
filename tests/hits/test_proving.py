"""Hits about which the origin is asked first: in the hit branch when it consents, in the engine when it does not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.engine.conftest import Embed, read_answer, until
from tests.harness.clients import boto3_client
from tests.harness.processes import standing_still, wait_until
from tests.harness.proxy import FastcacheProcess
from tests.harness.swift import SwiftServer
from tests.hits.leased import Leased, leased
from tests.hits.test_answers import Client, comparable, value_of, warm
from tests.upstream.origins import sized

from fastcache._core import shared
from fastcache._core.generations import Generations, Lesson
from fastcache._core.handles import held_now
from fastcache._core.ordering import Latest
from fastcache._core.proving import Question
from fastcache._core.shared import SharedMemory
from fastcache.model import Result
from fastcache.origin.pattern import pattern

SIZE = 20_000
"""More than is kept in memory: it is sent from its file."""
PATIENCE = 1.0
"""Seconds for which the hit branch waits for the origin; then the engine does."""


def body(generation: int = 1) -> bytes:
    return pattern(b"o", generation, 0, SIZE)


@contextlib.asynccontextmanager
async def proving(embed: Embed, **flags: str) -> AsyncIterator[Client]:
    """A client whose next read of ``o`` is the hit branch's."""
    async with embed(**flags) as proxy:
        hits = proxy.worker.frontend._hits
        assert hits is not None
        proxy.origin.control.synthetic("bkt", "o", SIZE)
        client = Client(proxy, hits, *await proxy.connect())
        await warm(client, "o")
        yield client
        client.writer.close()


@contextlib.contextmanager
def silent_origin(client: Client) -> Iterator[Callable[[], Awaitable[None]]]:
    """The origin answers nobody before the block ends. What it yields waits until the hit branch has asked it."""
    passed_on = client.hits.passed_on

    def waits() -> bool:
        """Or it has waited in vain already."""
        return client.proxy.worker.frontend.reactor.answering() == 1 or client.hits.passed_on > passed_on

    with standing_still(client.proxy.origin.pid):
        yield lambda: until(waits, "the origin was asked")


async def proved(client: Client, fields: dict[str, str] | None = None) -> None:
    """Ask until the origin answers within the patience of the hit branch, whose answer it is then."""
    by_hit_branch = False
    while not by_hit_branch:
        began = time.monotonic()
        _, by_hit_branch = await client.ask("GET", "o", fields or {})
        assert by_hit_branch or time.monotonic() - began > PATIENCE


async def ask_raw(client: Client, *, engine: bool = False) -> bytes:
    """All that a client on a connection of its own gets; what was cut off ends with the word RESET."""
    reader, writer = await client.proxy.connect()
    raw = client.proxy.request("o")
    writer.write(raw.replace(b"\r\n\r\n", b"\r\nTE: trailers\r\n\r\n") if engine else raw)
    try:
        async with asyncio.timeout(20):
            head, content = await read_answer(reader)
            return head + content
    except (ConnectionError, asyncio.IncompleteReadError):
        return b"RESET"
    finally:
        writer.close()


async def ready(client: Client) -> None:
    """The hit branch has a lease, and a connection to the origin to use it on."""
    reader, writer = client.reader, client.writer
    if writer.is_closing() or reader.at_eof():
        client.reader, client.writer = await client.proxy.connect()
    await warm(client, "o")


# ---- what the origin may say


FAULTS: dict[str, list[dict[str, Any]]] = {
    "403": [{"kind": "status", "status": 403}],
    "404": [{"kind": "status", "status": 404}],
    "412": [{"kind": "status", "status": 412, "code": "PreconditionFailed"}],
    "500": [{"kind": "status", "status": 500}],
    "503": [{"kind": "status", "status": 503}],
    "307": [{"kind": "status", "status": 307, "headers": {"location": "http://elsewhere/"}}],
    "another etag in the 304": [{"kind": "etag", "value": '"other"'}],
    "a weak etag in the 304": [{"kind": "etag", "value": "weak"}],
    "a later date in the 304": [{"kind": "headers", "headers": {"last-modified": "Fri, 01 Jan 2100 00:00:00 GMT"}}],
    "another version in the 304": [{"kind": "headers", "headers": {"x-amz-version-id": "v2"}}],
    "the connection ends": [{"kind": "headers", "headers": {"connection": "close"}}],
    "cut before the answer": [{"kind": "cut"}],
    "cut in the head": [{"kind": "cut-head", "after": 30}],
    "garbage in the head": [{"kind": "garbage-head"}],
    "bytes behind the 304": [{"kind": "extra-bytes", "value": "surplus"}],
    "an answer behind the 304": [{"kind": "extra-bytes", "value": "HTTP/1.1 304 Not Modified\r\n\r\n"}],
    "200 with the same etag": [{"kind": "ignore-conditions"}],
    "200 cut in its body": [
        {"kind": "ignore-conditions"}, {"kind": "etag", "value": '"new"'}, {"kind": "cut-body", "after": 9000},
    ],
    "200 with another etag": [{"kind": "ignore-conditions"}, {"kind": "etag", "value": '"new"'}],
    "200 without a length": [{"kind": "ignore-conditions"}, {"kind": "framing", "value": "close"}],
    "200 in chunks": [{"kind": "ignore-conditions"}, {"kind": "framing", "value": "chunked"}],
}  # fmt: skip


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
async def test_whatever_the_origin_says_instead_the_client_gets_what_the_engine_would_give(
    embed: Embed, faults: list[dict[str, Any]]
) -> None:
    async with proving(embed) as client:
        control = client.proxy.origin.control
        outcomes = []
        for engine in (True, False):
            await ready(client)
            passed_on, before = client.hits.passed_on, control.requests()
            for fault in faults:
                control.fault(method="GET", key="o", **fault)
            answer = await ask_raw(client, engine=engine)
            assert control.faults() == []
            outcomes.append((comparable(answer), control.requests() - before))
            # What stands behind a 304 may come so late that the 304 alone was seen, and was consent.
            may_come_late = faults[0]["kind"] == "extra-bytes"
            assert client.hits.passed_on - passed_on == (not engine) or (may_come_late and not engine)
        # The origin has as much to do as if the hit branch had not asked, and no more.
        assert outcomes[0] == outcomes[1]
        await ready(client)
        assert (await client.ask("GET", "o", {}))[0].endswith(b"\r\n\r\n" + body())


@pytest.mark.parametrize("status", [400, 501])
async def test_an_origin_that_refuses_the_addition_is_not_asked_with_it_again(embed: Embed, status: int) -> None:
    async with proving(embed) as client:
        control = client.proxy.origin.control
        control.fault("status", method="GET", status=status)
        answer, by_hit_branch = await client.ask("GET", "o", {})
        assert not by_hit_branch
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\n" + body())
        control.reset()
        for _ in range(5):
            answer, by_hit_branch = await client.ask("GET", "o", {})
            assert (by_hit_branch, answer.endswith(b"\r\n\r\n" + body())) == (False, True)
        assert [entry["conditions"] for entry in control.log()] == [{}] * 5


async def test_an_origin_that_takes_its_time_is_waited_for_by_the_engine_as_long_as_it_may_take(embed: Embed) -> None:
    async with proving(embed) as client:
        client.proxy.origin.control.fault("latency", method="GET", seconds=PATIENCE + 0.8)
        passed_on = client.hits.passed_on
        answer, by_hit_branch = await client.ask("GET", "o", {})
        assert (by_hit_branch, client.hits.passed_on) == (False, passed_on + 1)
        assert b"X-Cache: REVALIDATED" in answer
    async with proving(embed, timeouts_first_byte="3s") as client:
        client.proxy.origin.control.fault("stall", method="GET", after=-1, seconds=60)
        began = time.monotonic()
        assert (await ask_raw(client)).startswith(b"HTTP/1.1 504 ")
        assert time.monotonic() - began >= 3.0  # counted from when the hit branch asked


async def test_a_connection_that_the_origin_closed_is_replaced_and_the_client_learns_nothing(embed: Embed) -> None:
    async with proving(embed) as client:
        for _ in range(3):
            assert client.proxy.origin.control.drop_connections() > 0
            answer, _ = await client.ask("GET", "o", {})
            assert b"X-Cache: REVALIDATED" in answer
            await ready(client)


class Narrow:
    """An origin that takes little at a time, and nothing while ``open`` is not set; it has one object."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.heads: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pending = b""
        while True:
            await self.open.wait()
            pending += (piece := await reader.read(512))
            if not piece:
                writer.close()
                return
            if b"\r\n\r\n" in pending:
                head, _, pending = pending.partition(b"\r\n\r\n")
                self.heads.append(head)
                known = b'If-None-Match: "e"' in head
                writer.write(b"HTTP/1.1 304 Not Modified\r\n\r\n" if known else sized(body(), extra=b'ETag: "e"\r\n'))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.bind(("127.0.0.1", 0))
            async with await asyncio.start_server(self.serve, sock=sock, limit=1024):
                yield f"http://127.0.0.1:{sock.getsockname()[1]}"


async def test_a_request_that_the_socket_does_not_take_whole_is_sent_to_its_end_by_the_engine(embed: Embed) -> None:
    origin = Narrow()
    async with origin.running() as endpoint, proving(embed, endpoint=endpoint) as client:
        (connection,) = client.proxy.worker.ctx.pool._connections
        connection._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        long = b"\r\nA: " + b"a" * 12_000 + b"\r\n\r\n"
        asked_before, passed_on = len(origin.heads), client.hits.passed_on
        questions: list[Question] = []
        frontend = client.proxy.worker.frontend
        go_on = frontend.on_question

        def note(cid: int, head: bytes, question: Question) -> None:
            questions.append(question)
            go_on(cid, head, question)

        frontend.on_question = note  # type: ignore[method-assign]
        origin.open.clear()
        client.writer.write(client.proxy.request("o").replace(b"\r\n\r\n", long))
        await until(lambda: client.hits.passed_on == passed_on + 1, "the engine has it")
        origin.open.set()
        async with asyncio.timeout(20):
            head, content = await read_answer(client.reader)
        assert b"X-Cache: REVALIDATED" in head
        assert content == body()
        del frontend.on_question
        (question,) = questions
        assert question.unsent
        assert question.kept.endswith(b'a\r\nIf-None-Match: "e"\r\n\r\n')
        assert [head.count(b"a" * 12_000) for head in origin.heads[asked_before:]] == [1]


# ---- what may happen meanwhile


async def test_one_request_is_one_question_and_is_counted_like_the_engines(embed: Embed, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    async with proving(embed, access_log="all", access_log_file=str(log)) as client:
        metrics, control = client.proxy.worker.ctx.metrics, client.proxy.origin.control

        def counted() -> list[int]:
            return [
                metrics.value("fastcache_origin_requests_total", "GET"),
                metrics.value("fastcache_origin_responses_total", "304"),
                metrics.value("fastcache_requests_total", "GET", "200", "REVALIDATED"),
                metrics.request_seconds[Result.REVALIDATED].count,
                control.requests(),
            ]

        answered = sum(metrics.value("fastcache_requests_total", "GET", "200", result) for result in Result)
        await until(lambda: log.read_text().count("\n") == answered, "what was answered until now is logged")
        before = counted()
        for engine in (True, False, True, False):
            began = time.monotonic()
            _, by_hit_branch = await client.ask("GET", "o", {}, engine=engine)
            assert by_hit_branch != engine or time.monotonic() - began > PATIENCE
        assert [now - then for now, then in zip(counted(), before, strict=True)] == [4] * 5
    lines = log.read_text().splitlines()[-4:]
    shown = [line.split('"GET /bkt/o HTTP/1.1" ')[1] for line in lines]
    assert len({tuple(field for at, field in enumerate(text.split(" ")) if at not in (4, 5)) for text in shown}) == 1
    assert all(" REVALIDATED 304 " in line for line in lines)


@pytest.mark.parametrize("how", ["raised fence", "raised bucket fence", "evicted", "unproved", "branch off"])
async def test_what_ends_a_lease_while_the_origin_is_asked_makes_the_answer_the_engines(embed: Embed, how: str) -> None:
    async with proving(embed) as client:
        ctx = client.proxy.worker.ctx
        assert ctx.store is not None
        object_id = ctx.object_id(b"bkt", b"o")
        before, passed_on = client.proxy.origin.control.requests(), client.hits.passed_on
        with silent_origin(client) as asked:
            answer = asyncio.create_task(client.ask("GET", "o", {}))
            await asked()
            if how == "raised fence":
                ctx.fences.raise_object(object_id)
            elif how == "raised bucket fence":
                ctx.fences.raise_bucket(object_id)
            elif how == "evicted":
                ctx.store.drop(object_id)
            elif how == "unproved":
                ctx.store.unvalidate(object_id)
            else:
                client.hits.switch(False)
        content, by_hit_branch = await answer
        assert (by_hit_branch, client.hits.passed_on) == (False, passed_on + 1)
        assert content.endswith(b"\r\n\r\n" + body())
        # Of what is gone a 304 is no use: it is asked for anew.
        assert client.proxy.origin.control.requests() - before == (2 if how == "evicted" else 1)


async def test_a_write_while_the_origin_is_asked_is_followed_by_no_old_proof(embed: Embed) -> None:
    async with proving(embed) as client:
        metrics = client.proxy.worker.ctx.metrics
        with silent_origin(client) as asked:
            answer = asyncio.create_task(client.ask("GET", "o", {}))
            await asked()
            reader, writer = await client.proxy.connect()
            writer.write(client.proxy.request("o", method="PUT", body=b"new"))
            await until(lambda: metrics.value("fastcache_origin_requests_total", "PUT") == 1, "it is forwarded")
        await read_answer(reader)
        writer.close()
        content, by_hit_branch = await answer
        assert not by_hit_branch
        assert content.endswith((b"\r\n\r\n" + body(), b"\r\n\r\nnew"))
        for _ in range(4):
            assert (await client.ask("GET", "o", {}))[0].endswith(b"\r\n\r\nnew")


async def test_an_older_answer_cannot_come_back_after_a_later_proof(embed: Embed) -> None:
    async with proving(embed) as client:
        ctx = client.proxy.worker.ctx
        assert ctx.store is not None
        entry = ctx.store.peek(ctx.object_id(b"bkt", b"o"))
        assert entry is not None
        assert entry.head is not None
        token, sent = ctx.fences.token(entry.object_id), ctx.next_sent()
        await proved(client)
        assert entry.sent > sent
        assert not ctx.store.validate(entry.object_id, token, sent, ctx.clock.boot())


async def test_what_another_worker_has_learnt_later_is_not_contradicted_and_what_all_know_is_learnt_again(
    embed: Embed,
) -> None:
    fd = shared.create(1, 8)
    generations = Generations(SharedMemory(fd))
    os.close(fd)
    async with proving(embed) as client:
        ctx = client.proxy.worker.ctx
        assert ctx.lessor is not None
        assert ctx.store is not None
        entry = ctx.store.peek(ctx.object_id(b"bkt", b"o"))
        assert entry is not None
        assert entry.head is not None
        digest, tag = entry.object_id.digest, entry.head.generation.tag
        ctx.lessor._generations = generations
        ctx.lessor.revoke_all()
        assert not (await client.ask("GET", "o", {}))[1]  # leased anew by the engine
        assert generations.learn(digest, tag, 1) is Lesson.KNOWN
        await ready(client)
        number = ctx.next_sent()
        await proved(client)
        # Nobody takes an answer now to a request that was sent before it.
        assert generations.learn(digest, b"other", number) is Lesson.OUTDATED
        later = ctx.next_sent() + 1000
        assert generations.learn(digest, b"other", later, True) is Lesson.KNOWN
        passed_on = client.hits.passed_on
        content, by_hit_branch = await client.ask("GET", "o", {})
        assert (by_hit_branch, client.hits.passed_on) == (False, passed_on + 1)
        assert content.endswith(b"\r\n\r\n" + body())
        assert generations.learn(digest, b"other", later) is Lesson.KNOWN


@pytest.mark.parametrize("end", ["reset", "close"])
async def test_a_client_that_leaves_while_the_origin_is_asked_leaves_nothing(
    embed: Embed, tmp_path: Path, end: str
) -> None:
    log = tmp_path / "access.log"
    async with proving(embed, access_log="all", access_log_file=str(log)) as client:
        ctx = client.proxy.worker.ctx
        reader, writer = await client.proxy.connect()
        with silent_origin(client) as asked:
            writer.write(client.proxy.request("o"))
            await asked()
            open_connections = ctx.pool.open_connections
            if end == "reset":
                sock: socket.socket = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                writer.transport.abort()
                await until(lambda: ctx.pool.open_connections < open_connections, "the origin's connection is dropped")
                assert held_now()["lent_origins"] == ctx.pool.open_connections == open_connections - 1
                counted = partial(ctx.metrics.value, "fastcache_requests_total", "GET", "499", "ERROR")
                await until(lambda: counted() == 1, "it is counted")
                await until(lambda: '"GET /bkt/o HTTP/1.1" 499 ' in log.read_text(), "it is logged")
            else:
                writer.write_eof()  # it has nothing more to say, and waits
        if end == "close":
            head, content = await read_answer(reader)
            assert content == body()
            assert b"X-Cache: REVALIDATED" in head
            writer.close()
        await ready(client)
        await proved(client)


async def test_a_client_that_ended_its_side_is_waited_for_no_longer_than_others(embed: Embed) -> None:
    async with proving(embed) as client:
        _, writer = await client.proxy.connect()
        ctx = client.proxy.worker.ctx
        with silent_origin(client) as asked:
            writer.write(client.proxy.request("o"))
            await asked()
            writer.write_eof()
            await until(lambda: ctx.requests_in_flight == 1, "the engine waits now")
            await until(lambda: ctx.requests_in_flight == 0, "the client counts as gone")
        writer.close()


async def test_a_server_that_drains_answers_what_it_has_asked_about(embed: Embed) -> None:
    async with proving(embed) as client:
        with silent_origin(client) as asked:
            answer = asyncio.create_task(client.ask("GET", "o", {}))
            await asked()
            drain = asyncio.create_task(client.proxy.worker.frontend.drain(20.0))
            await asyncio.sleep(0)
        assert await drain
        content, by_hit_branch = await answer
        assert not by_hit_branch
        assert b"\r\nConnection: close\r\n" in content
        assert content.endswith(b"\r\n\r\n" + body())


# ---- the pool's limits


async def test_who_waits_for_a_connection_gets_one_that_was_lent(embed: Embed) -> None:
    async with proving(embed) as client:
        pool = client.proxy.worker.ctx.pool
        assert (pool.open_connections, pool.idle_connections) == (1, 0)
        pool._slots = 0  # as if there were as many as there may be
        assert (await client.ask("GET", "o", {}, engine=True))[0].endswith(body())  # from the idle one
        await ready(client)
        began = time.monotonic()
        with silent_origin(client) as asked:
            mine = asyncio.create_task(client.ask("GET", "o", {}))
            await asked()
            theirs = asyncio.create_task(ask_raw(client, engine=True))  # from the one in use
            await until(lambda: pool.waiting == 1, "somebody waits")
        assert (await theirs).endswith(body())
        assert (await mine)[1] or time.monotonic() - began > PATIENCE
        assert pool.open_connections == 1


async def test_connections_that_are_not_used_end_with_the_pools_patience(embed: Embed) -> None:
    async with proving(embed, timeouts_pool_idle="1s") as client:
        pool = client.proxy.worker.ctx.pool
        assert held_now()["lent_origins"] == pool.open_connections == 1
        await until(lambda: pool.open_connections == 0, "it is closed")
        assert held_now()["lent_origins"] == 0
        assert (await client.ask("GET", "o", {}))[0].endswith(body())


async def test_no_more_connections_are_kept_than_the_pool_would_keep(embed: Embed) -> None:
    async with proving(embed) as client:
        proxy, pool = client.proxy, client.proxy.worker.ctx.pool
        most = pool._settings.max_idle
        for _ in range(3):
            proxy.origin.control.fault("latency", method="GET", seconds=0.3, count=most + 20)
            answers = await asyncio.gather(*(ask_raw(client) for _ in range(most + 20)))
            assert {comparable(answer) for answer in answers} == {comparable(answers[0])}
            proxy.origin.control.clear_faults()
            await until(lambda: pool.open_connections <= most, "the rest is closed")
        assert pool.open_connections == pool.idle_connections + held_now()["lent_origins"]


# ---- never without consent


async def test_a_lease_that_must_be_proved_is_never_answered_from_where_nobody_can_be_asked() -> None:
    async with leased() as stage:
        stage.recorder.answer = lambda cid, head: stage.recorder.reactor.close(cid)
        stage.publish(latest=Latest(), get_ttl=0.0, head_ttl=0.0)
        reader, writer = await asyncio.open_connection(*stage.address)
        writer.write(b"GET /b/k HTTP/1.1\r\nHost: h\r\n\r\n")
        assert await reader.read() == b""
        assert await stage.recorder.until("request")
        assert stage.hits.served == 0
        writer.close()
        _end(stage)


def _end(stage: Leased) -> None:
    stage.leases.revoke_all()
    stage.leases.take_released()


async def test_a_request_with_conditions_or_for_a_head_only_is_the_engines(embed: Embed) -> None:
    async with proving(embed) as client:
        head = (await client.ask("GET", "o", {}))[0]
        etag, modified = value_of(head, b"etag"), value_of(head, b"last-modified")
        for fields in (
            {"If-None-Match": etag}, {"If-None-Match": '"other"'}, {"If-Modified-Since": modified},
            {"If-Unmodified-Since": modified}, {"If-Match": "*"}, {"If-Match": f'{etag}, "other"'},
            {"If-Match": '"other"'}, {"Range": "bytes=0-1", "If-Range": etag}, {"Range": f"bytes={SIZE}-"},
            {"Range": "bytes=0-1,3-4"}, {"Cache-Control": "no-cache"}, {"Origin": "http://page"},
            {"x-amz-request-payer": "requester"}, {"x-amz-expected-bucket-owner": "1"},
        ):  # fmt: skip
            await ready(client)
            assert not (await client.ask("GET", "o", fields))[1], fields
        assert not (await client.ask("HEAD", "o", {}))[1]
        await ready(client)
        await proved(client, {"If-Match": etag})
        await proved(client, {"Range": "bytes=0-1"})


async def test_who_may_not_read_an_object_gets_the_origins_refusal_beside_who_may(embed: Embed) -> None:
    async with proving(embed) as client:
        control = client.proxy.origin.control
        forged = client.proxy.request("o").replace(b"Signature=", b"Signature=0")
        sent = control.body_sent("bkt", "o")
        before, refused = control.requests(), client.hits.passed_on
        for _ in range(20):
            reader, writer = await client.proxy.connect()
            writer.write(forged)
            (head, content), (mine, _) = await asyncio.gather(read_answer(reader), client.ask("GET", "o", {}))
            assert head.startswith(b"HTTP/1.1 403 ")
            assert body()[:9] not in content
            assert mine.endswith(body())
            writer.close()
        assert control.requests() == before + 40
        assert control.body_sent("bkt", "o") == sent
        assert client.hits.passed_on > refused


def test_two_accounts_of_swift_get_each_its_own_object_at_one_path(
    swift: SwiftServer, start_fastcache: Callable[..., FastcacheProcess]
) -> None:
    proxy = start_fastcache(swift.endpoint)
    mine, theirs = (
        boto3_client(proxy.endpoint, user.access_key, user.secret_key) for user in (swift.user, swift.other_user)
    )
    for client, content in ((mine, b"mine" * 100), (theirs, b"theirs" * 100)):
        client.create_bucket(Bucket="same-name")
        client.put_object(Bucket="same-name", Key="k", Body=content)

    def read(client: Any) -> bytes:
        content: bytes = client.get_object(Bucket="same-name", Key="k")["Body"].read()
        return content

    for _ in range(5):
        for _ in range(4):
            assert read(mine) == b"mine" * 100
        assert read(theirs) == b"theirs" * 100
    for outcome in ("answered", "passed_on"):
        counted = partial(proxy.metric, "fastcache_hit_branch_total", outcome=outcome)
        wait_until(lambda counted=counted: counted() > 0, 20, f"{outcome} by the hit branch")  # type: ignore[misc]
