# Packing and unpacking run in the tier's I/O threads, with the GIL and on Python objects: nothing is offered to C.
from libc.stdint cimport uint32_t

cdef uint32_t _crc(bytes data, Py_ssize_t length)
