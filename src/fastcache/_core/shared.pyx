"""The memory that all processes of one supervisor share: fences, changes of files, a few words and counters of each.

What lies where, and who may write it, is told in shared.pxd; in which order accesses are seen, in atomics.h.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint64_t
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap

import enum
import os
import struct

from fastcache._core.fences cimport checked, fc_load, fc_raise, fc_store, fc_stripe

from fastcache._core.fences import Fences
from fastcache._core.names import NAMES_BYTES

cdef extern from "fill_claims.h" nogil:
    ctypedef struct fc_claims:
        uint64_t tickets


class Cell(enum.IntEnum):
    """The words of a place. Written by the process that has it, but for those that say otherwise."""

    BYTES = CELL_BYTES
    """Of the cache directory: bytes that this process answers for, because the keeper does not count them (yet)."""
    ACKNOWLEDGED = CELL_ACKNOWLEDGED
    """Written by the keeper: the number of the latest report of this process that it has acted upon."""
    INCARNATION = CELL_INCARNATION
    """Written by the supervisor before the process exists: which process this is; never 0, never used twice."""
    LISTENING = CELL_LISTENING
    """1 more than the worker slot whose connections it accepts; 0 when it accepts none."""
    CONNECTIONS = CELL_CONNECTIONS
    """Client connections open in the process."""
    HANDED = CELL_HANDED
    """Raised by others: connections that were handed to the worker slot of this place."""
    TAKEN = CELL_TAKEN
    """How many of them it has taken over."""
    EVICTIONS = CELL_EVICTIONS
    """In the keeper's place: how often it has evicted something, of which others may hold descriptors."""
    STAGED = CELL_STAGED
    """Bytes of uploads that the process has taken and not committed."""


cdef uint64_t whole_pages(uint64_t size):
    return (size + FC_SHARED_PAGE - 1) // FC_SHARED_PAGE * FC_SHARED_PAGE


def create(Py_ssize_t places, Py_ssize_t number_bytes):
    """A descriptor of new memory for so many processes at a time; it closes at exec. The caller owns it.

    ``number_bytes``: of one process's counters and histograms.
    """
    cdef uint64_t end = FC_SHARED_PAGE
    if places <= 0 or number_bytes <= 0:
        raise ValueError("there must be a place, and numbers in it")
    sizes = {
        FC_SECTION_FENCES: sizeof(fc_fences),
        FC_SECTION_CHANGES: FC_CHANGES * sizeof(uint64_t),
        FC_SECTION_CELLS: places * FC_CELLS * sizeof(uint64_t),
        FC_SECTION_NAMES: NAMES_BYTES,
        FC_SECTION_NUMBERS: places * whole_pages(number_bytes),
        FC_SECTION_GENERATIONS: (1 + FC_GENERATIONS) * sizeof(uint64_t),
        FC_SECTION_CLAIMS: sizeof(fc_claims),
    }
    table = []
    for section in range(FC_SECTIONS):
        size = sizes.get(section, 0)
        table += [end if size else 0, size]
        end += whole_pages(size)
    fd = os.memfd_create("fastcache", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, end)
        # Nobody else has it yet, so that the header needs no order.
        os.pwrite(fd, struct.pack(f"={4 + len(table)}Q", FC_SHARED_MAGIC, end, places, number_bytes, *table), 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


cdef class SharedMemory:
    """What ``create`` made, mapped into this process. ``fd`` stays the caller's and may be closed afterwards.

    A memoryview of it is all of its bytes, writable; ``numbers`` and ``names`` are the parts that are used so.
    """

    def __cinit__(self, int fd):
        cdef void *address
        self.base = NULL
        size = os.fstat(fd).st_size
        # A shorter file would turn a read behind its end into SIGBUS.
        if size < <Py_ssize_t>sizeof(fc_shared):
            raise ValueError("too short for shared memory")
        address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if address == MAP_FAILED:
            raise OSError(errno, os.strerror(errno))
        self.base = <char *>address
        self.length = size
        self.header = <fc_shared *>address
        if self.header.magic != FC_SHARED_MAGIC or self.header.size != self.length:
            raise ValueError("the file does not hold shared memory")
        self.change_counters = <uint64_t *>(self.base + self.header.sections[FC_SECTION_CHANGES].offset)
        self.cells = <uint64_t *>(self.base + self.header.sections[FC_SECTION_CELLS].offset)
        self.places = <Py_ssize_t>self.header.places
        self.fd = fd

    def __dealloc__(self):
        if self.base != NULL:
            munmap(self.base, self.length)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.base, <Py_ssize_t>self.length, 0, flags)

    def fences(self):
        """The fences in it."""
        return Fences(self.fd, self.header.sections[FC_SECTION_FENCES].offset)

    def names(self):
        """The bytes in which the names of counters are kept."""
        return self._section(FC_SECTION_NAMES)

    def numbers(self, Py_ssize_t place):
        """The bytes of one place's counters and histograms; IndexError when there is no such place."""
        if not 0 <= place < self.places:
            raise IndexError(place)
        size = whole_pages(self.header.number_bytes)
        return self._section(FC_SECTION_NUMBERS)[place * size:(place + 1) * size]

    def _section(self, int section):
        start = self.header.sections[section].offset
        return memoryview(self)[start:start + self.header.sections[section].size]

    # -- changes of files

    def changes(self, bytes digest):
        """How often files of an object with such a digest were changed."""
        cdef bytes known = checked(digest)
        return fc_load(&self.change_counters[fc_stripe(<const uint8_t *>known)])

    def changed(self, bytes digest):
        """Count one more change; how many there were before."""
        cdef bytes known = checked(digest)
        return fc_raise(&self.change_counters[fc_stripe(<const uint8_t *>known)])

    # -- cells

    cdef uint64_t *cell_at(self, Py_ssize_t place, int cell) except NULL:
        if not 0 <= place < self.places:
            raise IndexError(place)
        if not 0 <= cell < FC_CELLS:
            raise IndexError(cell)
        return &self.cells[place * FC_CELLS + cell]

    def get(self, Py_ssize_t place, int cell):
        """A word of a place; IndexError when there is none."""
        return fc_load(self.cell_at(place, cell))

    def set(self, Py_ssize_t place, int cell, uint64_t value):
        """Write a word, by the only one who does."""
        fc_store(self.cell_at(place, cell), value)

    def add(self, Py_ssize_t place, int cell):
        """Raise a word by one, by any of several; its value before."""
        return fc_raise(self.cell_at(place, cell))

    def total(self, int cell):
        """The sum of a word over all places."""
        return sum(self.get(place, cell) for place in range(self.places))

    def clear(self, Py_ssize_t place):
        """Forget the words of a process that is dead; its counters stay."""
        for cell in range(FC_CELLS):
            fc_store(self.cell_at(place, cell), 0)
