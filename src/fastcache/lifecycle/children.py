"""The supervisor's view of its processes: how they are born, what they say, and that they are gone."""

from __future__ import annotations

import asyncio
import enum
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping

from fastcache.errors import ConfigError, FastcacheError
from fastcache.lifecycle.channel import Channel
from fastcache.lifecycle.inherited import CHANNEL
from fastcache.lifecycle.messages import Ask, Birth, Born, Draining, Ended, Failed, Ready, Role, Told, Warm
from fastcache.observe.snapshot import GaugeSample

_log = logging.getLogger("fastcache.lifecycle")


class ChildDiedError(FastcacheError):
    """A process ended before it was ready."""


class State(enum.StrEnum):
    STARTING = "starting"
    READY = "ok"
    DRAINING = "draining"
    GONE = "gone"


class Child:
    """One process, from the wish to have it until it is gone."""

    def __init__(
        self, birth: Birth, channel: Channel, leaves: Callable[[Child], None], gone: Callable[[Child], None]
    ) -> None:
        """``leaves``: told when it drains although nobody asked it to; ``gone``: when it is dead."""
        self.birth = birth
        self.pid = 0
        self.state = State.STARTING
        self.ready_at = 0.0
        """Loop time; 0 while it is not."""
        self.is_leaving = False
        """Whether it is to end."""
        self._channel = channel
        self._on_leave = leaves
        self._on_gone = gone
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._draining, self._gone = asyncio.Event(), asyncio.Event()
        self._pidfd = -1
        self._asked = 0
        self._answers: dict[int, asyncio.Future[list[GaugeSample] | None]] = {}
        channel.setblocking(False)
        self._loop.add_reader(channel.fileno(), self._receive)

    @property
    def name(self) -> str:
        """For the log."""
        return name_of(self.birth.role, self.birth.slot)

    # -- what it is told and asked

    def send(self, message: object) -> None:
        if self.state is not State.GONE and not self._channel.send(message):
            _log.debug("process %d does not take a %s", self.pid, type(message).__name__)

    def leave(self, message: object) -> None:
        """Tell it to end."""
        self.is_leaving = True
        self.send(message)

    def kill(self) -> None:
        """It had its time."""
        if self._pidfd >= 0 and self.state is not State.GONE:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def gauges(self, seconds: float) -> list[GaugeSample] | None:
        """Its gauges now; None when it does not answer in time."""
        self._asked += 1
        number = self._asked
        answer = self._answers[number] = self._loop.create_future()
        self.send(Ask(number))
        try:
            await asyncio.wait({answer}, timeout=seconds)
            return answer.result() if answer.done() else None
        finally:
            del self._answers[number]

    # -- what is waited for

    async def ready(self, seconds: float) -> None:
        """Returns when it accepts connections. Raises ConfigError with its reason if it cannot, else ChildDiedError."""
        done, _ = await asyncio.wait({self._ready}, timeout=seconds)
        if not done:
            raise ChildDiedError(f"{self.name} was not ready within {seconds:g} s")
        self._ready.result()

    async def draining(self) -> None:
        """Returns when it accepts no more connections, or is gone."""
        await self._draining.wait()

    async def gone(self) -> None:
        await self._gone.wait()

    # -- what happens

    def born(self, pid: int, pidfd: int) -> None:
        self.pid, self._pidfd = pid, pidfd
        self._loop.add_reader(pidfd, self._ended)

    def stillborn(self) -> None:
        """It was never born, or the nursery died and did not tell."""
        self._ended()

    def _receive(self) -> None:
        while self.state is not State.GONE:
            try:
                received = self._channel.receive()
            except BlockingIOError:
                return
            if received is None:
                self._loop.remove_reader(self._channel.fileno())  # its end is told by the pidfd
                return
            self._take(received[0])

    def _take(self, message: object) -> None:
        if isinstance(message, Ready):
            self.ready_at = self._loop.time()
            self.state = State.DRAINING if self.is_leaving else State.READY
            if not self._ready.done():
                self._ready.set_result(None)
        elif isinstance(message, Failed):
            self._refuse(ConfigError(message.reason))
        elif isinstance(message, Draining):
            self.state = State.DRAINING
            self._draining.set()
            if not self.is_leaving:
                self.is_leaving = True
                self._on_leave(self)
        elif isinstance(message, Told):
            answer = self._answers.get(message.number)
            if answer is not None and not answer.done():
                answer.set_result(message.gauges)

    def _refuse(self, error: Exception) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # whoever waits is told; nobody need wait

    def _ended(self) -> None:
        self._receive()  # what it said last
        self.state = State.GONE
        self._loop.remove_reader(self._channel.fileno())
        self._channel.close()
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result(None)
        self._refuse(ChildDiedError(f"{self.name} ended before it was ready"))
        self._draining.set()
        self._gone.set()
        self._on_gone(self)


def name_of(role: Role, slot: int) -> str:
    """What an operator knows a process by."""
    return f"worker {slot}" if role is Role.WORKER else f"the {role}"


def _ending(status: int) -> str:
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


class Nursery:
    """The process that bears the others. When it dies another one is started; its children live on."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, tuple[Child, Mapping[str, int]]] = {}
        self._born: dict[int, Child] = {}
        self._closed = False
        self._start()

    def _start(self) -> None:
        self._warm = asyncio.Event()
        self._channel, theirs = Channel.pair()
        self._channel.setblocking(False)
        self._process = subprocess.Popen(
            # -P: `python -m` would otherwise look for modules in the directory that we were started in.
            [sys.executable, "-P", "-m", "fastcache.lifecycle.nursery", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=self._environ,
        )
        theirs.close()
        self._loop.add_reader(self._channel.fileno(), self._receive)

    @property
    def pid(self) -> int:
        return self._process.pid

    def bear(
        self,
        birth: Birth,
        given: Mapping[str, int],
        leaves: Callable[[Child], None],
        gone: Callable[[Child], None],
    ) -> Child:
        """A new process with copies of the descriptors ``given``. It takes some milliseconds, more while the nursery
        itself begins."""
        ours, theirs = Channel.pair()
        child = Child(birth, ours, leaves, gone)
        self._waiting[birth.incarnation] = child, {**given, CHANNEL: os.dup(theirs.fileno())}
        theirs.close()
        if self._warm.is_set():
            self._ask_for(birth.incarnation)
        return child

    def call_off(self) -> None:
        """Those that were not asked for yet need not be born any more."""
        if not self._warm.is_set():
            self._give_up_waiting()

    def _give_up_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for child, given in waiting.values():
            os.close(given[CHANNEL])
            child.stillborn()

    def _ask_for(self, incarnation: int) -> None:
        child, given = self._waiting[incarnation]
        self._channel.send(child.birth, [given[name] for name in child.birth.descriptors])

    def _receive(self) -> None:
        while not self._closed:
            try:
                received = self._channel.receive()
            except BlockingIOError:
                return
            if received is None:
                self._restart()
                return
            self._take(*received)

    def _take(self, message: object, fds: list[int]) -> None:
        if isinstance(message, Warm):
            self._warm.set()
            for incarnation in list(self._waiting):
                self._ask_for(incarnation)
        elif isinstance(message, Born):
            child, given = self._waiting.pop(message.incarnation)
            os.close(given[CHANNEL])
            self._born[message.incarnation] = child
            child.born(message.pid, fds[0])
        elif isinstance(message, Ended):
            child = self._born.pop(message.incarnation)
            if message.status:
                _log.error("%s, process %d, %s", child.name, child.pid, _ending(message.status))

    def _restart(self) -> None:
        self._loop.remove_reader(self._channel.fileno())
        self._channel.close()
        status = self._process.wait()
        _log.error("the nursery is gone (%d): starting another one", status)
        self._born.clear()  # how they end nobody tells
        self._start()
        self._give_up_waiting()  # should one of them live, the end of its channel ends it

    async def close(self) -> None:
        """End it; its children are told by whoever had them born."""
        self._closed = True
        self._loop.remove_reader(self._channel.fileno())
        self._channel.close()
        await asyncio.to_thread(self._process.wait)
