"""Where leases are found: an index of names by open addressing, and the slots that they live in."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from fastcache._core.conditions cimport field_value
from fastcache._core.handles cimport held

import os


cdef extern from "leases.h" nogil:
    uint64_t fc_name_hash(const char* text, size_t length, uint64_t state, const uint64_t* key)


cdef inline bint same(FieldValue left, FieldValue right) noexcept nogil:
    return left.length == right.length and memcmp(left.text, right.text, left.length) == 0


cdef class LeaseIndex:
    """At most ``capacity`` leases, by Host and path. Base of ``Leases``, which documents the arguments."""

    def __cinit__(self, fences, uint32_t capacity, *args, **kwargs):
        cdef uint32_t i
        cdef uint64_t size = 8
        cdef bytes random
        if not 0 < capacity <= 1 << 24:
            raise ValueError("an index needs room")
        while size < 2 * <uint64_t>capacity:
            size *= 2
        self.capacity = self.free_count = capacity
        self.mask = size - 1
        self.places = <Place*>calloc(size, sizeof(Place))
        self.slots = <Lease**>calloc(capacity, sizeof(Lease*))
        self.generations = <uint32_t*>calloc(capacity, sizeof(uint32_t))
        self.free_slots = <uint32_t*>calloc(capacity, sizeof(uint32_t))
        self.released = <uint32_t*>calloc(capacity, sizeof(uint32_t))
        if (self.places == NULL or self.slots == NULL or self.generations == NULL or self.free_slots == NULL
                or self.released == NULL):
            raise MemoryError
        for i in range(capacity):
            self.free_slots[i] = capacity - 1 - i
            self.generations[i] = 1  # so that no id is 0
        random = os.urandom(16)
        memcpy(self.key, <const char*>random, 16)

    def __dealloc__(self):
        cdef uint32_t i
        if self.slots != NULL:
            for i in range(self.capacity):
                if self.slots[i] != NULL:
                    held.leases -= 1
                    held.leased_extents -= self.slots[i].extent_count
                    free(self.slots[i].extents)
                    free(self.slots[i])
        free(self.places)
        free(self.slots)
        free(self.generations)
        free(self.free_slots)
        free(self.released)

    def __len__(self) -> int:
        return self.capacity - self.free_count

    cdef Lease* of_id(self, uint64_t lease_id) noexcept nogil:
        cdef uint32_t slot = <uint32_t>lease_id
        if slot >= self.capacity or self.slots[slot] == NULL:
            return NULL
        return self.slots[slot] if self.slots[slot].generation == <uint32_t>(lease_id >> 32) else NULL

    cdef Lease* find(self, FieldValue host, FieldValue path) noexcept nogil:
        cdef uint64_t hash = fc_name_hash(path.text, path.length, fc_name_hash(host.text, host.length, 0, self.key), self.key)
        cdef uint64_t i = hash & self.mask
        cdef Lease* lease
        while self.places[i].slot:
            if self.places[i].hash == hash:
                lease = self.slots[self.places[i].slot - 1]
                if same(lease.path, path) and same(lease.host, host):
                    return lease
            i = (i + 1) & self.mask
        return NULL

    cdef void let_go(self, Lease* lease) noexcept nogil:
        lease.refs -= 1
        if lease.refs == 0:
            self.released[self.released_count] = lease.slot
            self.released_count += 1

    cdef void unlink(self, Lease* lease) noexcept nogil:
        """Out of the index. Open addressing without tombstones: who probed past the place moves up."""
        cdef uint64_t hole = lease.hash & self.mask
        cdef uint64_t next, home
        while self.places[hole].slot != lease.slot + 1:
            hole = (hole + 1) & self.mask
        next = hole
        while True:
            next = (next + 1) & self.mask
            if not self.places[next].slot:
                break
            home = self.places[next].hash & self.mask
            if ((next - home) & self.mask) >= ((next - hole) & self.mask):
                self.places[hole] = self.places[next]
                hole = next
        self.places[hole].slot = 0
        lease.published = 0
        self.revoked += 1
        self.let_go(lease)

    cdef void _link(self, Lease* lease) noexcept nogil:
        cdef uint64_t i
        lease.hash = fc_name_hash(
            lease.path.text, lease.path.length, fc_name_hash(lease.host.text, lease.host.length, 0, self.key), self.key
        )
        i = lease.hash & self.mask
        while self.places[i].slot:
            i = (i + 1) & self.mask
        self.places[i].hash = lease.hash
        self.places[i].slot = lease.slot + 1
        lease.published = 1

    cdef Lease* _named(self, bytes host, bytes path) noexcept:
        return self.find(field_value(host), field_value(path))
