# The chunks of an interval index and what its directory says of them: their layout, and what is done within one.
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy


cdef enum:
    CHUNK = 128             # intervals in a full chunk
    GROUP = 16              # of them are looked at together
    MARKS = CHUNK // GROUP - 1
    LINE = 64               # bytes of a line of the cache
    SMALLEST = 2            # in the first one
    DIRECTORY = 8           # chunks a new directory has room for

cdef struct Chunk:
    # Followed by `capacity` starts and as many Spans, in a chunk of full size aligned to lines. Never empty between two
    # calls.
    uint32_t count
    uint32_t capacity

cdef struct Span:
    int64_t end
    void *item

cdef struct Place:
    # Of one chunk in the directory, a line. The directory is `room` of these and behind them as many first starts.
    Chunk *chunk
    int64_t marks[MARKS]    # the first start of each group but the first group; INT64_MAX for one that is empty


cdef extern from * nogil:
    void *aligned_alloc(size_t alignment, size_t size)
    void __builtin_prefetch(const void *address)


cdef inline size_t head_bytes(uint32_t capacity) noexcept nogil:
    return LINE if capacity == CHUNK else sizeof(Chunk)


cdef inline int64_t *starts_at(const Chunk *chunk, uint32_t capacity) noexcept nogil:
    """For one whose capacity is known without looking."""
    return <int64_t *>(<char *>chunk + head_bytes(capacity))


cdef inline Span *spans_at(const Chunk *chunk, uint32_t capacity) noexcept nogil:
    return <Span *>(starts_at(chunk, capacity) + capacity)


cdef inline int64_t *starts_of(const Chunk *chunk) noexcept nogil:
    return starts_at(chunk, chunk.capacity)


cdef inline Span *spans_of(const Chunk *chunk) noexcept nogil:
    return spans_at(chunk, chunk.capacity)


cdef inline uint32_t count_up_to(const int64_t *values, uint32_t count, int64_t offset) noexcept nogil:
    """How many of the ascending ``values`` (one at least) are ``offset`` or less."""
    cdef uint32_t base = 0
    cdef uint32_t half
    while count > 1:
        half = count >> 1
        base += half if values[base + half - 1] <= offset else 0
        count -= half
    return base + (values[base] <= offset)


cdef inline void prefetch(const void *memory, size_t size) noexcept nogil:
    cdef size_t line
    for line in range(size // LINE):
        __builtin_prefetch(<const char *>memory + line * LINE)


cdef inline size_t chunk_bytes(uint32_t capacity) noexcept nogil:
    return head_bytes(capacity) + capacity * (sizeof(int64_t) + sizeof(Span))


cdef inline Chunk *new_chunk(uint32_t capacity) noexcept nogil:
    cdef size_t size = chunk_bytes(capacity)
    cdef Chunk *chunk = <Chunk *>(aligned_alloc(LINE, size) if capacity == CHUNK else malloc(size))
    if chunk != NULL:
        chunk.count = 0
        chunk.capacity = capacity
    return chunk


cdef inline void move_tail(Chunk *source, uint32_t first, Chunk *target) noexcept nogil:
    """Append the intervals of ``source`` from slot ``first`` on to those of ``target``, which has room for them."""
    cdef uint32_t moved = source.count - first
    memcpy(starts_of(target) + target.count, starts_of(source) + first, moved * sizeof(int64_t))
    memcpy(spans_of(target) + target.count, spans_of(source) + first, moved * sizeof(Span))
    target.count += moved
    source.count = first
