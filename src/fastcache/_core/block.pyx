"""Blocks of memory that network data is received into: writable buffers that nobody clears first."""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdlib cimport free, malloc

USUAL_SIZE = 262144


cdef class Block:
    """``size`` bytes (1 or more), not cleared. Raises MemoryError."""

    def __cinit__(self, Py_ssize_t size):
        if size <= 0:
            raise ValueError("a block has at least one byte")
        self.data = <char *>malloc(size)
        if self.data == NULL:
            raise MemoryError
        self.size = size

    def __dealloc__(self):
        free(self.data)

    def __len__(self):
        return self.size

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.size, 0, flags)
