from fastcache._core.reactor cimport Reactor

cdef class Ticked:
    # Owned from __cinit__ on: the coroutine whose steps are taken, and the reactor that has its turn after each.
    cdef object coroutine
    cdef Reactor reactor
