# The Linux calls that only the load generator makes; the others are in net.pxd.
from posix.time cimport timespec

cdef extern from "<sys/socket.h>" nogil:
    cdef struct iovec:
        void* iov_base
        size_t iov_len
    cdef struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    ssize_t sendmsg(int, const msghdr*, int)
    enum:
        MSG_TRUNC

cdef extern from "<poll.h>" nogil:
    cdef struct pollfd:
        int fd
        short events
        short revents
    int ppoll(pollfd*, unsigned long, const timespec*, const void*)
    enum:
        POLLIN
