"""The Python face of ``interval_index``: which items hold a byte, cover a range, leave gaps."""

from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport INT64_MAX, int64_t
from libc.string cimport memcpy

from fastcache._core.interval_index cimport (
    COVER_GAP, COVER_MORE, INDEX_CONTAINED, INDEX_NO_MEMORY, IndexCursor, IndexedInterval, IntervalIndex, index_add,
    index_after, index_bytes, index_cover, index_find, index_free, index_init, index_next, index_next_start,
    index_remove,
)

from fastcache.model import Interval


cdef extern from "Python.h":
    ctypedef int (*visitproc)(PyObject *, void *) noexcept
    ctypedef int (*traverseproc)(PyObject *, visitproc, void *) noexcept
    ctypedef int (*inquiry)(PyObject *) noexcept
    ctypedef struct PyTypeObject:
        traverseproc tp_traverse
        inquiry tp_clear

cdef enum:
    BATCH = 16      # pieces of a cover that are asked for at a time


cdef class Intervals:
    """Intervals ``[start, end)`` with an item each, none within another, in ascending order of both ends.

    Offsets are below 2**63 (OverflowError). The index is whole whenever other Python code could run in the midst of a
    call (an item's finalizer, a garbage collection); iteration is over the items that were there when it began.
    """

    def __cinit__(self):
        index_init(&self.index)

    def __dealloc__(self):
        release(self)

    def __iter__(self):
        return iter(snapshot(self))

    def __len__(self):
        return self.index.count

    def __sizeof__(self):
        return object.__sizeof__(self) + index_bytes(&self.index)

    def add(self, int64_t start, int64_t end, item):
        """Take ``[start, end)`` in; what is no longer needed is returned.

        That is the items of the intervals that lie within it, or ``item`` itself when it lies within one that is there
        already. Raises ValueError for what is no interval: it begins at 0 or later and below 2**63 - 1.
        """
        cdef list superseded = []
        cdef IndexedInterval found
        cdef int64_t last
        cdef int outcome
        if start < 0 or end < start or start == INT64_MAX:
            raise ValueError(f"not an interval: [{start}, {end})")
        last = start - 1
        while index_after(&self.index, last, &found) and found.end <= end:
            superseded.append(<object>found.item)
            last = found.start
        outcome = index_add(&self.index, start, end, <void *>item)
        if outcome == INDEX_CONTAINED:
            return [item]
        if outcome == INDEX_NO_MEMORY:
            raise MemoryError
        Py_INCREF(item)
        for item in superseded:
            Py_DECREF(item)
        return superseded

    def remove(self, int64_t start, item):
        """Forget the interval of ``item``, which begins at ``start``; False when it is not here."""
        if not index_remove(&self.index, start, <void *>item):
            return False
        Py_DECREF(item)
        return True

    def clear(self):
        """Forget all; their items, ascending."""
        cdef list items = snapshot(self)
        release(self)
        return items

    def covered_until(self, int64_t offset):
        """The end of the interval that holds byte ``offset`` and reaches farthest, or ``offset`` itself."""
        cdef IndexedInterval found
        return found.end if index_find(&self.index, offset, &found) else offset

    def next_start(self, int64_t offset, int64_t default):
        """Where the first interval after ``offset`` begins, at most ``default``."""
        return index_next_start(&self.index, offset, default)

    def gaps(self, interval):
        """The parts of ``interval`` that no interval holds, ascending."""
        cdef int64_t offset = interval.start
        cdef int64_t end = interval.end
        cdef int64_t following
        cdef IndexedInterval found
        cdef list gaps = []
        while offset < end:
            if index_find(&self.index, offset, &found):
                offset = found.end
                continue
            following = index_next_start(&self.index, offset, end)
            gaps.append(Interval(offset, following))
            offset = following
        return gaps

    def cover(self, interval):
        """The items of the fewest intervals that hold all of ``interval``, ascending; None when there is a gap."""
        cdef IndexedInterval pieces[BATCH]
        cdef int64_t offset = interval.start
        cdef int64_t end = interval.end
        cdef int count = COVER_MORE
        cdef int i
        cdef list chosen = []
        while count == COVER_MORE:
            count = index_cover(&self.index, offset, end, pieces, BATCH)
            if count == COVER_GAP:
                return None
            for i in range(BATCH if count == COVER_MORE else count):
                chosen.append(<object>pieces[i].item)
            offset = pieces[BATCH - 1].end if count == COVER_MORE else end
        return chosen

    def _lookups(self, bytes offsets):
        """For measuring what a C caller pays: how many of ``offsets`` (int64, native) an interval holds."""
        return count_held(&self.index, offsets, len(offsets) // sizeof(int64_t))


cdef list snapshot(Intervals intervals):
    """The items, ascending. No Python code runs while they are read: appending to a list starts no collection."""
    cdef list items = []
    cdef IndexCursor cursor = IndexCursor(0, 0)
    cdef IndexedInterval found
    while index_next(&intervals.index, &cursor, &found):
        items.append(<object>found.item)
    return items


cdef void release(Intervals intervals) noexcept:
    """Empty the index, and only then let the items go: what their end sets off may use the index again."""
    cdef IntervalIndex taken = intervals.index
    cdef IndexCursor cursor = IndexCursor(0, 0)
    cdef IndexedInterval found
    index_init(&intervals.index)
    while index_next(&taken, &cursor, &found):
        Py_DECREF(<object>found.item)
    index_free(&taken)


# Cython shows the garbage collector the fields of a type that are objects. The items are behind a pointer, so these two
# show it those, and go around Cython's own in the type.

cdef int traverse(PyObject *intervals, visitproc visit, void *arg) noexcept:
    cdef const IntervalIndex *index = &(<Intervals>intervals).index
    cdef IndexCursor cursor = IndexCursor(0, 0)
    cdef IndexedInterval found
    cdef int stop = traverse_fields(intervals, visit, arg)
    while not stop and index_next(index, &cursor, &found):
        stop = visit(<PyObject *>found.item, arg)
    return stop


cdef int clear(PyObject *intervals) noexcept:
    release(<Intervals>intervals)
    return clear_fields(intervals)


cdef PyTypeObject *intervals_type = <PyTypeObject *>Intervals
cdef traverseproc traverse_fields = intervals_type.tp_traverse
cdef inquiry clear_fields = intervals_type.tp_clear
intervals_type.tp_traverse = traverse
intervals_type.tp_clear = clear


cdef Py_ssize_t count_held(const IntervalIndex *index, const char *offsets, size_t count) noexcept nogil:
    cdef Py_ssize_t held = 0
    cdef IndexedInterval found = IndexedInterval(0, 0, <void *>index)
    cdef int64_t offset
    cdef size_t i
    for i in range(count):
        memcpy(&offset, offsets + i * sizeof(int64_t), sizeof(int64_t))
        # No item is NULL, but the processor must wait for it: look-ups that overlap would seem faster than one is.
        held += index_find(index, offset + (found.item == NULL), &found)
    return held
