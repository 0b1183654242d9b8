"""The sorted intervals of one generation; what may be done with them is in the ``.pxd``.

Two levels: chunks of up to 128 intervals, and above them a directory. A small index is one chunk, as large as it must
be, without a directory. What a look-up among a million waits for is memory that is in no cache, so it waits once: the
directory, which is small enough to stay cached, tells which sixteen intervals of which chunk to look at, and everything
of the sixteen is asked for at once.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memmove

from fastcache._core.interval_chunks cimport (
    CHUNK, DIRECTORY, GROUP, LINE, MARKS, SMALLEST, Chunk, Place, Span, aligned_alloc, chunk_bytes, count_up_to,
    move_tail, new_chunk, prefetch, spans_at, spans_of, starts_at, starts_of,
)


cdef struct Position:
    Chunk *chunk            # NULL in an empty index
    uint32_t number         # of the chunk in the directory
    uint32_t slot           # may be the chunk's count: behind its last interval


cdef inline int64_t *firsts_of(const IntervalIndex *index) noexcept nogil:
    """The directory's first starts; there must be a directory."""
    return <int64_t *>(index.directory + index.room)


cdef inline Chunk *chunk_at(const IntervalIndex *index, uint32_t number) noexcept nogil:
    return index.only if index.directory == NULL else index.directory[number].chunk


# -- finding

cdef inline Position locate(const IntervalIndex *index, int64_t offset) noexcept nogil:
    """The place behind the last interval that begins at ``offset`` or before, in that interval's chunk."""
    cdef Position at
    cdef uint32_t first
    at.chunk = index.only
    at.number = at.slot = 0
    if index.directory != NULL:
        offset = min(offset, <int64_t>(INT64_MAX - 1))  # nothing begins there, and it would match the marks of no group
        at.number = count_up_to(firsts_of(index), index.chunks, offset)
        at.number -= at.number > 0
        at.chunk = index.directory[at.number].chunk
        first = count_up_to(index.directory[at.number].marks, MARKS, offset) * GROUP
        prefetch(starts_at(at.chunk, CHUNK) + first, GROUP * sizeof(int64_t))
        prefetch(spans_at(at.chunk, CHUNK) + first, GROUP * sizeof(Span))
        at.slot = first + count_up_to(
            starts_at(at.chunk, CHUNK) + first, min(at.chunk.count - first, <uint32_t>GROUP), offset
        )
    elif at.chunk != NULL:
        at.slot = count_up_to(starts_of(at.chunk), at.chunk.count, offset)
    return at


cdef inline bint step_on(const IntervalIndex *index, Position *at) noexcept nogil:
    """Move ``at`` from behind a chunk's last interval to the next chunk's first; False when no interval is there."""
    if at.chunk != NULL and at.slot == at.chunk.count and at.number + 1 < index.chunks:
        at.number += 1
        at.slot = 0
        at.chunk = chunk_at(index, at.number)
    return at.chunk != NULL and at.slot < at.chunk.count


cdef inline void read_at(Position at, IndexedInterval *out) noexcept nogil:
    out.start = starts_of(at.chunk)[at.slot]
    out.end = spans_of(at.chunk)[at.slot].end
    out.item = spans_of(at.chunk)[at.slot].item


cdef bint index_find(const IntervalIndex *index, int64_t offset, IndexedInterval *out) noexcept nogil:
    cdef Position at = locate(index, offset)
    if at.slot == 0:
        return False
    at.slot -= 1
    read_at(at, out)
    return out.end > offset


cdef bint index_after(const IntervalIndex *index, int64_t offset, IndexedInterval *out) noexcept nogil:
    cdef Position at = locate(index, offset)
    if not step_on(index, &at):
        return False
    read_at(at, out)
    return True


cdef int64_t index_next_start(const IntervalIndex *index, int64_t offset, int64_t default) noexcept nogil:
    cdef IndexedInterval found
    return min(default, found.start) if index_after(index, offset, &found) else default


cdef int index_cover(
    const IntervalIndex *index, int64_t start, int64_t end, IndexedInterval *out, int capacity
) noexcept nogil:
    cdef int count = 0
    while start < end:
        if count == capacity:
            return COVER_MORE
        if not index_find(index, start, &out[count]):
            return COVER_GAP
        start = out[count].end
        count += 1
    return count


cdef bint index_next(const IntervalIndex *index, IndexCursor *cursor, IndexedInterval *out) noexcept nogil:
    cdef Position at
    if cursor.chunk >= index.chunks:
        return False
    at.chunk = chunk_at(index, cursor.chunk)
    at.slot = cursor.slot
    read_at(at, out)
    cursor.slot += 1
    if cursor.slot == at.chunk.count:
        cursor.chunk += 1
        cursor.slot = 0
    return True


# -- memory

cdef void note_starts(IntervalIndex *index, uint32_t number, uint32_t slot) noexcept nogil:
    """Tell the directory that a chunk's starts from ``slot`` on have changed, or how many they are."""
    cdef Chunk *chunk = chunk_at(index, number)
    cdef uint32_t group
    if index.directory == NULL or chunk.count == 0:
        return
    if slot == 0:
        firsts_of(index)[number] = starts_of(chunk)[0]
    for group in range(max(slot // GROUP, <uint32_t>1), MARKS + 1):
        index.directory[number].marks[group - 1] = (
            starts_of(chunk)[group * GROUP] if group * GROUP < chunk.count else INT64_MAX
        )


cdef bint resize_only(IntervalIndex *index, uint32_t capacity) noexcept nogil:
    """Put the intervals of a small index into a chunk of another size; False without memory, nothing changed then."""
    cdef Chunk *chunk = new_chunk(capacity)
    if chunk == NULL:
        return False
    move_tail(index.only, 0, chunk)
    free(index.only)
    index.only = chunk
    return True


cdef bint resize_directory(IntervalIndex *index, uint32_t room) noexcept nogil:
    """Give the directory (a new one too) ``room`` for chunks; False without memory, nothing is changed then."""
    cdef IntervalIndex before = index[0]
    cdef Place *directory = <Place *>aligned_alloc(LINE, room * (sizeof(Place) + sizeof(int64_t)))
    if directory == NULL:
        return False
    index.directory = directory
    index.room = room
    if before.directory == NULL:
        directory[0].chunk = index.only
        index.only = NULL
        note_starts(index, 0, 0)
    else:
        memcpy(directory, before.directory, index.chunks * sizeof(Place))
        memcpy(firsts_of(index), firsts_of(&before), index.chunks * sizeof(int64_t))
        free(before.directory)
    return True


cdef void move_places(IntervalIndex *index, uint32_t source, uint32_t target) noexcept nogil:
    """Move what the directory says of the chunks from ``source`` on."""
    cdef int64_t *firsts = firsts_of(index)
    cdef uint32_t behind = index.chunks - source
    memmove(index.directory + target, index.directory + source, behind * sizeof(Place))
    memmove(firsts + target, firsts + source, behind * sizeof(int64_t))


cdef void drop_chunk(IntervalIndex *index, uint32_t number) noexcept nogil:
    """Free a chunk whose intervals are gone. One chunk that is left alone needs no directory."""
    free(chunk_at(index, number))
    if index.directory == NULL:
        index.only = NULL
        index.chunks = 0
        return
    move_places(index, number + 1, number)
    index.chunks -= 1
    if index.chunks == 1:
        index.only = index.directory[0].chunk
        free(index.directory)
        index.directory = NULL
        index.room = 0
    elif index.room > DIRECTORY and index.chunks <= index.room // 4:
        resize_directory(index, index.room // 2)  # without memory it stays as large as it is


cdef void index_init(IntervalIndex *index) noexcept nogil:
    index.count = 0
    index.only = NULL
    index.directory = NULL
    index.chunks = index.room = 0


cdef void index_free(IntervalIndex *index) noexcept nogil:
    cdef uint32_t number
    for number in range(index.chunks):
        free(chunk_at(index, number))
    free(index.directory)
    index_init(index)


cdef size_t index_bytes(const IntervalIndex *index) noexcept nogil:
    cdef size_t total = index.room * (sizeof(Place) + sizeof(int64_t))
    cdef uint32_t number
    for number in range(index.chunks):
        total += chunk_bytes(chunk_at(index, number).capacity)
    return total


# -- changing

cdef bint split(IntervalIndex *index, Position *at) noexcept nogil:
    """Make room at ``at`` in a full chunk by moving its upper half to a new one; False without memory."""
    cdef Chunk *upper = new_chunk(CHUNK)
    # Intervals that come in ascending order leave full chunks behind.
    cdef uint32_t kept = CHUNK if at.slot == CHUNK and at.number + 1 == index.chunks else CHUNK // 2
    if upper == NULL:
        return False
    if index.chunks >= index.room and not resize_directory(index, max(index.room * 2, <uint32_t>DIRECTORY)):
        free(upper)
        return False
    move_tail(at.chunk, kept, upper)
    move_places(index, at.number + 1, at.number + 2)
    index.directory[at.number + 1].chunk = upper
    index.chunks += 1
    note_starts(index, at.number, kept)
    note_starts(index, at.number + 1, 0)
    if at.slot > kept or kept == CHUNK:
        at.number += 1
        at.slot -= kept
        at.chunk = upper
    return True


cdef inline void write_at(IntervalIndex *index, Position at, int64_t start, int64_t end, void *item) noexcept nogil:
    starts_of(at.chunk)[at.slot] = start
    spans_of(at.chunk)[at.slot].end = end
    spans_of(at.chunk)[at.slot].item = item
    note_starts(index, at.number, at.slot)


cdef bint insert_at(IntervalIndex *index, Position at, int64_t start, int64_t end, void *item) noexcept nogil:
    """False without memory; nothing is changed then."""
    cdef uint32_t behind
    if at.chunk == NULL:
        at.chunk = index.only = new_chunk(SMALLEST)
        if at.chunk == NULL:
            return False
        index.chunks = 1
    elif at.chunk.count == CHUNK:
        if not split(index, &at):
            return False
    elif at.chunk.count == at.chunk.capacity:
        if not resize_only(index, at.chunk.capacity * 2):
            return False
        at.chunk = index.only
    behind = at.chunk.count - at.slot
    memmove(starts_of(at.chunk) + at.slot + 1, starts_of(at.chunk) + at.slot, behind * sizeof(int64_t))
    memmove(spans_of(at.chunk) + at.slot + 1, spans_of(at.chunk) + at.slot, behind * sizeof(Span))
    at.chunk.count += 1
    index.count += 1
    write_at(index, at, start, end, item)
    return True


cdef bint merge(IntervalIndex *index, uint32_t number) noexcept nogil:
    """Move a chunk's intervals to the one before it; False when the two would be too full to stay one for long."""
    cdef Chunk *left = chunk_at(index, number - 1)
    cdef Chunk *right = chunk_at(index, number)
    cdef uint32_t joint = left.count
    if left.count + right.count > CHUNK * 3 // 4:
        return False
    move_tail(right, 0, left)
    note_starts(index, number - 1, joint)
    drop_chunk(index, number)
    return True


cdef void remove_at(IntervalIndex *index, Position at) noexcept nogil:
    cdef Chunk *chunk = at.chunk
    cdef uint32_t behind = chunk.count - at.slot - 1
    memmove(starts_of(chunk) + at.slot, starts_of(chunk) + at.slot + 1, behind * sizeof(int64_t))
    memmove(spans_of(chunk) + at.slot, spans_of(chunk) + at.slot + 1, behind * sizeof(Span))
    chunk.count -= 1
    index.count -= 1
    if chunk.count == 0:
        drop_chunk(index, at.number)
        return
    if index.directory == NULL:
        if chunk.capacity > SMALLEST and chunk.count <= chunk.capacity // 4:
            resize_only(index, chunk.capacity // 2)  # without memory it stays as large as it is
        return
    note_starts(index, at.number, at.slot)
    if chunk.count <= CHUNK // 2 and not (at.number > 0 and merge(index, at.number)):
        if at.number + 1 < index.chunks:
            merge(index, at.number + 1)


cdef int index_add(IntervalIndex *index, int64_t start, int64_t end, void *item) noexcept nogil:
    cdef Position at = locate(index, start)
    cdef Position following
    if at.slot > 0 and spans_of(at.chunk)[at.slot - 1].end >= end:
        return INDEX_CONTAINED
    following = at
    if at.slot > 0 and starts_of(at.chunk)[at.slot - 1] == start:
        following.slot -= 1  # shorter than the new one
    elif not step_on(index, &following) or spans_of(following.chunk)[following.slot].end > end:
        return INDEX_ADDED if insert_at(index, at, start, end, item) else INDEX_NO_MEMORY
    # The first that lies within makes place for the new one, so that nothing can fail any more.
    write_at(index, following, start, end, item)
    while True:
        following = locate(index, start)
        if not step_on(index, &following) or spans_of(following.chunk)[following.slot].end > end:
            return INDEX_ADDED
        remove_at(index, following)


cdef bint index_remove(IntervalIndex *index, int64_t start, const void *item) noexcept nogil:
    cdef Position at = locate(index, start)
    if at.slot == 0:
        return False
    at.slot -= 1
    if starts_of(at.chunk)[at.slot] != start or spans_of(at.chunk)[at.slot].item != item:
        return False
    remove_at(index, at)
    return True
