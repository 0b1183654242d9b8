"""Names of counters' slots, which mean the same in every process that shares them; names.pxd tells how."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t, uintptr_t
from libc.string cimport memcpy

from fastcache._core.fences cimport fc_load, fc_raise, fc_store

NAMES_BYTES = NAMES_RECORD * (NAMES_SLOTS + 1)


cdef class Names:
    """The names in a writable buffer of NAMES_BYTES, all zero at first, kept exported. Not thread-safe."""

    def __cinit__(self, buffer):
        PyObject_GetBuffer(buffer, &self.view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self.taken = True
        if self.view.len < NAMES_BYTES or <uintptr_t>self.view.buf % sizeof(uint64_t):
            raise ValueError(f"names need {NAMES_BYTES} aligned bytes")
        self.base = <char *>self.view.buf
        self.slots = {}
        self.read_up_to = 0

    def __dealloc__(self):
        if self.taken:
            PyBuffer_Release(&self.view)

    def slot_of(self, bytes name not None):
        """The slot of ``name``, given now if it has none; None when all are given, or the name is too long."""
        cdef uint64_t claimed
        cdef char *record
        slot = self.slots.get(name)
        if slot is None:
            slot = self.look(name)
        if slot is not None or not 0 < len(name) <= NAMES_TEXT:
            return slot
        if fc_load(<uint64_t *>self.base) >= NAMES_SLOTS:
            return None
        claimed = fc_raise(<uint64_t *>self.base)
        if claimed >= NAMES_SLOTS:
            return None
        record = self.base + (claimed + 1) * NAMES_RECORD
        memcpy(record + sizeof(uint64_t), PyBytes_AS_STRING(name), len(name))
        fc_store(<uint64_t *>record, len(name))
        self.slots[name] = claimed
        return claimed

    def all(self):
        """Every slot that has a name, as (slot, name)."""
        cdef uint64_t slot, claimed = min(fc_load(<uint64_t *>self.base), <uint64_t>NAMES_SLOTS)
        found = []
        for slot in range(claimed):
            name = self._name_at(slot)
            if name is not None:
                found.append((slot, name))
        return found

    cdef object look(self, bytes name):
        """Take in what others have named since the last look."""
        cdef uint64_t slot, claimed = min(fc_load(<uint64_t *>self.base), <uint64_t>NAMES_SLOTS)
        cdef bint whole = True
        for slot in range(self.read_up_to, claimed):
            known = self._name_at(slot)
            if known is None:
                whole = False  # being written, or its writer died: look at it again
                continue
            self.slots.setdefault(known, slot)
            if whole:
                self.read_up_to = slot + 1
        return self.slots.get(name)

    def _name_at(self, uint64_t slot):
        cdef char *record = self.base + (slot + 1) * NAMES_RECORD
        cdef uint64_t length = fc_load(<uint64_t *>record)
        return PyBytes_FromStringAndSize(record + sizeof(uint64_t), length) if 0 < length <= NAMES_TEXT else None
