# A ring of connection slots, and nothing that allocates after the start.
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free

from fastcache._core.handles cimport held

cdef extern from "<assert.h>" nogil:
    void c_assert "assert" (bint)  # in builds with assertions; it ends the process

cdef struct SlotQueue:
    uint32_t* slots              # a power of two of places; from queue_init to queue_free
    uint32_t mask, head, tail


cdef inline bint queue_init(SlotQueue* q, uint32_t size) noexcept:
    q.slots = <uint32_t*>calloc(size, sizeof(uint32_t))
    q.mask = size - 1
    q.head = q.tail = 0
    return q.slots != NULL


cdef inline uint32_t queue_length(const SlotQueue* q) noexcept nogil:
    return q.tail - q.head


cdef inline void queue_push(SlotQueue* q, uint32_t slot) noexcept nogil:
    # Never overflows: between two dispatches a slot is queued once for its present connection and, when that one was
    # freed by a callback and the slot reused, once more; the ring holds two places per slot.
    c_assert(queue_length(q) <= q.mask)
    q.slots[q.tail & q.mask] = slot
    q.tail += 1
    held.queued_slots += 1


cdef inline uint32_t queue_pop(SlotQueue* q) noexcept nogil:
    cdef uint32_t slot = q.slots[q.head & q.mask]
    c_assert(queue_length(q) > 0)
    q.head += 1
    held.queued_slots -= 1
    return slot


cdef inline void queue_clear(SlotQueue* q) noexcept nogil:
    held.queued_slots -= queue_length(q)
    q.head = q.tail


cdef inline void queue_free(SlotQueue* q) noexcept nogil:
    queue_clear(q)
    free(q.slots)
    q.slots = NULL
