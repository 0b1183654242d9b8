"""One extent as the hit branch sees it: where its bytes are, which were checked, and which are known to be in memory."""

from libc.stdint cimport UINT32_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from fastcache._core.residency cimport is_resident


cdef bint all_set(const uint64_t* bits, uint32_t first, uint32_t last) noexcept nogil:
    cdef uint32_t word
    cdef uint64_t wanted
    for word in range(first >> 6, (last >> 6) + 1):
        wanted = mask(word, first, last)
        if bits[word] & wanted != wanted:
            return False
    return True


cdef uint64_t mask(uint32_t word, uint32_t first, uint32_t last) noexcept nogil:
    """The bits of blocks first..last (inclusive) that lie in this word of a bit map."""
    cdef uint64_t bits = ~<uint64_t>0
    if word == first >> 6:
        bits &= ~<uint64_t>0 << (first & 63)
    if word == last >> 6:
        bits &= ~<uint64_t>0 >> (63 - (last & 63))
    return bits


cdef bint blocks_verified(const ExtentData* extent, int64_t start, int64_t end) noexcept nogil:
    return all_set(
        extent.verified, <uint32_t>((start - extent.start) >> BLOCK_BITS), <uint32_t>((end - 1 - extent.start) >> BLOCK_BITS)
    )


cdef bint extent_ready(ExtentData* extent, int64_t start, int64_t end, uint32_t now_ms) noexcept nogil:
    """Blocks that were seen in memory a moment ago are not asked for again: a page just used is not evicted so soon.

    Else whole blocks are asked for, so that the answer can be remembered; where a block is there in part only, the very
    bytes are asked for and nothing is remembered.
    """
    cdef uint32_t first, last, block
    cdef int64_t from_, until, length = extent.end - extent.start
    if extent.fd < 0 or extent.data_offset < 0 or extent.resident_at == NULL:
        return False
    first = <uint32_t>((start - extent.start) >> BLOCK_BITS)
    last = <uint32_t>((end - 1 - extent.start) >> BLOCK_BITS)
    if not all_set(extent.verified, first, last):
        return False
    for block in range(first, last + 1):
        if extent.resident_at[block] == 0 or now_ms - extent.resident_at[block] > RESIDENT_MS:
            break
    else:
        return True
    from_ = <int64_t>first << BLOCK_BITS
    until = <int64_t>(last + 1) << BLOCK_BITS
    if until > length:
        until = length
    if is_resident(extent.fd, <uint64_t>(extent.data_offset + from_), <uint64_t>(until - from_)):
        for block in range(first, last + 1):
            extent.resident_at[block] = now_ms if now_ms else 1
        return True
    return is_resident(extent.fd, <uint64_t>(extent.data_offset + (start - extent.start)), <uint64_t>(end - start))


cdef list extents_of(list extents):
    cdef list own = list(extents)
    for extent in own:
        if not isinstance(extent, ExtentState):
            raise TypeError(f"not an extent: {extent!r}")
    return own


cdef class ExtentState:
    """Base of the store's ``Extent``: interval ``[start, end)`` of the object and the state of its file."""

    def __cinit__(self, *args, **kwargs):
        self.data.fd = -1
        self.data.data_offset = -1
        self.data.verified = NULL
        self.data.resident_at = NULL

    def __init__(self, int64_t start, int64_t end):
        cdef int64_t blocks
        if not 0 <= start <= end:
            raise ValueError("not the interval of an extent")
        blocks = ((end - start - 1) >> BLOCK_BITS) + 1 if end > start else 0
        if blocks > UINT32_MAX:
            raise ValueError("not the interval of an extent")
        if self.data.verified != NULL:
            raise RuntimeError("already initialised")
        self.data.start = start
        self.data.end = end
        self.data.blocks = <uint32_t>blocks
        self.data.verified = <uint64_t*>calloc((blocks >> 6) + 1, sizeof(uint64_t))
        if self.data.verified == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.data.verified)
        free(self.data.resident_at)

    @property
    def start(self) -> int:
        return self.data.start

    @property
    def end(self) -> int:
        return self.data.end

    @property
    def fd(self) -> int:
        return self.data.fd

    @fd.setter
    def fd(self, int value):
        self.data.fd = value

    @property
    def data_offset(self) -> int:
        return self.data.data_offset

    @data_offset.setter
    def data_offset(self, int64_t value):
        self.data.data_offset = value

    @property
    def frequency(self) -> int:
        return self.data.frequency

    @frequency.setter
    def frequency(self, int value):
        if not 0 <= value <= 3:
            raise ValueError("a frequency is between 0 and 3")
        self.data.frequency = value

    def used(self) -> None:
        """Count a use, for the evictor."""
        extent_used(&self.data)

    def is_verified(self, uint32_t first, uint32_t last) -> bool:
        """Whether this process has checked the blocks ``first`` to ``last``, inclusive."""
        return first <= last < self.data.blocks and all_set(self.data.verified, first, last)

    def mark_verified(self, uint32_t first, uint32_t last):
        """Note that the blocks ``first`` to ``last``, inclusive, were checked. IndexError outside the extent."""
        cdef uint32_t word
        if not first <= last < self.data.blocks:
            raise IndexError(last)
        for word in range(first >> 6, (last >> 6) + 1):
            self.data.verified[word] |= mask(word, first, last)

    def mark_all_verified(self) -> None:
        """Note that every block was checked."""
        if self.data.blocks:
            self.mark_verified(0, self.data.blocks - 1)

    cdef bint watch_residency(self) noexcept:
        """Remember from now on which blocks were seen in memory; False when there is no memory for that."""
        if self.data.resident_at == NULL:
            self.data.resident_at = <uint32_t*>calloc(self.data.blocks + 1, sizeof(uint32_t))
        return self.data.resident_at != NULL
