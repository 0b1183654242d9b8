"""Which interval of one generation holds a byte: for the engine, and for the compiled hit path without the GIL.

An index holds half-open intervals [start, end), 0 <= start <= end and start < INT64_MAX, none of which lies within
another: both starts and ends ascend strictly, though neighbours may overlap. Of those that hold a byte, the one with
the greatest start reaches farthest.

Ownership. The struct is embedded in the caller's own, set up by index_init and given back by index_free; it may be
moved by memcpy. Item pointers are the caller's: they are handed back, never followed, and whoever inserted one keeps
what it points to alive until the interval is removed, superseded or the index freed. What a look-up writes to `out` is
a copy, valid for as long as the caller's items are; nothing in it points into the index. No lock is taken: look-ups may
run side by side, a change excludes everything else (in fastcache: the loop's thread only).

Cost. Nothing is allocated for an empty index, 56 bytes for one or two intervals, then twice as much each time up to
chunks of 128 intervals (3,136 bytes). One interval of many takes 25 bytes when they came in ascending order, 37 when in
random order, 110 at most (and a chunk) after any sequence of removals. A look-up is three binary searches, the last
among 16 intervals. A change moves at most 3 KB, and once in 32 changes or more 72 bytes for each chunk behind the
changed one: 0.6 MB at the beginning of an index of a million.
"""

from libc.stdint cimport int64_t, uint32_t

from fastcache._core.interval_chunks cimport Chunk, Place


cdef enum IndexAdd:
    INDEX_ADDED = 1
    INDEX_CONTAINED = 0     # it lies within an interval that is there (one that is equal to it too)
    INDEX_NO_MEMORY = -1

cdef enum IndexCover:
    COVER_GAP = -1
    COVER_MORE = -2         # the capacity was used up

cdef struct IndexedInterval:
    int64_t start
    int64_t end
    void *item

cdef struct IntervalIndex:  # embedded by others, its fields are interval_index.pyx's
    Py_ssize_t count        # intervals; may be read by anyone
    Chunk *only             # all of them, as long as they are few; NULL when empty or when there is a directory
    Place *directory        # of two chunks or more
    uint32_t chunks
    uint32_t room

cdef struct IndexCursor:     # zeroed: before the first interval
    uint32_t chunk
    uint32_t slot

cdef void index_init(IntervalIndex *index) noexcept nogil

# Give all memory back. The index is empty then and may be used again. Items are not touched.
cdef void index_free(IntervalIndex *index) noexcept nogil

# Take in [start, end) and drop the intervals that lie within it; one that must know them asks index_after before.
# INDEX_CONTAINED and INDEX_NO_MEMORY change nothing.
cdef int index_add(IntervalIndex *index, int64_t start, int64_t end, void *item) noexcept nogil

# Drop the interval that begins at `start`, if it is the one of `item`: 1, or 0 when it is not here. Never fails.
cdef bint index_remove(IntervalIndex *index, int64_t start, const void *item) noexcept nogil

# 1 and, of the intervals that hold byte `offset`, the one that reaches farthest; 0 without one (`out` is scratch).
cdef bint index_find(const IntervalIndex *index, int64_t offset, IndexedInterval *out) noexcept nogil

# 1 and the first interval that begins after `offset` (-1 for the first of all); 0 when there is none.
cdef bint index_after(const IntervalIndex *index, int64_t offset, IndexedInterval *out) noexcept nogil

# 1 and the interval `cursor` stands before, which is moved behind it; 0 at the end. No change meanwhile.
cdef bint index_next(const IntervalIndex *index, IndexCursor *cursor, IndexedInterval *out) noexcept nogil

# Where the first interval after `offset` begins, at most `default`.
cdef int64_t index_next_start(const IntervalIndex *index, int64_t offset, int64_t default) noexcept nogil

# The fewest intervals that together hold all of [start, end), ascending in `out`: how many (0 when nothing is asked
# for), COVER_GAP when a byte is missing (`out` is scratch then), or COVER_MORE when `capacity` of them did not reach
# the end: these are in `out`, and the cover goes on from out[capacity - 1].end.
cdef int index_cover(
    const IntervalIndex *index, int64_t start, int64_t end, IndexedInterval *out, int capacity
) noexcept nogil

# The memory the index has allocated, in bytes, without the struct itself.
cdef size_t index_bytes(const IntervalIndex *index) noexcept nogil
