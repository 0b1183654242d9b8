"""Looking at a socket that should be silent. Compiled, because the usual outcome would be an exception in Python."""
from libc.errno cimport EAGAIN, errno

from fastcache._core.net cimport MSG_DONTWAIT, MSG_PEEK, recv


def is_silent(int fd):
    """Whether the connected socket ``fd`` has neither a byte nor an end nor an error to tell. Nothing is taken from it."""
    cdef char octet
    return recv(fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) < 0 and errno == EAGAIN
