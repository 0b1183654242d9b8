"""A coroutine after each step of which the connections get their turn.

With many requests at the engine, the loop runs one step of each before it looks at sockets again: a hit would wait for
all of them. Draining after every step, not only at a request's end, is what keeps hits' latency that of one step.
"""

from collections.abc import Coroutine


cdef class Ticked:
    """Wraps ``coroutine`` for a task of the reactor's loop; asyncio takes it for a coroutine.

    Ownership: holds the coroutine and the reactor until it is gone itself. A drain never runs another task's step: what
    it hands over starts tasks, which the loop runs later.
    """

    def __cinit__(self, coroutine not None, Reactor reactor not None):
        self.coroutine = coroutine
        self.reactor = reactor

    def send(self, value):
        """One step, then the connections' turn."""
        try:
            return self.coroutine.send(value)
        finally:
            self.reactor.drain()

    def throw(self, *error):
        """One step that begins with an exception, then the connections' turn."""
        try:
            return self.coroutine.throw(*error)
        finally:
            self.reactor.drain()

    def close(self):
        """End the coroutine."""
        self.coroutine.close()

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return self.send(None)

    def __repr__(self):
        return f"<Ticked {self.coroutine!r}>"

    @property
    def cr_frame(self):
        return self.coroutine.cr_frame

    @property
    def cr_code(self):
        return self.coroutine.cr_code

    @property
    def cr_running(self):
        return self.coroutine.cr_running

    @property
    def cr_await(self):
        return self.coroutine.cr_await


Coroutine.register(Ticked)
