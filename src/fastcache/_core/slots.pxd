# A ring of connection slots, each in it at most once, and nothing that allocates after the start.
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free

from fastcache._core.connection cimport Connection
from fastcache._core.handles cimport held

cdef extern from "<assert.h>" nogil:
    void c_assert "assert" (bint)  # in builds with assertions; it ends the process

cdef enum QueueMark:
    # In `Connection.queued`: the queues that hold the slot.
    IN_RUN = 1
    IN_REQUESTS = 2
    IN_WRITABLE = 4
    IN_READABLE = 8
    IN_ABORTED = 16

cdef struct SlotQueue:
    uint32_t* slots              # a power of two of places, one for each slot at least; from queue_init to queue_free
    uint32_t mask, head, tail
    uint8_t mark


cdef inline bint queue_init(SlotQueue* q, uint32_t size, uint8_t mark) noexcept:
    q.slots = <uint32_t*>calloc(size, sizeof(uint32_t))
    q.mask = size - 1
    q.head = q.tail = 0
    q.mark = mark
    return q.slots != NULL


cdef inline uint32_t queue_length(const SlotQueue* q) noexcept nogil:
    return q.tail - q.head


cdef inline void queue_push(SlotQueue* q, Connection* c) noexcept nogil:
    # Never overflows, however often connections come and go between two dispatches: an entry is the slot's, and its mark
    # outlives the connection that set it. Whoever has the slot when the entry is taken is asked what it wants.
    if c.queued & q.mark:
        return
    c_assert(queue_length(q) <= q.mask)
    c.queued |= q.mark
    q.slots[q.tail & q.mask] = c.slot
    q.tail += 1
    held.queued_slots += 1


cdef inline Connection* queue_pop(SlotQueue* q, Connection** table) noexcept nogil:
    cdef Connection* c = table[q.slots[q.head & q.mask]]
    c_assert(queue_length(q) > 0)
    q.head += 1
    c.queued &= ~q.mark
    held.queued_slots -= 1
    return c


cdef inline void queue_clear(SlotQueue* q) noexcept nogil:
    held.queued_slots -= queue_length(q)
    q.head = q.tail


cdef inline void queue_free(SlotQueue* q) noexcept nogil:
    queue_clear(q)
    free(q.slots)
    q.slots = NULL
