"""Blocks of memory that network data is received into: writable buffers that nobody clears first."""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdlib cimport free, malloc

USUAL_SIZE = USUAL

cdef enum:
    USUAL = 262144
    MOST_KEPT = 16

cdef (char *)[MOST_KEPT] kept
cdef int kept_count = 0


cdef class Block:
    """``size`` bytes (1 or more), not cleared. Raises MemoryError."""

    def __cinit__(self, Py_ssize_t size):
        global kept_count
        if size <= 0:
            raise ValueError("a block has at least one byte")
        if size == USUAL and kept_count:
            kept_count -= 1
            self.data = kept[kept_count]
        else:
            self.data = <char *>malloc(size)
        if self.data == NULL:
            raise MemoryError
        self.size = size

    def __dealloc__(self):
        global kept_count
        if self.size == USUAL and kept_count < MOST_KEPT:
            kept[kept_count] = self.data
            kept_count += 1
        else:
            free(self.data)

    def __len__(self):
        return self.size

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.size, 0, flags)
