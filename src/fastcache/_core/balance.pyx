"""Which worker of several a new connection goes to, by what each has published in shared memory."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastcache._core.fences cimport fc_load, fc_lower, fc_raise, fc_store
from fastcache._core.shared cimport (
    CELL_CONNECTIONS,
    CELL_HANDED,
    CELL_LISTENING,
    CELL_TAKEN,
    FC_CELLS,
    SharedMemory,
)

cdef enum:
    SLACK = 8  # an eighth more than the least loaded is even enough: handing on costs both sides a system call


cdef class Balance:
    """Our place among the workers. Until ``open`` and after ``shut`` the others hand us nothing."""

    def __init__(self, SharedMemory memory not None, Py_ssize_t place, Py_ssize_t slot):
        memory.cell_at(place, 0)
        if slot < 0:
            raise IndexError(slot)
        self.memory = memory
        self.place = place
        self.listening = <uint64_t>slot + 1
        self.published = 0

    def open(self):
        """We accept connections from now on."""
        fc_store(&self.memory.cells[self.place * FC_CELLS + CELL_LISTENING], self.listening)

    def shut(self):
        """We accept none any more."""
        fc_store(&self.memory.cells[self.place * FC_CELLS + CELL_LISTENING], 0)

    def load(self, Py_ssize_t place):
        """Connections of a place that accepts some, and those on their way to it; -1 when it accepts none."""
        self.memory.cell_at(place, 0)
        return self.load_of(place)

    def take_back(self, Py_ssize_t place):
        """A connection that was on its way to a place is not any more."""
        fc_lower(self.memory.cell_at(place, CELL_HANDED))

    cdef void publish(self, uint32_t connections) noexcept nogil:
        if connections != self.published:
            self.published = connections
            fc_store(&self.memory.cells[self.place * FC_CELLS + CELL_CONNECTIONS], connections)

    cdef void hand(self, Py_ssize_t place) noexcept nogil:
        """A connection is on its way to a place."""
        fc_raise(&self.memory.cells[place * FC_CELLS + CELL_HANDED])

    cdef int64_t load_of(self, Py_ssize_t place) noexcept nogil:
        cdef uint64_t *cells = &self.memory.cells[place * FC_CELLS]
        if not fc_load(&cells[CELL_LISTENING]):
            return -1
        return <int64_t>fc_load(&cells[CELL_CONNECTIONS]) + self.underway(place)

    cdef int64_t underway(self, Py_ssize_t place) noexcept nogil:
        """Connections that were handed to a place and not taken out of its inbox yet."""
        cdef uint64_t *cells = &self.memory.cells[place * FC_CELLS]
        cdef int64_t count = <int64_t>(fc_load(&cells[CELL_HANDED]) - fc_load(&cells[CELL_TAKEN]))
        return count if count > 0 else 0

    cdef Py_ssize_t better_place(self, uint32_t connections) noexcept nogil:
        """Whose a new connection had better be, when we have so many with it; -1: ours."""
        cdef Py_ssize_t place, best = -1
        cdef int64_t load, ours = <int64_t>connections + self.underway(self.place), least = ours
        for place in range(self.memory.places):
            if place == self.place:
                continue
            load = self.load_of(place)
            if 0 <= load < least:
                least = load
                best = place
        return best if ours - least > 1 + ours // SLACK else -1
