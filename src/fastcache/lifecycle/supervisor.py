"""The process that is started: it holds what must outlive the others, starts, watches and replaces them.

Signals: SIGTERM and SIGINT drain and end it, SIGHUP reads the settings again and starts a new generation of processes
with them, SIGUSR1 opens log files again. When it is killed itself, the others notice: workers serve what they have
begun, at most for ``timeouts.drain``, and end; only then is the cache directory free for another supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Coroutine

import uvloop

from fastcache import __version__
from fastcache._core.shared import Cell
from fastcache.errors import ConfigError, FastcacheError
from fastcache.lifecycle.addresses import url_of
from fastcache.lifecycle.backing_off import BackOff
from fastcache.lifecycle.children import Child, Nursery, State, name_of
from fastcache.lifecycle.estate import SUPERVISOR, Estate
from fastcache.lifecycle.messages import Birth, Died, Drain, Reopen, Role
from fastcache.lifecycle.notify import Notifier
from fastcache.lifecycle.overview import Numbers, described
from fastcache.lifecycle.reloading import effective
from fastcache.lifecycle.schema import Settings
from fastcache.lifecycle.shares import worker_count
from fastcache.observe import log
from fastcache.observe.catalogue import GAUGES
from fastcache.server.admin import AdminServer
from fastcache.server.health import Health, Status
from fastcache.server.listener import address_of

_log = logging.getLogger("fastcache.lifecycle")

_READY_WITHIN = 60.0
_GRACE = 20.0
"""Seconds that a process has, beyond the drain limit, for giving back what it holds."""
_KEEPER = -1
"""The keeper's key among the processes; the workers' are their slots."""


def run(load: Callable[[], Settings], settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. ConfigError when an address or the directory is not to be
    had. ``load`` reads the settings again."""
    log.configure(settings.log_level, settings.log_format)
    for notice in settings.notices:
        _log.info("%s", notice)
    uvloop.run(Supervisor(load, settings).run())
    return 0


class Supervisor:
    """One instance of fastcache, for its whole life."""

    def __init__(self, load: Callable[[], Settings], settings: Settings) -> None:
        self._load = load
        self._settings = settings
        self._count = worker_count(settings)
        self._notifier = Notifier(os.environ)
        self._status = Status.STARTING
        self._children: dict[int, Child] = {}
        """Those that are to live, by slot."""
        self._leaving: set[Child] = set()
        """Those that were told to end and have not yet."""
        self._back_offs: dict[int, BackOff] = {}
        self._held_back: set[int] = set()
        self._incarnations = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()

    async def run(self) -> None:
        """Start everything, see to it, and end it."""
        self._handle_signals()
        async with contextlib.AsyncExitStack() as stack:
            self._estate = Estate(self._settings, self._count)
            stack.callback(self._estate.close)
            self._numbers = Numbers(self._estate.memory, SUPERVISOR)
            self._register_gauges()
            self._nursery = Nursery(os.environ)
            stack.push_async_callback(self._nursery.close)
            admin = AdminServer(self._settings.admin_host, self._settings.admin_port, self.health, self)
            await admin.start()
            stack.push_async_callback(admin.stop)
            stack.push_async_callback(self._end_all)
            await self._start_all()
            if not self._stop.is_set():
                self._begin(admin.port)
                await self._stop.wait()
            self._notifier.stopping()
        _log.info("stopped")
        self._ignore_signals()

    def _begin(self, admin_port: int) -> None:
        """All are ready: say so, and see to them from now on."""
        url = url_of(*address_of(self._estate.listeners[0]))
        print(f"listening on {url} (admin {url_of(self._settings.admin_host, admin_port)})", flush=True)
        _log.info("fastcache %s serves %s", __version__, self._settings.endpoint)
        self._status = Status.OK
        self._notifier.ready()
        self._spawn(self._keep_alive())
        self._spawn(self._follow_reloads())

    # -- signals

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        self._handlers = {
            signal.SIGTERM: self._stop.set,
            signal.SIGINT: self._stop.set,
            signal.SIGHUP: self._reload.set,
            signal.SIGUSR1: self._reopen,
        }
        for number, handler in self._handlers.items():
            loop.add_signal_handler(number, handler)

    def _ignore_signals(self) -> None:
        # The loop takes its handlers away when it is closed; a signal between that and the end of the process would
        # be its exit status.
        for number in self._handlers:
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    def _reopen(self) -> None:
        for child in self._everyone():
            child.send(Reopen())

    # -- processes

    def _everyone(self) -> list[Child]:
        return [*self._children.values(), *self._leaving]

    def _workers(self) -> list[Child]:
        return [child for key, child in self._children.items() if key != _KEEPER]

    def _bear(self, key: int, settings: Settings) -> Child:
        role = Role.KEEPER if key == _KEEPER else Role.WORKER
        self._incarnations += 1
        place = self._estate.place_for(role)
        self._estate.memory.set(place, Cell.INCARNATION, self._incarnations)
        given = self._estate.descriptors(role, key)
        birth = Birth(
            role,
            self._incarnations,
            place,
            key,
            self._count,
            settings,
            self._estate.store_id,
            tuple(given),
        )
        return self._nursery.bear(birth, given, self._on_leave, self._on_gone)

    def _keys(self) -> list[int]:
        return [*([_KEEPER] if self._settings.cache else []), *range(self._count)]

    async def _start_all(self) -> None:
        for key in self._keys():
            self._children[key] = self._bear(key, self._settings)
        starting = asyncio.ensure_future(_all_ready(self._everyone()))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if starting.done():
            starting.result()
        else:
            starting.cancel()

    def _on_gone(self, child: Child) -> None:
        """A process is dead: nobody else writes its words in the shared memory now, and nobody finishes its files."""
        self._estate.give_back(child.birth.place)
        keeper = self._children.get(_KEEPER)
        if keeper is not None and keeper is not child:
            keeper.send(Died(child.birth.incarnation, crashed=not child.is_leaving))
        self._leaving.discard(child)
        if self._children.get(child.birth.slot) is child and not child.is_leaving and self._is_serving():
            self._numbers.own.process_died(child.birth.role.value)
            self._spawn(self._replace(child))

    def _on_leave(self, child: Child) -> None:
        """A worker was asked to end by somebody else: another one accepts while it drains."""
        self._leaving.add(child)
        if self._children.get(child.birth.slot) is child and self._is_serving():
            self._spawn(self._replace(child))

    def _is_serving(self) -> bool:
        """Neither starting, when whoever waits for a process is told of its death, nor ending."""
        return self._status is not Status.STARTING and not self._stop.is_set()

    async def _replace(self, former: Child) -> None:
        key = former.birth.slot
        lived = asyncio.get_running_loop().time() - former.ready_at if former.ready_at else 0.0
        back_off = self._back_offs.setdefault(key, BackOff())
        delay = back_off.after_death(lived)
        if delay:
            self._held_back.add(key)
            _log.error("%s died at once, %d times: next start in %.1f s", _name(key), back_off.quick_deaths, delay)
            await asyncio.sleep(delay)
            self._held_back.discard(key)
        if self._stop.is_set() or self._children[key] is not former:
            return  # a reload was quicker
        child = self._children[key] = self._bear(key, self._settings)
        try:
            await child.ready(_READY_WITHIN)
        except FastcacheError as error:
            _log.error("%s: %s", _name(key), error)
            child.kill()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- reload

    async def _follow_reloads(self) -> None:
        """One after the other, and one for all signals that come meanwhile."""
        while True:
            await self._reload.wait()
            self._reload.clear()
            self._notifier.reloading()
            outcome = await self._reload_once()
            self._numbers.own.reloaded(outcome)
            self._notifier.ready()
            # There is one old generation at most: a further reload waits until it is gone.
            await self._see_off(list(self._leaving))

    async def _reload_once(self) -> str:
        try:
            settings = effective(self._settings, self._load())
        except ConfigError as error:
            _log.error("reload refused, the settings stay as they are: %s", "; ".join(str(error).splitlines()))
            return "refused"
        successors = {key: self._bear(key, settings) for key in range(self._count)}
        try:
            await _all_ready(list(successors.values()))
        except FastcacheError as error:
            _log.error("reload failed, the settings stay as they are: %s", error)
            for child in successors.values():
                self._let_go(child, succeeded=True)
            return "failed"
        log.configure(settings.log_level, settings.log_format)
        self._settings = settings
        for key, child in successors.items():
            predecessor, self._children[key] = self._children[key], child
            self._let_go(predecessor, succeeded=True)
        await self._replace_keeper()
        _log.info("reloaded")
        return "done"

    async def _replace_keeper(self) -> None:
        keeper = self._children.get(_KEEPER)
        if keeper is None:
            return
        self._let_go(keeper, succeeded=True)
        await self._see_off([keeper])  # two would both evict
        keeper = self._children[_KEEPER] = self._bear(_KEEPER, self._settings)

    def _let_go(self, child: Child, *, succeeded: bool) -> None:
        if child.state is not State.GONE:
            self._leaving.add(child)
            child.leave(Drain(succeeded))

    async def _see_off(self, children: list[Child]) -> None:
        """Wait until they are gone, and no longer than the drain limit allows them."""
        waiting = [asyncio.ensure_future(child.gone()) for child in children]
        if not waiting:
            return
        _, pending = await asyncio.wait(waiting, timeout=self._settings.timeouts.drain + _GRACE)
        if pending:
            _log.error("%d processes did not end and are killed", len(pending))
            for child in children:
                child.kill()
            await asyncio.wait(pending)

    # -- the end

    async def _end_all(self) -> None:
        self._stop.set()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        _log.info("draining")
        self._nursery.call_off()
        self._estate.stop_listening()
        keeper = self._children.pop(_KEEPER, None)
        for child in self._everyone():
            self._let_go(child, succeeded=False)
        leaving = list(self._leaving)
        await asyncio.gather(*(child.draining() for child in leaving))
        self._status = Status.DRAINING
        await self._see_off(leaving)
        if keeper is not None:
            self._let_go(keeper, succeeded=False)
            await self._see_off([keeper])

    # -- telling

    async def _keep_alive(self) -> None:
        if self._notifier.watchdog:
            while True:
                self._notifier.alive()
                await asyncio.sleep(self._notifier.watchdog / 2)

    async def health(self) -> Health:
        """What ``/health`` answers from."""
        everyone = sorted(self._everyone(), key=lambda child: child.birth.slot)
        reasons = tuple(f"{_name(key)} dies at once and is held back" for key in sorted(self._held_back))
        status = self._status
        if status is Status.OK and not any(child.state is State.READY for child in self._workers()):
            status = Status.FAILING
            reasons = (*reasons, "no worker accepts connections")
        return Health(status, reasons, await described(everyone))

    async def render(self) -> tuple[bytes, str]:
        """The exposition of all processes."""
        return await self._numbers.rendered(self._everyone())

    def _register_gauges(self) -> None:
        for name, value in {
            "fastcache_workers": lambda: sum(child.state is State.READY for child in self._workers()),
            "fastcache_workers_held_back": lambda: len(self._held_back - {_KEEPER}),
        }.items():
            self._numbers.own.gauge(name, GAUGES[name].help, value)


async def _all_ready(children: list[Child]) -> None:
    """Raises the first error of one that cannot begin."""
    await asyncio.gather(*(child.ready(_READY_WITHIN) for child in children))


def _name(key: int) -> str:
    return name_of(Role.KEEPER if key == _KEEPER else Role.WORKER, key)
