"""Is what came what should have come? Every byte of an answer's body against the bytes it must have, without the GIL."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp


cdef int64_t _where(const unsigned char* left, const unsigned char* right, int64_t length) noexcept nogil:
    """The first index at which they differ, -1 when they do not."""
    cdef int64_t i
    if memcmp(left, right, length) == 0:
        return -1
    for i in range(length):
        if left[i] != right[i]:
            return i
    return -1


cdef int64_t _where_in_block(
    const Content* content, int64_t offset, const unsigned char* got, int64_t length
) noexcept nogil:
    """Like first_difference for bytes that are all in one block of a pattern."""
    cdef int64_t at = offset % content.block, i = 0, found
    cdef uint64_t stamp = content.salt + <uint64_t>(offset // content.block)
    while i < length and at + i < content.stamp:
        if got[i] != <unsigned char>(stamp >> (8 * (at + i))):
            return i
        i += 1
    found = _where(content.data + (content.rotation + offset + i) % content.size, got + i, length - i)
    return -1 if found < 0 else i + found


cdef int64_t first_difference(const Content* content, int64_t offset, const unsigned char* got, int64_t length) noexcept nogil:
    """The index in ``got``, which came from ``offset`` of the object, of the first wrong byte; -1 if there is none."""
    cdef int64_t done = 0, step, found
    if content.block == 0:
        step = max(<int64_t>0, min(length, content.size - offset))
        found = _where(content.data + offset, got, step)
        return found if found >= 0 or step == length else step
    while done < length:
        step = min(length - done, content.block - (offset + done) % content.block)
        found = _where_in_block(content, offset + done, got + done, step)
        if found >= 0:
            return done + found
        done += step
    return -1


cdef class Expected:
    """The bytes of an object. Holds the buffer it was given until it goes."""

    def __cinit__(self, *args, **kwargs):
        self.held = False

    cdef int _hold(self, object data) except -1:
        if self.held:
            raise RuntimeError("already initialised")
        PyObject_GetBuffer(data, &self.view, PyBUF_SIMPLE)
        self.held = True
        self.content.data = <const unsigned char*>self.view.buf
        self.content.size = self.view.len
        return 0

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    def first_difference(self, int64_t offset, data):
        """The index of the first byte of ``data`` that is not the object's from ``offset`` on; None: all are."""
        cdef Py_buffer view
        cdef int64_t found
        if offset < 0:
            raise ValueError("a negative offset")
        if not self.held:
            raise RuntimeError("not initialised")
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            with nogil:
                found = first_difference(&self.content, offset, <const unsigned char*>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        return None if found < 0 else found


cdef class ExpectedBytes(Expected):
    """An object that is known in whole: ``data`` may be bytes or a mapped file."""

    def __init__(self, data):
        self._hold(data)
        self.content.block = 0


cdef class ExpectedPattern(Expected):
    """A table that repeats every ``period`` bytes, from ``rotation`` on, with ``salt`` + the block's number as ``stamp``
    little-endian bytes at the head of every ``block`` bytes.

    ``table`` must hold one block more than the period, so that no comparison wraps.
    """

    def __init__(self, table, *, int64_t period, int64_t rotation, uint64_t salt, int64_t block, int64_t stamp):
        if not (0 < period and 0 <= rotation < period and 0 <= stamp <= 8 and stamp < block):
            raise ValueError("these numbers make no pattern")
        self._hold(table)
        if self.content.size < period + block:
            raise ValueError(f"a table of {self.content.size} bytes is too short")
        self.content.size = period
        self.content.rotation = rotation
        self.content.salt = salt
        self.content.block = block
        self.content.stamp = stamp
