from fastcache._core.connection cimport Connection
from fastcache._core.net cimport sockaddr_in6
from fastcache._core.table cimport ACCEPTS_PER_EVENT, ConnectionTable


cdef struct Surplus:
    int fd                       # owned until the handler has taken it
    Py_ssize_t place             # of the worker that it is for


cdef class Accepting(ConnectionTable):
    cdef Surplus[ACCEPTS_PER_EVENT] surplus_fds
    cdef int surplus_count       # accepted, and to be handed on

    cdef void accept_all(self, int listener) noexcept nogil
    cdef Connection* take_in(self, int fd, const sockaddr_in6* address) noexcept nogil
    cdef bint admits(self, Connection* c) noexcept nogil
